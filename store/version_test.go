package store

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"tamv.internal/tamv/tap"
)

// later is an operation that this build does not know: the one after the last.
func later(t *testing.T) (OpType, []byte) {
	t.Helper()
	newer := OpType(len(operations))
	c, err := EncodeBatch(batch(Put(key("a"), nil), Add(key("later"), 5)))
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndexByte(c[:bytes.Index(c, []byte("later"))], byte(OpAdd))
	c[at] = byte(newer)
	return newer, c
}

func refusedAsNewer(err error) bool {
	var e *tap.Error
	return errors.As(err, &e) && e.Kind == tap.Conflict && e.StableCode() == "cluster_version"
}

// An operation that this release does not know is refused and changes nothing,
// as a newer release refuses it while the cluster's version is lower.
func TestAnOperationOfALaterReleaseIsRefused(t *testing.T) {
	m := open(t, t.TempDir())
	newer, c := later(t)
	m.index++
	m.stamp++
	out, err := m.Apply(m.index, m.stamp, [][]byte{c})
	if refusal, ok := out[0].(error); err != nil || !ok || !refusedAsNewer(refusal) {
		t.Fatalf("outcome %v, %v", out, err)
	}
	if size, _ := m.Size(); size != 0 {
		t.Fatal("a refused batch left evidence")
	}
	if _, ok := m.value(key("a")); ok {
		t.Fatal("half of it was applied")
	}
	if _, err := EncodeBatch(batch(Op{Type: newer, Key: key("a")})); !tap.IsKind(err, tap.Invalid) {
		t.Fatalf("proposed an unknown operation: %v", err)
	}
}

func TestTheClusterVersionIsRaised(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	if v := m.ClusterVersion(); v != 1 {
		t.Fatalf("a new cluster is at version %d", v)
	}
	m.ok(batch(Raise(Version)))
	m.ok(batch(Raise(1))) // it never goes down
	if v := m.ClusterVersion(); v != Version {
		t.Fatalf("raised to %d", v)
	}
	m.refused(batch(Raise(Version), Check(key("absent"), 9)), tap.Conflict)
	for name, op := range map[string]Op{
		"zero": Raise(0), "huge": {Type: OpRaise, Number: math.MaxUint32 + 1}, "with a key": {Type: OpRaise, Number: 1, Key: key("a")},
	} {
		if _, err := EncodeBatch(batch(op)); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = open(t, dir)
	if v := m.ClusterVersion(); v != Version {
		t.Fatalf("reopened at version %d", v)
	}
	c, err := EncodeBatch(batch(Raise(Version + 1)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Apply(m.Applied()+1, m.stamp+1, [][]byte{c}); err == nil {
		t.Fatal("went on in a cluster that is newer than this release")
	}
}

// A state of a newer cluster is not damage, and not opened.
func TestAStateOfANewerClusterIsRefused(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	m.meta.cluster = Version + 1
	m.ok(batch())
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	s, err := m.Snapshot()
	if err == nil {
		_, err = s.WriteTo(t.TempDir())
		s.Release()
	}
	if err == nil {
		t.Fatal("wrote a snapshot that nobody here could read")
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	var e *tap.Error
	if _, err := Open(dir, nil); !errors.As(err, &e) || e.StableCode() != "cluster_version" || errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
}

// old is a cluster that lags behind what this build knows.
type old struct{ View }

func (old) ClusterVersion() uint32 { return 0 }

func TestTheWriterRefusesBeforeTheLog(t *testing.T) {
	m := open(t, t.TempDir())
	w := NewWriter(&proposer{m: m}, old{m})
	if _, err := w.Commit(t.Context(), batch(Put(key("a"), nil))); !refusedAsNewer(err) {
		t.Fatal(err)
	}
	if m.Applied() != 0 {
		t.Fatal("it was proposed")
	}
	if _, err := NewWriter(&proposer{m: m}, m).Commit(t.Context(), batch(Put(key("a"), nil))); err != nil {
		t.Fatal(err)
	}
}
