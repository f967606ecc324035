package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// state is what a log holds. Its slices are shared and never changed.
type state struct {
	first   uint64 // 0 when empty
	entries []raft.Log
	vote    string
}

func (s state) last() uint64 { return s.first + uint64(len(s.entries)) - 1 }

func (s state) empty() bool { return len(s.entries) == 0 }

func (s state) equal(o state) bool {
	return s.vote == o.vote && slices.EqualFunc(s.entries, o.entries, sameEntry) && (s.empty() || s.first == o.first)
}

func sameEntry(a, b raft.Log) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type && bytes.Equal(a.Data, b.Data) &&
		bytes.Equal(a.Extensions, b.Extensions) && a.AppendedAt.Equal(b.AppendedAt)
}

// appended returns the state with the first n of entries behind it.
func (s state) appended(entries []*raft.Log, n int) state {
	after := state{s.first, slices.Clone(s.entries), s.vote}
	for _, e := range entries[:n] {
		if after.empty() {
			after.first = e.Index
		}
		after.entries = append(after.entries, *e)
	}
	return after
}

// deleted returns the state without the entries from first to last.
func (s state) deleted(first, last uint64) state {
	after := state{s.first, nil, s.vote}
	for _, e := range s.entries {
		if e.Index < first || e.Index > last {
			after.entries = append(after.entries, e)
		}
	}
	if !after.empty() {
		after.first = after.entries[0].Index
	}
	return after
}

// observe reads everything.
func observe(l *Log) (state, error) {
	var s state
	first, err1 := l.FirstIndex()
	last, err2 := l.LastIndex()
	if err := errors.Join(err1, err2); err != nil {
		return s, err
	}
	s.first = first
	for i := first; i <= last && i > 0; i++ {
		var e raft.Log
		if err := l.GetLog(i, &e); err != nil {
			return s, err
		}
		s.entries = append(s.entries, e)
	}
	vote, err := l.Get([]byte("LastVoteCand"))
	if err != nil && !errors.Is(err, ErrKeyNotFound) {
		return s, err
	}
	s.vote = string(vote)
	return s, nil
}

// step is a change of a log and what may be there if it was interrupted: before, after or in between.
type step struct {
	name  string
	do    func(l *Log) error
	after []state // the last one is that of success
}

// randomEntries makes entries of mixed sizes, with zeros in some of them.
func randomEntries(r *rand.Rand, first, term uint64) []*raft.Log {
	entries := make([]*raft.Log, 1+r.IntN(4))
	for i := range entries {
		e := &raft.Log{Index: first + uint64(i), Term: term, Type: raft.LogType(r.IntN(6)), AppendedAt: time.Unix(0, r.Int64()).UTC()}
		e.Data = make([]byte, []int{0, r.IntN(40), r.IntN(700), r.IntN(2000)}[r.IntN(4)])
		if r.IntN(8) == 0 {
			e.Data = make([]byte, 6000) // larger than a segment, and zero
		} else {
			for k := range e.Data {
				e.Data[k] = byte(r.Uint32())
			}
		}
		if r.IntN(4) == 0 {
			e.Extensions = []byte("extension")
		}
		entries[i] = e
	}
	return entries
}

// nextStep draws a change that fits the state.
func nextStep(r *rand.Rand, s state, number int) step {
	remove := func(name string, first, last uint64) step {
		return step{name, func(l *Log) error { return l.DeleteRange(first, last) }, []state{s.deleted(first, last)}}
	}
	kind := r.IntN(16)
	switch {
	case kind < 2:
		next := s
		next.vote = fmt.Sprint("candidate ", number)
		return step{"vote", func(l *Log) error { return l.Set([]byte("LastVoteCand"), []byte(next.vote)) }, []state{next}}
	case kind == 2 && !s.empty():
		return remove("delete all", 1, s.last())
	case kind < 6 && len(s.entries) > 1:
		cut := s.first + 1 + r.Uint64N(uint64(len(s.entries)-1))
		if kind == 3 {
			return remove("delete head", s.first, cut-1)
		}
		return remove("delete tail", cut, s.last()+r.Uint64N(2))
	}
	first := s.last() + 1
	if s.empty() {
		first = 1 + r.Uint64N(1000)
	}
	entries := randomEntries(r, first, uint64(number))
	st := step{"append", func(l *Log) error { return l.StoreLogs(entries) }, nil}
	for n := 1; n <= len(entries); n++ {
		st.after = append(st.after, s.appended(entries, n))
	}
	return st
}

func memOptions(d *memDisk) Options {
	return Options{SegmentSize: minSegmentSize, folder: d, spawn: func(work func()) { work() }}
}

// script runs random changes until one fails. It returns the states that may be found afterwards.
func script(d *memDisk, r *rand.Rand, s state, steps int) (allowed []state, err error) {
	l, err := Open("", memOptions(d))
	if err != nil {
		return []state{s}, err
	}
	for i := range steps {
		if r.IntN(10) == 0 {
			if err := l.Close(); err != nil {
				return []state{s}, err
			}
			if l, err = Open("", memOptions(d)); err != nil {
				return []state{s}, err
			}
		}
		st := nextStep(r, s, i+1)
		if err := st.do(l); err != nil {
			return append([]state{s}, st.after...), err
		}
		s = st.after[len(st.after)-1]
	}
	return []state{s}, l.Close()
}

// fataler is a test or one run of a property.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// mustBeOneOf opens the log, compares, and proves that it goes on.
func mustBeOneOf(t fataler, what string, d *memDisk, allowed []state) state {
	t.Helper()
	l, err := Open("", memOptions(d))
	if err != nil {
		t.Fatalf("%s: open: %v", what, err)
	}
	got, err := observe(l)
	if err != nil {
		t.Fatalf("%s: read: %v", what, err)
	}
	if !slices.ContainsFunc(allowed, got.equal) {
		t.Fatalf("%s: found %d entries from %d, vote %q; possible are %s", what, len(got.entries), got.first, got.vote, describe(allowed))
	}
	if err := l.Close(); err != nil {
		t.Fatalf("%s: close: %v", what, err)
	}
	return got
}

func describe(states []state) string {
	text := ""
	for _, s := range states {
		text += fmt.Sprintf("[%d from %d, vote %q]", len(s.entries), s.first, s.vote)
	}
	return text
}

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
