package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// The power fails at every single call that changes something, and again while the log is opened; then the process is killed
// instead, and the power fails later.
func TestPowerLossAtEveryCall(t *testing.T) {
	const steps = 40
	for seed := range uint64(3) {
		calls := 0
		for at := 1; at == 1 || at <= calls; at++ {
			d := newMemDisk()
			d.crash = at
			allowed, err := script(d, rand.New(rand.NewPCG(seed, 1)), state{}, steps)
			if err == nil {
				break
			}
			if !errors.Is(err, errCrashed) {
				t.Fatalf("seed %d, call %d: %v", seed, at, err)
			}
			calls = d.calls + 1
			chance := rand.New(rand.NewPCG(seed, uint64(at)))
			for round := range 3 {
				what := fmt.Sprintf("seed %d, call %d, round %d", seed, at, round)
				after, possible := d.powerLoss(chance), allowed
				if round == 1 {
					after = d.kill()
				}
				after.crash = 1 + chance.IntN(8)
				if l, err := Open("", memOptions(after)); err == nil {
					// What one Open has shown must be there after the next, whatever happens.
					shown, err := observe(l)
					if err != nil {
						t.Fatalf("%s: %v", what, err)
					}
					possible = []state{shown}
				} else if !errors.Is(err, errCrashed) {
					t.Fatalf("%s: open: %v", what, err)
				}
				again := after.powerLoss(chance)
				s := mustBeOneOf(t, what, again, possible)
				if _, err := script(again, chance, s, 5); err != nil {
					t.Fatalf("%s: going on: %v", what, err)
				}
			}
		}
		if calls < 100 {
			t.Errorf("seed %d: only %d calls", seed, calls)
		}
	}
}

// Every n-th call that needs space fails, once or several times in a row. The change must leave nothing behind and succeed when
// it is repeated, without opening the log again.
func TestFullDisk(t *testing.T) {
	for seed := range uint64(3) {
		for _, row := range []int{1, 3} {
			failures := 0
			for n := 12; n < 72; n += 3 { // a change takes fewer calls than that
				d := newMemDisk()
				r := rand.New(rand.NewPCG(seed, 2))
				l, err := Open("", memOptions(d))
				if err != nil {
					t.Fatal(err)
				}
				var count, down int
				d.before = func(call, _ string) error {
					if call != "write" && call != "create" {
						return nil
					}
					if count++; count%n == 0 && down == 0 {
						down = row
					}
					if down > 0 {
						down--
						return syscall.ENOSPC
					}
					return nil
				}
				s := state{}
				for i := range 40 {
					st := nextStep(r, s, i+1)
					for tries := 0; ; tries++ {
						err := st.do(l)
						if err == nil {
							break
						}
						failures++
						if !errors.Is(err, ErrFull) || !errors.Is(err, syscall.ENOSPC) || tries > 20 {
							t.Fatalf("seed %d, every %d: %s, try %d: %v", seed, n, st.name, tries, err)
						}
						got, err := observe(l)
						// A removal that meta has announced is done, though the zeroing is not.
						if done := st.name == "delete tail" && got.equal(st.after[0]); err != nil || !got.equal(s) && !done {
							t.Fatalf("seed %d, every %d: %s failed and left %d entries from %d: %v", seed, n, st.name, len(got.entries), got.first, err)
						}
					}
					s = st.after[len(st.after)-1]
				}
				d.before = nil
				mustBeOneOf(t, fmt.Sprintf("seed %d, every %d, killed", seed, n), d.kill(), []state{s})
				mustBeOneOf(t, fmt.Sprintf("seed %d, every %d, power lost", seed, n), d.powerLoss(r), []state{s})
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if failures < 50 {
				t.Errorf("seed %d: only %d failures", seed, failures)
			}
		}
	}
}

// After a failed append a crash must not bring a part of it back.
func TestNothingOfAFailedAppendComesBack(t *testing.T) {
	d := newMemDisk()
	l, err := Open("", memOptions(d))
	if err != nil {
		t.Fatal(err)
	}
	entries := func(first, term uint64, sizes ...int) (list []*raft.Log) {
		for i, n := range sizes {
			list = append(list, &raft.Log{Index: first + uint64(i), Term: term, Data: bytes.Repeat([]byte{9}, n)})
		}
		return list
	}
	if err := l.StoreLogs(entries(1, 1, 100)); err != nil {
		t.Fatal(err)
	}
	d.before = func(string, string) error { return syscall.ENOSPC }
	failed := entries(2, 1, 100, 100, 100, 1000)
	if err := l.StoreLogs(failed); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	d.before = nil
	// The same size: behind it, the second of the failed entries would follow in sequence.
	good := entries(2, 2, 100)
	if err := l.StoreLogs(good); err != nil {
		t.Fatal(err)
	}
	want := state{}.appended(entries(1, 1, 100), 1).appended(good, 1)
	mustBeOneOf(t, "killed", d.kill(), []state{want})
}

// A removal that failed half-way may be on disk. It must not take away what is acknowledged afterwards.
func TestFailedRemovalDoesNotComeTrueLater(t *testing.T) {
	for _, vote := range []bool{false, true} {
		d := newMemDisk()
		l, err := Open("", memOptions(d))
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(4) {
			if err := l.StoreLog(&raft.Log{Index: i + 1}); err != nil {
				t.Fatal(err)
			}
		}
		writes := 0
		d.before = func(call, _ string) error {
			if call == "write" {
				writes++
			}
			if writes == 2 { // the first record of meta is on disk
				return syscall.ENOSPC
			}
			return nil
		}
		if err := l.DeleteRange(3, 4); !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		d.before = nil
		if vote {
			err = l.Set([]byte("LastVoteCand"), nil)
		} else {
			err = l.StoreLog(&raft.Log{Index: 5})
		}
		if err != nil {
			t.Fatal(err)
		}
		want, err := observe(l)
		if err != nil {
			t.Fatal(err)
		}
		mustBeOneOf(t, fmt.Sprint("vote ", vote), d.kill(), []state{want})
	}
}

// When a sync fails, everything that writes is refused until the log is opened again, and then nothing acknowledged is missing.
func TestFailedSyncPoisons(t *testing.T) {
	poisoned := 0
	for seed := range uint64(3) {
		for n := 1; n < 80; n += 2 {
			d := newMemDisk()
			r := rand.New(rand.NewPCG(seed, 3))
			l, err := Open("", memOptions(d))
			if err != nil {
				t.Fatal(err)
			}
			count := 0
			d.before = func(call, _ string) error {
				if call == "sync" {
					if count++; count == n {
						return syscall.EIO
					}
				}
				return nil
			}
			s := state{}
			allowed := []state{s}
			for i := range 40 {
				st := nextStep(r, s, i+1)
				err := st.do(l)
				if err == nil {
					s = st.after[len(st.after)-1]
					allowed = []state{s}
					continue
				}
				if !errors.Is(err, syscall.EIO) {
					t.Fatalf("seed %d, sync %d: %s: %v", seed, n, st.name, err)
				}
				if !errors.Is(err, ErrPoisoned) {
					// A new segment that was not needed yet: the change can be repeated.
					if err := st.do(l); err != nil {
						t.Fatalf("seed %d, sync %d: %s again: %v", seed, n, st.name, err)
					}
					s = st.after[len(st.after)-1]
					allowed = []state{s}
					continue
				}
				poisoned++
				allowed = append(allowed, st.after...)
				if err := l.Err(); !errors.Is(err, ErrPoisoned) {
					t.Fatalf("Err is %v", err)
				}
				for _, err := range []error{
					l.StoreLog(&raft.Log{Index: s.last() + 1}), l.Set([]byte("k"), []byte("v")), l.DeleteRange(1, 1),
				} {
					if !errors.Is(err, ErrPoisoned) {
						t.Fatalf("seed %d, sync %d: after poisoning: %v", seed, n, err)
					}
				}
				if _, err := observe(l); err != nil {
					t.Fatalf("a poisoned log cannot be read: %v", err)
				}
				break
			}
			d.before = nil
			what := fmt.Sprintf("seed %d, sync %d", seed, n)
			mustBeOneOf(t, what+", power lost", d.powerLoss(r), allowed)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			mustBeOneOf(t, what+", opened again", d, allowed)
		}
	}
	if poisoned < 40 {
		t.Errorf("only %d poisoned", poisoned)
	}
}

// Feature: tamv-hardened-backend, Property 21: Critical State Persistence
//
// Whatever is done to a log, and however often the power fails or the process is killed in between, it holds what was
// acknowledged and nothing that was removed.
func TestLogKeepsWhatItAcknowledged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, s := newMemDisk(), state{}
		for range rapid.IntRange(1, 6).Draw(t, "lives") {
			r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 4))
			d.calls, d.crash = 0, rapid.IntRange(1, 150).Draw(t, "crash")
			allowed, err := script(d, r, s, 25)
			if err != nil && !errors.Is(err, errCrashed) {
				t.Fatalf("%v", err)
			}
			if rapid.Bool().Draw(t, "power") {
				d = d.powerLoss(r)
			} else {
				d = d.kill()
			}
			s = mustBeOneOf(t, "next life", d, allowed)
		}
	})
}
