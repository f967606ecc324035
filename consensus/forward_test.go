package consensus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestCommandsFromEveryMemberUnderChangesOfLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		members := openClusterOf(t, 3, func(cfg *Config) { cfg.Stream, cfg.OpenLog = w.listen(cfg.ID), openMemoryLog })
		r, stop := newRecord(), make(chan struct{})
		wait := r.load(t, members, stop, Linearizable)
		random := rand.New(rand.NewPCG(3, 4))
		for range 10 {
			leader, _ := leaderOf(t, members)
			<-time.After(time.Duration(random.IntN(200)) * time.Millisecond)
			switch random.IntN(3) {
			case 0:
				if err := members[random.IntN(3)].Transfer(t.Context(), ""); err != nil {
					t.Logf("transfer: %v", err)
				}
			case 1:
				w.isolate(leader.cfg.ID, true)
				<-time.After(3 * time.Second)
				w.isolate(leader.cfg.ID, false)
			default:
				other := members[random.IntN(3)]
				w.hold(leader.cfg.ID, other.cfg.ID, true)
				<-time.After(2500 * time.Millisecond)
				w.hold(leader.cfg.ID, other.cfg.ID, false)
			}
		}
		close(stop)
		wait()
		leader, _ := leaderOf(t, members)
		mustPropose(t, leader.Node, "last")
		mustAgree(t, leader, members...)
		r.check(t, leader)
		if len(r.acked) < 500 {
			t.Errorf("only %d commands were acknowledged", len(r.acked))
		}
	})
}

func TestForwardingErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		members := openCluster(t, 3, func(id string) StreamLayer { return w.listen(id) })
		leader, followers := leaderOf(t, members)
		f := followers[0]
		if _, err := f.Propose(t.Context(), make([]byte, f.cfg.MaxPackBytes)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("a command that fits no pack: %v", err)
		}
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := f.Propose(cancelled, []byte("x")); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		if err := f.Tick(t.Context()); !errors.Is(err, ErrNotLeader) {
			t.Errorf("tick on a follower: %v", err)
		}
		if got := mustPropose(t, f.Node, strings.Repeat("x", f.cfg.MaxPackBytes-3)); !strings.HasPrefix(got, "1:x") {
			t.Errorf("the largest command: outcome %.10q", got)
		}

		// The answer to a command in flight does not come any more.
		w.hold(leader.cfg.ID, f.cfg.ID, true)
		if _, err := f.Propose(t.Context(), []byte("in flight")); !errors.Is(err, ErrUncertain) {
			t.Errorf("the connection was silent: %v", err)
		}
		w.hold(leader.cfg.ID, f.cfg.ID, false)

		// A member that is cut off refuses, at the latest when it has missed its leader.
		leader, followers = leaderOf(t, members)
		f = followers[0]
		w.isolate(f.cfg.ID, true)
		<-time.After(5 * time.Second)
		begin := time.Now()
		if _, err := f.Propose(t.Context(), []byte("x")); !errors.Is(err, ErrNotLeader) {
			t.Errorf("propose on a member that was cut off: %v", err)
		}
		for _, c := range []Consistency{Leader, Linearizable} {
			if err := f.Read(t.Context(), c); !errors.Is(err, ErrNotLeader) {
				t.Errorf("%v read on a member that was cut off: %v", c, err)
			}
		}
		if took := time.Since(begin); took > 100*time.Millisecond {
			t.Errorf("it took %v to refuse", took)
		}
		w.isolate(f.cfg.ID, false)
		mustPropose(t, leader.Node, "together again")
	})
}

func TestFollowerClosesAfterWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		members := openCluster(t, 3, func(id string) StreamLayer { return w.listen(id) })
		_, followers := leaderOf(t, members)
		f := followers[0]
		w.slow(f.cfg.ID, members[0].cfg.ID, 100*time.Millisecond)
		outcomes := make(chan error, 3)
		for i := range 3 {
			go func() {
				_, err := f.Propose(t.Context(), []byte(fmt.Sprint(i)))
				outcomes <- err
			}()
		}
		synctest.Wait()
		mustClose(t, f.Node)
		for range 3 {
			if err := <-outcomes; err != nil {
				t.Errorf("a command that waited when the member was closed: %v", err)
			}
		}
		if _, err := f.Propose(t.Context(), []byte("x")); !errors.Is(err, ErrClosed) {
			t.Errorf("propose after close: %v", err)
		}
	})
}

func TestHaltedFollowerStillTellsItsStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		members := openCluster(t, 3, func(id string) StreamLayer { return w.listen(id) })
		leader, followers := leaderOf(t, members)
		f := followers[0]
		f.chain.mu.Lock()
		f.chain.short = true
		f.chain.mu.Unlock()
		mustPropose(t, leader.Node, "x")
		<-f.Halted()
		if _, err := f.Propose(t.Context(), []byte("y")); !errors.Is(err, ErrHalted) {
			t.Errorf("propose on a halted follower: %v", err)
		}
		<-time.After(3 * time.Second)
		peers := leader.Peers()
		i := slices.IndexFunc(peers, func(p Peer) bool { return p.ID == f.cfg.ID })
		if i < 0 || peers[i].Report.Unfit == "" || time.Since(peers[i].Heard) > peerAge {
			t.Errorf("the leader's view of a halted member: %+v", peers)
		}
	})
}

// TestForwardErrorsAreHonest holds which failures may be repeated with a command that is not idempotent.
func TestForwardErrorsAreHonest(t *testing.T) {
	remote := func(err error) error { return &remoteError{"n2", "text", err} }
	for _, c := range []struct {
		from, want error
	}{
		{ErrNotLeader, ErrNotLeader},
		{remote(ErrNotLeader), ErrNotLeader},
		{remote(ErrBusy), ErrBusy},
		{remote(ErrTooLarge), ErrTooLarge},
		{remote(ErrClosed), ErrNotLeader},
		{remote(errUnknownCall), ErrNotLeader},
		{fmt.Errorf("%w: no route", errUnreachable), ErrNotLeader},
		{ErrClosed, ErrClosed},
		{remote(ErrHalted), ErrUncertain},
		{remote(ErrUncertain), ErrUncertain},
		{remote(errRemote), ErrUncertain},
		{errBroken, ErrUncertain},
		{context.Canceled, ErrUncertain},
	} {
		got := forwardError(c.from)
		if !errors.Is(got, c.want) {
			t.Errorf("%v became %v", c.from, got)
		}
		if c.want == ErrUncertain && (errors.Is(got, ErrHalted) || errors.Is(got, context.Canceled)) {
			t.Errorf("%v became %v, which is not about this node or this caller", c.from, got)
		}
	}
}

// A member gets what is its own: the name in a call must be the one that its connection proves.
func TestNobodySpeaksForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		members := openCluster(t, 3, func(id string) StreamLayer { return w.listen(id) })
		leader, followers := leaderOf(t, members)
		name := followers[0].cfg.ID
		bodies := map[string]struct {
			handle callHandler
			body   []byte
		}{
			"commands": {leader.forwarded, appendForward(name, [][]byte{[]byte("x")})},
			"a read":   {leader.tellReadPoint, appendBytes([]byte{byte(Linearizable)}, name)},
			"an offer": {leader.installs.answerOffer, []byte(`{"member":"` + name + `"}`)},
		}
		for what, c := range bodies {
			as := func(id string) context.Context { return context.WithValue(t.Context(), callerKey{}, id) }
			if _, err := c.handle(as(followers[1].cfg.ID), c.body); !errors.Is(err, errCall) {
				t.Errorf("%s in another's name: %v", what, err)
			}
			for _, id := range []string{name, ""} {
				if _, err := c.handle(as(id), c.body); err != nil {
					t.Errorf("%s of %q, proven %q: %v", what, name, id, err)
				}
			}
		}
	})
}

func TestRemovedMemberIsNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		members := openCluster(t, 3, func(id string) StreamLayer { return w.listen(id) })
		leader, followers := leaderOf(t, members)
		gone := followers[0]
		w.isolate(gone.cfg.ID, true) // so that it does not get the entry that removes it
		mustRemove(t, members, gone.cfg.ID)
		w.isolate(gone.cfg.ID, false)
		_, err := leader.forwarded(t.Context(), appendForward(gone.cfg.ID, [][]byte{[]byte("x")}))
		if !errors.Is(err, ErrNotLeader) {
			t.Errorf("commands of a removed member: %v", err)
		}
		if _, err := leader.tellReadPoint(t.Context(), appendBytes([]byte{byte(Linearizable)}, gone.cfg.ID)); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a read of a removed member: %v", err)
		}
		for name, body := range map[string][]byte{
			"empty": nil, "no commands": appendForward("n1", nil), "cut": appendForward("n1", [][]byte{[]byte("xyz")})[:8],
			"a long id": appendForward(strings.Repeat("n", maxID+1), [][]byte{nil}),
		} {
			if _, err := leader.forwarded(t.Context(), body); !errors.Is(err, errCall) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, body := range [][]byte{nil, {1}, appendBytes([]byte{9}, leader.cfg.ID), appendBytes([]byte{byte(Local)}, leader.cfg.ID)} {
			if _, err := leader.tellReadPoint(t.Context(), body); !errors.Is(err, errCall) {
				t.Errorf("read %x: %v", body, err)
			}
		}
		if _, err := leader.transferred(t.Context(), []byte{0}); !errors.Is(err, errCall) {
			t.Errorf("transfer: %v", err)
		}
	})
}
