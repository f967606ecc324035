package consensus

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestApplyErrorHaltsTheNode(t *testing.T) {
	for command, machine := range map[string]*chain{"poison": openChain(&chainDisk{}), "lost outcome": {disk: &chainDisk{}, short: true}} {
		t.Run(command, func(t *testing.T) {
			cfg := testConfig(t, t.TempDir())
			n := openLeader(t, cfg, machine)
			if _, err := n.Propose(t.Context(), []byte(command)); !errors.Is(err, ErrHalted) {
				t.Fatalf("error %v", err)
			} else if command == "poison" && !errors.Is(err, errPoison) {
				t.Fatalf("error %v hides the reason", err)
			}
			<-n.Halted()
			if !errors.Is(n.Err(), ErrHalted) {
				t.Errorf("Err %v", n.Err())
			}
			count := machine.read().Count
			if _, err := n.Propose(t.Context(), []byte("more")); !errors.Is(err, ErrHalted) {
				t.Errorf("propose on a halted node: %v", err)
			}
			if err := n.Read(t.Context(), Linearizable); !errors.Is(err, ErrHalted) {
				t.Errorf("read on a halted node: %v", err)
			}
			if err := n.Snapshot(t.Context()); err == nil {
				t.Error("a halted node took a snapshot")
			}
			if machine.read().Count != count {
				t.Error("a halted node went on")
			}
			mustClose(t, n)
			if !n.State().Halted || n.State().Role != RoleStopped {
				t.Errorf("status %+v", n.State())
			}
		})
	}
}

func TestUnreadableEntryHaltsTheNode(t *testing.T) {
	cfg, disk := testConfig(t, t.TempDir()), &chainDisk{}
	n := openLeader(t, cfg, openChain(disk))
	mustPropose(t, n, "good")
	mustClose(t, n)

	log, err := openLog(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	last, err := log.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	var entry raft.Log
	if err := log.GetLog(last, &entry); err != nil {
		t.Fatal(err)
	}
	entry.Data[len(entry.Data)-1] ^= 1
	if err := errors.Join(log.DeleteRange(last, last), log.StoreLog(&entry), log.Close()); err != nil {
		t.Fatal(err)
	}

	c := openChain(disk)
	n = openNode(t, cfg, c)
	<-n.Halted()
	if !errors.Is(n.Err(), ErrPack) {
		t.Errorf("Err %v", n.Err())
	}
	if err := n.WaitLeader(t.Context()); !errors.Is(err, ErrHalted) {
		t.Errorf("wait on a halted node: %v", err)
	}
	if slices.Contains(c.commands, "good") {
		t.Error("the damaged command was applied")
	}
}

// brokenLog fails to store entries when told to, as a full disk does.
type brokenLog struct {
	LogStore
	broken *atomic.Bool
}

func (l brokenLog) StoreLogs(entries []*raft.Log) error {
	if l.broken.Load() {
		return errors.New("no space left on device")
	}
	return l.LogStore.StoreLogs(entries)
}

func TestLogFailureIsUncertainAndRecovers(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	cfg.HeartbeatTimeout, cfg.ElectionTimeout, cfg.LeaderLeaseTimeout = 20*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond
	var broken atomic.Bool
	cfg.OpenLog = func(dir string) (LogStore, error) {
		log, err := openLog(dir)
		return brokenLog{log, &broken}, err
	}
	n := openLeader(t, cfg, openChain(&chainDisk{}))
	mustPropose(t, n, "before")
	broken.Store(true)
	if _, err := n.Propose(t.Context(), []byte("during")); !errors.Is(err, ErrUncertain) {
		t.Errorf("error %v", err)
	}
	broken.Store(false)
	for {
		_, err := n.Propose(t.Context(), []byte("after"))
		if err == nil {
			break
		}
		if !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrUncertain) {
			t.Fatal(err)
		}
		if err := n.WaitLeader(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
