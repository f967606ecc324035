package consensus

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"

	"tamv.internal/tamv/consensus/snapshot"
)

func TestHistoryWithSnapshots(t *testing.T) {
	open := func(t *testing.T) (string, LogStore, *snapshot.Store) {
		dir := t.TempDir()
		log, err := openLog(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { log.Close() })
		snapshots, err := snapshot.OpenStore(dir, 3, DefaultConfig().withDefaults().Logger)
		if err != nil {
			t.Fatal(err)
		}
		return dir, log, snapshots
	}
	fill := func(t *testing.T, log LogStore, first, last uint64) {
		for i := first; i <= last; i++ {
			if err := log.StoreLog(&raft.Log{Index: i, Term: 1, Type: raft.LogCommand}); err != nil {
				t.Fatal(err)
			}
		}
	}
	take := func(t *testing.T, s *snapshot.Store, index uint64) string {
		sink, err := s.Create(1, index, 1, raft.Configuration{}, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		content := []byte(fmt.Sprint(index))
		if err := os.WriteFile(filepath.Join(sink.(*snapshot.Sink).Dir(), "state"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := sink.(*snapshot.Sink).Commit([]File{{Name: "state", Size: int64(len(content)), Sum: sumOf(content)}}); err != nil {
			t.Fatal(err)
		}
		if err := sink.Close(); err != nil {
			t.Fatal(err)
		}
		return sink.ID()
	}
	spoil := func(t *testing.T, dir, id string) { flip(t, filepath.Join(dir, "snapshots", id, "state"), 0) }
	logger := DefaultConfig().withDefaults().Logger

	t.Run("the state is current and the snapshot is not read", func(t *testing.T) {
		dir, log, s := open(t)
		fill(t, log, 1, 30)
		spoil(t, dir, take(t, s, 20))
		if current, err := checkHistory(log, s, 25, logger); !current || err != nil {
			t.Errorf("current %v, error %v", current, err)
		}
	})
	t.Run("a damaged snapshot gives way to an older one", func(t *testing.T) {
		dir, log, s := open(t)
		fill(t, log, 1, 30)
		older := take(t, s, 10)
		spoil(t, dir, take(t, s, 20))
		if current, err := checkHistory(log, s, 5, logger); current || err != nil {
			t.Errorf("current %v, error %v", current, err)
		}
		if list, err := s.List(); err != nil || len(list) != 1 || list[0].ID != older {
			t.Errorf("snapshots %v, error %v", list, err)
		}
	})
	t.Run("the log does not reach the older one", func(t *testing.T) {
		dir, log, s := open(t)
		fill(t, log, 15, 30)
		take(t, s, 10)
		spoil(t, dir, take(t, s, 20))
		if _, err := checkHistory(log, s, 5, logger); !errors.Is(err, ErrDamaged) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("the log ended with the damaged one", func(t *testing.T) {
		dir, log, s := open(t)
		spoil(t, dir, take(t, s, 20))
		for range 2 {
			if _, err := checkHistory(log, s, 0, logger); !errors.Is(err, ErrDamaged) {
				t.Errorf("error %v", err)
			}
		}
	})
	t.Run("an installation that was cut off", func(t *testing.T) {
		_, log, s := open(t)
		fill(t, log, 1, 12)
		take(t, s, 20)
		if current, err := checkHistory(log, s, 12, logger); current || err != nil {
			t.Errorf("current %v, error %v", current, err)
		}
		fill(t, log, 21, 22) // the log has no gap
	})
	t.Run("a state beyond everything", func(t *testing.T) {
		_, log, s := open(t)
		fill(t, log, 1, 12)
		if _, err := checkHistory(log, s, 13, logger); !errors.Is(err, ErrMismatch) {
			t.Errorf("error %v", err)
		}
	})
}
