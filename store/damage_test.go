package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"tamv.internal/tamv/tap"
)

// smallState is a closed store with a few records in every bucket and a branch
// page or two, and everything that reads of it show.
func smallState(t testing.TB) (dir string, content []byte) {
	t.Helper()
	dir = t.TempDir()
	m := open(t, dir)
	for i := range blockEntries + 1 {
		k := key("r", fmt.Sprint(i%8))
		m.ok(batch(Put(k, bytes.Repeat([]byte{byte(i)}, 40)), Expire(k, 1<<50),
			Add(key("n"), 1), Append(key("s", fmt.Sprint(i%4)), []byte("v")), Post(key("a"), "USD", amount("-1")), Post(key("b"), "USD", amount("1"))))
		if i%40 == 0 {
			if err := m.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	content = shown(t, m.Store)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	trim(t, filepath.Join(dir, "state.db"))
	return dir, content
}

// trim cuts off what bbolt allocates ahead of its pages.
func trim(t testing.TB, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stat, _ := f.Stat()
	state, err := committed(f, stat.Size(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(int64(state.pages) * int64(state.pageSize)); err != nil {
		t.Fatal(err)
	}
}

// shown is everything that reads of a store show, and the first error of one.
func shown(t testing.TB, s *Store) []byte {
	t.Helper()
	var out bytes.Buffer
	err := s.Scan("", "", func(i Item) bool { fmt.Fprintln(&out, i); return true })
	for _, k := range []Key{key("n"), key("a"), key("b"), key("s", "0"), key("s", "1"), key("s", "2"), key("s", "3")} {
		n, err1 := s.Counter(k)
		last, err2 := s.SequenceLast(k)
		balance, err3 := s.Balance(k, "USD")
		err4 := s.Sequence(k, 1, func(n uint64, v []byte) bool { fmt.Fprintln(&out, n, v); return true })
		err = errors.Join(err, err1, err2, err3, err4)
		fmt.Fprintln(&out, n, last, balance)
	}
	err = errors.Join(err, s.Records(0, false, func(r Record) bool { fmt.Fprintln(&out, r); return true }))
	tile, err5 := s.Tile(0, 0)
	fmt.Fprintln(&out, tile)
	if err = errors.Join(err, err5); err != nil {
		return []byte(err.Error())
	}
	return out.Bytes()
}

func noPace(int) error { return nil }

// inspectBytes is the check that Open does, on a file in memory.
func inspectBytes(raw []byte) (*inspection, error) {
	file := bytes.NewReader(raw)
	state, err := committed(file, int64(len(raw)), 0)
	if err != nil {
		return nil, err
	}
	found, err := inspect(file, state, noPace)
	if err != nil {
		return nil, err
	}
	return found, found.err()
}

// Whatever byte of the state file changes, opening names the damage, or the
// byte was one that nobody reads and every read is right. A meta page that is
// gone is as after a crash: the state of the transaction before.
func TestEveryFlippedByteOfTheStateIsFound(t *testing.T) {
	dir, content := smallState(t)
	path := filepath.Join(dir, "state.db")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	good, err := inspectBytes(whole)
	if err != nil || good.records < 150 {
		t.Fatal(good, err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	missed := 0
	flipped := bytes.Clone(whole)
	for at := range whole {
		copy(flipped[max(at-1, 0):], whole[max(at-1, 0):at]) // undo the last one
		flipped[at] ^= 1 << random.IntN(8)
		found, err := inspectBytes(flipped)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && tap.AsError(err).Code != "old_format" {
				t.Fatalf("byte %d: %v", at, err)
			}
			continue
		}
		if found.meta.applied != good.meta.applied {
			if at >= 2*os.Getpagesize() {
				t.Fatalf("byte %d gives the state at %d instead of %d", at, found.meta.applied, good.meta.applied)
			}
			continue
		}
		if missed++; missed%199 != 0 {
			continue
		}
		// Not found: open it and read everything.
		elsewhere := t.TempDir()
		if err := os.WriteFile(filepath.Join(elsewhere, "state.db"), flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		m := open(t, elsewhere)
		if got := shown(t, m.Store); !bytes.Equal(got, content) {
			t.Fatalf("byte %d changed what reads show:\n%s", at, got)
		}
		if report, err := m.Scrub(t.Context(), noPace); err != nil || len(report.Damaged) > 0 {
			t.Fatalf("byte %d: %+v %v", at, report.Damaged, err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if missed > len(whole)*3/4 {
		t.Fatalf("%d of %d bytes are said to be free", missed, len(whole))
	}
	for cut := len(whole) - 1; cut > 0; cut -= 1000 {
		if _, err := inspectBytes(whole[:cut]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d bytes: %v", cut, err)
		}
	}
}

// What is found in memory is refused by Open, and no damage ends the process.
func TestOpenRefusesADamagedState(t *testing.T) {
	dir, _ := smallState(t)
	path := filepath.Join(dir, "state.db")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	for at := 2 * os.Getpagesize(); ; at++ {
		flipped[at] ^= 4
		if _, err := inspectBytes(flipped); err != nil {
			break
		}
		flipped[at] ^= 4
	}
	for name, raw := range map[string][]byte{
		"flipped": flipped,
		"cut":     whole[:len(whole)-4096],
		"short":   whole[:100],
		"zeroes":  make([]byte, len(whole)),
	} {
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		var bad *Damage
		if s, err := Open(dir, nil); !errors.As(err, &bad) || bad.Kind != DamagedState || !tap.IsKind(err, tap.Unavailable) {
			t.Fatalf("%s: opened %t: %v", name, s != nil, err)
		}
	}
}

// A page that changes under a store that is open is damage too, not the end of
// the process.
func TestDamageBeneathAnOpenStore(t *testing.T) {
	for name, harm := range map[string]func(*os.File) error{
		"overwritten": func(f *os.File) error {
			stat, err := f.Stat()
			if err != nil {
				return err
			}
			garbage := bytes.Repeat([]byte{0xA5}, int(stat.Size())-2*os.Getpagesize())
			_, err = f.WriteAt(garbage, int64(2*os.Getpagesize()))
			return err
		},
		"cut off": func(f *os.File) error { return f.Truncate(int64(2 * os.Getpagesize())) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := smallState(t)
			m := open(t, dir)
			f, err := os.OpenFile(m.path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := harm(f); err != nil {
				t.Fatal(err)
			}
			_, _, getErr := m.Get(key("r", "1"))
			scanErr := m.Scan("", "", func(Item) bool { return true })
			_, recordErr := m.Record(0)
			_, hashErr := m.StateHash()
			for _, err := range []error{getErr, scanErr, recordErr, hashErr} {
				if !errors.Is(err, ErrDamaged) {
					t.Errorf("read a damaged state: %v", err)
				}
			}
			report, err := m.Scrub(t.Context(), noPace)
			if err != nil || len(report.Damaged) == 0 || report.Damaged[0].Error() == "" {
				t.Errorf("scrubbed %+v: %v", report, err)
			}
			s, err := m.Snapshot()
			if err == nil {
				_, err = s.WriteTo(t.TempDir())
				s.Release()
			}
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("made a snapshot of a damaged state: %v", err)
			}
		})
	}
}

func TestACallersPanicIsItsOwn(t *testing.T) {
	m := open(t, t.TempDir())
	m.ok(batch(Put(key("a"), nil)))
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if r := recover(); r != "mine" {
			t.Fatalf("recovered %v", r)
		}
	}()
	_ = m.Scan("", "", func(Item) bool { panic("mine") })
}

// A record that a damaged branch page hides has no checksum to be wrong: the
// digest misses it.
func TestAMissingRecordIsFound(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	m.ok(batch(Put(key("a"), nil), Put(key("b"), nil)))
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	if report, err := m.Scrub(t.Context(), noPace); err != nil || len(report.Damaged) > 0 || report.Records == 0 || report.Entries != 1 || report.Bytes == 0 {
		t.Fatalf("%+v %v", report, err)
	}
	err := m.db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte(bucketNames[bucketRecords])).Delete([]byte(key("a")))
	})
	if err != nil {
		t.Fatal(err)
	}
	report, err := m.Scrub(t.Context(), noPace)
	if err != nil || len(report.Damaged) != 1 || report.Damaged[0].Kind != DamagedState {
		t.Fatalf("%+v %v", report, err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, nil); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
}

func TestScrubStopsWhenItIsTold(t *testing.T) {
	m := open(t, t.TempDir())
	m.ok(batch(Put(key("a"), nil)))
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	if _, err := m.Scrub(t.Context(), func(int) error { return enough }); !errors.Is(err, enough) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Scrub(ctx, noPace); !tap.IsKind(err, tap.Unavailable) {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Scrub(t.Context(), noPace); !tap.IsKind(err, tap.Unavailable) {
		t.Fatal(err)
	}
}

// rewrite changes one stored record with everything that covers it, as a bug
// would and bit rot would not.
func rewrite(t *testing.T, m *machine, b bucket, k []byte, change func(value []byte)) {
	t.Helper()
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	err := m.db.Update(func(tx *bolt.Tx) error {
		v, err := get(tx, b, k)
		if err != nil {
			return err
		}
		v = bytes.Clone(v)
		change(v)
		w := &recordWriter{tx, m.meta.onDisk.digest}
		if err := w.write(b, k, v); err != nil {
			return err
		}
		m.meta.onDisk.digest = w.digest
		raw, err := m.meta.encode()
		if err != nil {
			return err
		}
		return tx.Bucket([]byte(bucketNames[bucketMeta])).Put([]byte(metaKey), stored(bucketMeta, []byte(metaKey), raw))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Checksums that hold do not hide a ledger that does not.
func TestScrubChecksWhatTheLedgerSays(t *testing.T) {
	for name, harm := range map[string]func(*testing.T, *machine){
		"tile": func(t *testing.T, m *machine) {
			rewrite(t, m, bucketTiles, []byte(tileKey{0, 0}.encode()), func(v []byte) { v[40] ^= 1 })
		},
		"entry": func(t *testing.T, m *machine) { rewrite(t, m, bucketBlocks, u64(0), func(v []byte) { v[70] ^= 1 }) },
		"payload": func(t *testing.T, m *machine) {
			rewrite(t, m, bucketBlocks, u64(0), func(v []byte) { v[len(v)-1] ^= 1 })
		},
		"chain": func(t *testing.T, m *machine) {
			m.meta.head[0] ^= 1
			m.ok(batch())
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := open(t, t.TempDir())
			for range 5 {
				m.ok(batch())
			}
			harm(t, m)
			if err := m.Flush(); err != nil {
				t.Fatal(err)
			}
			report, err := m.Scrub(t.Context(), noPace)
			if err != nil || len(report.Damaged) != 1 {
				t.Fatalf("%+v %v", report, err)
			}
		})
	}
}

func TestAnOlderFormatIsNamed(t *testing.T) {
	dir := t.TempDir()
	db, err := bolt.Open(filepath.Join(dir, "state.db"), 0o600, &bolt.Options{NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte(olderMetaBucket))
		return err
	})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	var e *tap.Error
	if _, err := Open(dir, nil); !errors.As(err, &e) || e.StableCode() != "old_format" || errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
}

// No bytes make the walk panic, loop, or read without bounds.
func FuzzInspect(f *testing.F) {
	dir, _ := smallState(f)
	whole, err := os.ReadFile(filepath.Join(dir, "state.db"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(0, []byte{1})
	f.Add(2*4096+8, []byte{2, 0, 255, 255})
	f.Add(5*4096, bytes.Repeat([]byte{255}, 32))
	f.Fuzz(func(t *testing.T, at int, patch []byte) {
		raw := bytes.Clone(whole)
		if at < 0 || at > len(raw) {
			return
		}
		copy(raw[at:], patch)
		file := bytes.NewReader(raw)
		state, err := committed(file, file.Size(), 0)
		if err != nil {
			state, _ = committed(bytes.NewReader(whole), file.Size(), 0)
		}
		read := 0
		_, err = inspect(io.ReaderAt(file), state, func(n int) error { read += n; return nil })
		if read > 3*len(raw) {
			t.Fatalf("read %d bytes of %d: %v", read, len(raw), err)
		}
	})
}

// A file that cannot be opened now is not called damaged: whoever moved it away
// would lose what is sound.
func TestAFileThatCannotBeOpenedIsNotDamaged(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "state.db", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, nil)
	if err == nil {
		_ = s.Close()
	}
	if err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("a folder in the file's place: %v", err)
	}
}
