package store

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// logKeys are the keys of the log in these tests.
var logKeys = must(bookpi.GenerateKeys(rand.Reader, "tamv.test/log"))

func signed(t testing.TB, size uint64, root bookpi.Hash) Batch {
	t.Helper()
	cp := bookpi.Checkpoint{Origin: logKeys.Origin(), Size: size, Root: root}
	note, err := logKeys.Sign(cp, time.Unix(1_800_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	return CheckpointBatch("main", uuid.New(), cp, note)
}

// raised is a store in a cluster whose members all have this release.
func raised(t testing.TB, dir string) *machine {
	t.Helper()
	m := open(t, dir)
	if m.ClusterVersion() < Version {
		m.ok(batch(Raise(Version)))
	}
	return m
}

func splitView(err error) bool {
	var e *tap.Error
	return errors.As(err, &e) && e.Kind == tap.Conflict && e.StableCode() == "split_view"
}

func (m *machine) sizes() (sizes []uint64) {
	m.t.Helper()
	err := m.Checkpoints(func(cp bookpi.Checkpoint, note []byte) bool {
		again, err := ReadCheckpoint(note)
		if err != nil || again != cp {
			m.t.Fatalf("%+v is kept as %+v: %v", cp, again, err)
		}
		sizes = append(sizes, cp.Size)
		return true
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return sizes
}

func TestACheckpointIsRecordedOnce(t *testing.T) {
	dir := t.TempDir()
	m := raised(t, dir)
	m.ok(batch())
	if _, _, ok := m.Checkpoint(); ok {
		t.Fatal("there is one before one was recorded")
	}
	size, root := m.Size()
	first := signed(t, size, root)
	r := m.ok(first)
	if r.Entries != 0 || r.Duplicate || r.Position != size || r.Leaf != m.meta.head {
		t.Fatalf("%+v", r)
	}
	if after, same := m.Size(); after != size || same != root {
		t.Fatal("recording it changed the ledger")
	}
	second := signed(t, size, root)
	second.Ops[0].Value = append(slices.Clone(second.Ops[0].Value), "— witness AAAAAAAA\n"...)
	if r := m.ok(second); !r.Duplicate {
		t.Fatalf("%+v", r)
	}
	if r := m.ok(first); !r.Duplicate { // the same request again
		t.Fatalf("%+v", r)
	}
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	m.ok(batch())
	for range 2 {
		cp, note, ok := m.Checkpoint()
		if !ok || cp.Size != size || cp.Root != root || !bytes.Equal(note, first.Ops[0].Value) {
			t.Fatalf("%+v %q", cp, note)
		}
		for asked, want := range map[uint64]bool{0: true, size: true, size + 1: false} {
			cp, note, ok, err := m.CheckpointFor(asked)
			if err != nil || ok != want || ok && (cp.Size != size || !bytes.Equal(note, first.Ops[0].Value)) {
				t.Fatalf("for %d: %+v %t %v", asked, cp, ok, err)
			}
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		m = open(t, dir)
	}
}

// A leader that signs two roots of one size finds no replica that records the
// second one, and all replicas come to the same state.
func TestATwoRootAttackIsRefusedByEveryReplica(t *testing.T) {
	a, b := open(t, t.TempDir()), open(t, t.TempDir())
	both := func(batches ...Batch) (outcomes []any) {
		t.Helper()
		outcomes = a.pack(batches...)
		for i, other := range b.pack(batches...) {
			if fmt.Sprint(outcomes[i]) != fmt.Sprint(other) {
				t.Fatalf("one says %v, the other %v", outcomes[i], other)
			}
		}
		return outcomes
	}
	both(batch(Raise(Version)))
	common := batch()
	for range 300 {
		common = common.renamed()
		both(common)
	}
	if err := a.Flush(); err != nil { // b has it in memory
		t.Fatal(err)
	}
	size, root := a.Size()
	older, err := a.RootAt(size - 30)
	if err != nil {
		t.Fatal(err)
	}
	forged := root
	forged[7] ^= 1
	for name, c := range map[string]Batch{
		"another root":             signed(t, size, forged),
		"another root, earlier":    signed(t, size-30, forged),
		"the root of another size": signed(t, size, older),
		"an empty tree":            signed(t, 0, root),
		"beyond the end":           signed(t, size+1, root),
	} {
		if err, ok := both(c)[0].(error); !ok || !splitView(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	lies := signed(t, size, root)
	lies.Ops[0].Number = int64(size - 1) // recorded under another size than it says
	if err, ok := both(lies)[0].(error); !ok || !splitView(err) {
		t.Error("recorded under another size")
	}
	if outcome, ok := both(signed(t, size, root))[0].(Receipt); !ok || outcome.Duplicate {
		t.Fatalf("%+v", outcome)
	}
	if err, ok := both(signed(t, size, forged))[0].(error); !ok || !splitView(err) {
		t.Fatal("a second root was recorded")
	}
	// One of a size that this very pack reaches is not signed by anybody who
	// waits for the commit.
	grown := a.meta.tree
	grown.Append(bookpi.Hash{1}, nil)
	outcomes := both(batch(), signed(t, size+1, grown.Root()))
	if err, ok := outcomes[1].(error); !ok || !splitView(err) {
		t.Fatalf("%v", outcomes[1])
	}
	both(signed(t, size-30, older))
	if got := a.sizes(); !slices.Equal(got, []uint64{size - 30, size}) {
		t.Fatal(got)
	}
	if cp, _, _ := a.Checkpoint(); cp.Size != size {
		t.Fatalf("the newest is %d", cp.Size)
	}
	ha, err1 := a.StateHash()
	hb, err2 := b.StateHash()
	if err := errors.Join(err1, err2); err != nil || ha != hb {
		t.Fatalf("the states differ: %v", err)
	}
}

func TestOnlyACheckpointGoesWithoutEvidence(t *testing.T) {
	m := raised(t, t.TempDir())
	good := signed(t, 1, m.meta.tree.Root())
	note := good.Ops[0].Value
	with := func(change func(*Batch)) Batch {
		b := good
		b.Ops = slices.Clone(good.Ops)
		change(&b)
		return b
	}
	for name, b := range map[string]Batch{
		"another operation":   with(func(b *Batch) { b.Ops = append(b.Ops, Put(key("a"), nil)) }),
		"two checkpoints":     with(func(b *Batch) { b.Ops = append(b.Ops, b.Ops[0]) }),
		"nothing":             with(func(b *Batch) { b.Ops = nil }),
		"another operation 2": with(func(b *Batch) { b.Ops[0] = Put(key("a"), nil) }),
		"a raise":             with(func(b *Batch) { b.Ops[0] = Raise(Version) }),
		"a key":               with(func(b *Batch) { b.Ops[0].Key = key("a") }),
		"a negative size":     with(func(b *Batch) { b.Ops[0].Number = -1 }),
		"evidence":            with(func(b *Batch) { b.Evidence = batch().Evidence }),
		"no tenant":           with(func(b *Batch) { b.Tenant = "" }),
		"no signature":        with(func(b *Batch) { b.Ops[0].Value = note[:bytes.Index(note, []byte("\n\n"))+2] }),
		"cut":                 with(func(b *Batch) { b.Ops[0].Value = note[:len(note)-1] }),
		"a fourth line":       with(func(b *Batch) { b.Ops[0].Value = bytes.Replace(note, []byte("\n\n"), []byte("\nmore\n\n"), 1) }),
		"another spelling":    with(func(b *Batch) { b.Ops[0].Value = bytes.Replace(note, []byte("\n1\n"), []byte("\n01\n"), 1) }),
		"no origin":           with(func(b *Batch) { b.Ops[0].Value = note[strings.Index(string(note), "\n"):] }),
		"too long":            with(func(b *Batch) { b.Ops[0].Value = append(bytes.Repeat([]byte("x"), maxNoteBytes), note...) }),
		"empty":               with(func(b *Batch) { b.Ops[0].Value = nil }),
	} {
		if _, err := EncodeBatch(b); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m.ok(good)
}

// A cluster with members of the release before does not record any, and its
// state files can still be opened by that release.
func TestACheckpointWaitsForTheClusterVersion(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	m.ok(batch())
	c := signed(t, 1, m.meta.tree.Root())
	if err, ok := m.pack(c)[0].(error); !ok || !refusedAsNewer(err) {
		t.Fatalf("recorded before every member knows it: %v", err)
	}
	buckets := func() int {
		t.Helper()
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		m = open(t, dir)
		tx, err := m.db.Begin(false)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
		n := 0
		for k, _ := tx.Cursor().First(); k != nil && n < 99; n++ {
			if n >= len(bucketNames) || tx.Bucket([]byte(bucketNames[n])) == nil {
				break
			}
		}
		return n
	}
	if n := buckets(); n != int(firstLateBucket) {
		t.Fatalf("the state file has %d buckets", n)
	}
	m.ok(batch(Raise(Version)))
	m.ok(signed(t, 1, c.root(t)))
	if n := buckets(); n != int(firstLateBucket)+1 {
		t.Fatalf("the state file has %d buckets", n)
	}
	if got := m.sizes(); !slices.Equal(got, []uint64{1}) {
		t.Fatal(got)
	}
	if report, err := m.Scrub(t.Context(), noPace); err != nil || len(report.Damaged) > 0 {
		t.Fatalf("%+v %v", report, err)
	}
}

func (b Batch) root(t testing.TB) bookpi.Hash {
	t.Helper()
	cp, err := ReadCheckpoint(b.Ops[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	return cp.Root
}

// Appends and checkpoints in any order, some of them false, against a tree and
// a list: the same are recorded, whatever is flushed, restarted or restored.
func TestRecordedCheckpointsFollowTheTree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		m := raised(t, dir)
		var tree bookpi.Tree
		roots := []bookpi.Hash{tree.Root()}
		grow := func() {
			for position := tree.Size(); ; position++ {
				r, err := m.Record(position)
				if tap.IsKind(err, tap.NotFound) {
					return
				} else if err != nil {
					rt.Fatal(err)
				}
				tree.Append(bookpi.LeafHash(r.Entry), nil)
				roots = append(roots, tree.Root())
			}
		}
		want := map[uint64]bool{}
		for range rapid.IntRange(1, 16).Draw(rt, "steps") {
			switch rapid.IntRange(0, 5).Draw(rt, "step") {
			case 0, 1:
				b := batch()
				for range rapid.IntRange(0, 150).Draw(rt, "entries") {
					b.Evidence = append(b.Evidence, b.Evidence[0])
				}
				m.ok(b)
			case 2, 3:
				grow()
				size := rapid.Uint64Range(0, tree.Size()).Draw(rt, "size")
				if r := m.ok(signed(rt2{t, rt}, size, roots[size])); r.Duplicate != want[size] {
					rt.Fatalf("%d again: %t", size, r.Duplicate)
				}
				want[size] = true
			case 4:
				grow()
				size := rapid.Uint64Range(0, tree.Size()).Draw(rt, "size")
				other := rapid.Uint64Range(0, tree.Size()).Draw(rt, "other")
				if other == size {
					continue
				}
				if err, ok := m.pack(signed(rt2{t, rt}, size, roots[other]))[0].(error); !ok || !splitView(err) {
					rt.Fatalf("the root of %d at %d: %v", other, size, err)
				}
			case 5:
				if err := m.Close(); err != nil {
					rt.Fatal(err)
				}
				m = open(t, dir)
			}
		}
		grow()
		for _, size := range m.sizes() {
			if !want[size] {
				rt.Fatalf("%d is recorded and nobody did it", size)
			}
			delete(want, size)
			if root, err := m.RootAt(size); err != nil || root != roots[size] {
				rt.Fatalf("root at %d: %v", size, err)
			}
		}
		if len(want) > 0 {
			rt.Fatalf("not recorded: %v", want)
		}
		if err := m.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}

// rt2 lets a property fail where a helper takes a test.
type rt2 struct {
	testing.TB
	rt *rapid.T
}

func (r rt2) Fatal(args ...any) { r.rt.Fatal(args...) }
