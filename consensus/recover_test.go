package consensus

import (
	"fmt"
	"os"
	"testing"
	"testing/synctest"
)

func TestRecoverOneOfThree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		members := openCluster(t, 3, func(id string) StreamLayer { return w.listen(id) })
		leader, followers := leaderOf(t, members)
		survivor := followers[0]
		for i := range 10 {
			mustPropose(t, leader.Node, fmt.Sprint(i))
		}
		if err := survivor.Node.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustPropose(t, leader.Node, "after the snapshot")
		mustAgree(t, leader, followers...)
		want := leader.chain.read()
		for _, m := range members {
			mustClose(t, m.Node)
		}
		term, _, _ := stableValues(t, survivor.cfg.Dir)

		for name, disk := range map[string]*chainDisk{"flushed": {state: survivor.chain.read()}, "as it was": survivor.chain.disk, "lost": {}} {
			cfg := survivor.cfg
			cfg.Dir = t.TempDir()
			if err := os.CopyFS(cfg.Dir, os.DirFS(survivor.cfg.Dir)); err != nil {
				t.Fatal(err)
			}
			cfg.Stream = w.listen(cfg.ID)
			if err := Recover(cfg, openChain(disk)); err != nil {
				t.Fatalf("%s state: %v", name, err)
			}
			if got, _, _ := stableValues(t, cfg.Dir); got <= term {
				t.Errorf("term %d after %d", got, term)
			}
			c := openChain(disk)
			n, err := Open(cfg, c)
			if err != nil {
				t.Fatalf("%s state: %v", name, err)
			}
			if err := n.WaitLeader(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := c.read(); got.Head != want.Head {
				t.Errorf("%s state: %d of %d commands", name, got.Count, want.Count)
			}
			mustPropose(t, n, "alone")
			if s := n.State(); len(s.Members) != 1 || s.Members[0].ID != cfg.ID || !s.Members[0].Voter {
				t.Errorf("members %+v", s.Members)
			}
			if servers, err := readMembers(cfg.Dir); err != nil || len(servers) != 1 {
				t.Errorf("the file of members has %v, error %v", servers, err)
			}
			mustClose(t, n)
		}
		empty := testConfig(t, t.TempDir())
		if err := Recover(empty, openChain(&chainDisk{})); err == nil {
			t.Error("recovered from nothing")
		}
	})
}
