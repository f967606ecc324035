package consensus

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
)

func TestHeldLog(t *testing.T) {
	log, err := openLog(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l := newHeldLog(log)
	defer l.Close()
	l.bound = 1000
	entries := make([]*raft.Log, 100)
	for i := range entries {
		entries[i] = &raft.Log{Index: uint64(i + 1), Term: 1, Type: raft.LogCommand, Data: make([]byte, 10)}
	}
	if err := l.StoreLogs(entries); err != nil {
		t.Fatal(err)
	}
	first := func(last uint64) uint64 {
		t.Helper()
		from, err1 := l.FirstIndex()
		err2 := l.DeleteRange(from, last)
		got, err3 := l.FirstIndex()
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := first(10); got != 10 {
		t.Errorf("the log begins at %d: one entry more than asked for is kept", got)
	}
	release, also := l.hold(20), l.hold(30)
	if got := first(50); got != 20 {
		t.Errorf("the log begins at %d though it is held at 20", got)
	}
	release()
	if got := first(50); got != 30 {
		t.Errorf("the log begins at %d though it is held at 30", got)
	}
	if got := first(25); got != 30 {
		t.Errorf("the log begins at %d", got)
	}
	for i := range 100 {
		if err := l.StoreLog(&raft.Log{Index: uint64(101 + i), Term: 1, Data: make([]byte, 11)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := first(60); got != 60 {
		t.Errorf("the log begins at %d though more was appended than it is held for", got)
	}
	also()
	defer l.hold(70)()
	if got := first(90); got != 70 {
		t.Errorf("the log begins at %d: a later hold counts anew", got)
	}
	if err := l.DeleteRange(150, 200); err != nil {
		t.Fatal(err)
	}
	if err := l.DeleteRange(70, 149); err != nil {
		t.Fatal(err)
	}
	if last, err := l.LastIndex(); last != 0 || err != nil {
		t.Errorf("entries up to %d are left, error %v: all were to go", last, err)
	}
	if !l.IsMonotonic() {
		t.Error("the log no longer says that it has no gaps")
	}
}
