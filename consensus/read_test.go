package consensus

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// TestNothingStaleIsRead has a member whose clock runs so slowly that it leads on for half a minute after it was cut off, as
// one does that was paused, while the others elect another leader.
func TestNothingStaleIsRead(t *testing.T) {
	for _, seed := range []uint64{1, 2, 3} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newNetwork()
				members := openClusterOf(t, 3, func(cfg *Config) {
					cfg.Stream, cfg.OpenLog = w.listen(cfg.ID), openMemoryLog
					if cfg.ID == "n1" {
						cfg.HeartbeatTimeout, cfg.ElectionTimeout, cfg.LeaderLeaseTimeout = 30*time.Second, 30*time.Second, 30*time.Second
					}
				})
				r, stop := newRecord(), make(chan struct{})
				wait := r.load(t, members, stop, Linearizable)
				random := rand.New(rand.NewPCG(seed, 0))
				ids := []string{"n1", "n2", "n3"}
				for range 12 {
					from, to := ids[random.IntN(3)], ids[random.IntN(3)]
					switch random.IntN(5) {
					case 0:
						w.slow(from, to, time.Duration(random.IntN(1500))*time.Millisecond)
					case 1, 2:
						w.hold(from, to, true)
					case 3: // both ways between n1 and the others, let go one way first
						for _, id := range ids[1:] {
							w.hold("n1", id, true)
							w.hold(id, "n1", true)
						}
						<-time.After(time.Duration(2000+random.IntN(3000)) * time.Millisecond)
						for _, id := range ids[1:] {
							w.hold(id, "n1", false)
						}
					default:
						w.isolate(from, true)
					}
					<-time.After(time.Duration(random.IntN(4000)) * time.Millisecond)
					if random.IntN(3) == 0 {
						calm(w, ids)
					}
				}
				calm(w, ids)
				<-time.After(5 * time.Second)
				close(stop)
				wait()
				leader, _ := leaderOf(t, members)
				mustPropose(t, leader.Node, "last")
				mustAgree(t, leader, members...)
				r.check(t, leader)
			})
		})
	}
}

// calm ends all disturbance.
func calm(w *network, ids []string) {
	for _, from := range ids {
		w.isolate(from, false)
		for _, to := range ids {
			w.hold(from, to, false)
			w.slow(from, to, 0)
		}
	}
}

// TestOldAnswersDoNotConfirm is the case that Raft's VerifyLeader gets wrong: answers from before the change of leader arrive
// while the old leader confirms.
func TestOldAnswersDoNotConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		members := openClusterOf(t, 3, func(cfg *Config) {
			cfg.Stream = w.listen(cfg.ID)
			if cfg.ID == "n1" {
				cfg.HeartbeatTimeout, cfg.ElectionTimeout, cfg.LeaderLeaseTimeout = 30*time.Second, 30*time.Second, 30*time.Second
			}
		})
		old, others := members[0], members[1:]
		mustPropose(t, old.Node, "before")
		// First the answers stay away, with heartbeats still going out, then these too.
		for _, m := range others {
			w.hold(m.cfg.ID, "n1", true)
		}
		<-time.After(500 * time.Millisecond)
		for _, m := range others {
			w.hold("n1", m.cfg.ID, true)
		}
		leader, _ := leaderOf(t, others)
		mustPropose(t, leader.Node, "after")
		if s := old.State(); s.Role != RoleLeader {
			t.Fatalf("the old leader noticed: %+v", s)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		read := make(chan error, 1)
		go func() { read <- old.Read(ctx, Linearizable) }()
		synctest.Wait()
		for _, m := range others {
			w.hold(m.cfg.ID, "n1", false) // the old answers arrive
		}
		<-time.After(time.Second)
		select {
		case err := <-read:
			if err == nil {
				t.Error("a deposed leader served a linearizable read")
			}
		default:
			calm(w, []string{"n1", "n2", "n3"})
			if err := <-read; err == nil && old.chain.read().Count != leader.chain.read().Count {
				t.Error("a deposed leader served a stale read once it could ask")
			}
		}
		calm(w, []string{"n1", "n2", "n3"})
	})
}
