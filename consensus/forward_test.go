package consensus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// record is what proposers and readers were told, for comparison with what was applied.
type record struct {
	mu      sync.Mutex
	acked   map[string]string // command to outcome
	refused map[string]bool   // commands that cannot be in the log
	unsure  int
	count   uint64 // the greatest position that was acknowledged
	errs    []error
}

func newRecord() *record {
	return &record{acked: map[string]string{}, refused: map[string]bool{}}
}

func (r *record) fail(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs = append(r.errs, fmt.Errorf(format, args...))
}

// propose proposes one command once and notes what was answered.
func (r *record) propose(ctx context.Context, m member, command string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	outcome, err := m.Propose(ctx, []byte(command))
	var position uint64
	if err == nil {
		if _, err := fmt.Sscanf(outcome.(string), "%d:", &position); err != nil || !strings.HasSuffix(outcome.(string), ":"+command) {
			r.fail("%s: outcome %q for %q", m.cfg.ID, outcome, command)
		}
		if seen := m.chain.read().Count; seen < position {
			r.fail("%s acknowledged position %d and has applied %d", m.cfg.ID, position, seen)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.acked[command] = outcome.(string)
		r.count = max(r.count, position)
	case errors.Is(err, ErrNotLeader), errors.Is(err, ErrBusy):
		r.refused[command] = true
	case errors.Is(err, ErrUncertain), errors.Is(err, context.DeadlineExceeded):
		r.unsure++
	default:
		r.errs = append(r.errs, fmt.Errorf("%s: propose: %w", m.cfg.ID, err))
	}
}

// read reads once and compares with what had been acknowledged before.
func (r *record) read(ctx context.Context, m member, c Consistency) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r.mu.Lock()
	count := r.count
	r.mu.Unlock()
	if err := m.Read(ctx, c); err != nil {
		if !errors.Is(err, ErrNotLeader) && !errors.Is(err, context.DeadlineExceeded) {
			r.fail("%s: %v read: %w", m.cfg.ID, c, err)
		}
		return
	}
	if seen := m.chain.read().Count; seen < count {
		r.fail("%s: a %v read saw %d commands, %d were acknowledged before it began", m.cfg.ID, c, seen, count)
	}
}

// check compares with the log of a member that has applied everything.
func (r *record) check(t *testing.T, m member) {
	t.Helper()
	for _, err := range r.errs {
		t.Error(err)
	}
	at := map[string]int{}
	for i, command := range m.chain.commands {
		if first, twice := at[command]; twice {
			t.Errorf("%q was applied as %d and as %d", command, first, i+1)
		}
		at[command] = i + 1
	}
	for command, outcome := range r.acked {
		if want := fmt.Sprintf("%d:%s", at[command], command); outcome != want {
			t.Errorf("%q was acknowledged as %q and applied as %q", command, outcome, want)
		}
	}
	for command := range r.refused {
		if at[command] != 0 {
			t.Errorf("%q was refused and applied", command)
		}
	}
	t.Logf("%d acknowledged, %d refused, %d of unknown outcome, %d applied", len(r.acked), len(r.refused), r.unsure, len(at))
}

// load proposes and reads on every member until stop is closed; what returns waits for its end.
func (r *record) load(t *testing.T, members []member, stop <-chan struct{}, reads ...Consistency) (wait func()) {
	var wg sync.WaitGroup
	until := func(act func(i int)) {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				act(i)
				<-time.After(40 * time.Millisecond)
			}
		})
	}
	for _, m := range members {
		for p := range 2 {
			until(func(i int) { r.propose(t.Context(), m, fmt.Sprintf("%s/%d/%d", m.cfg.ID, p, i)) })
		}
		for _, c := range reads {
			until(func(int) { r.read(t.Context(), m, c) })
		}
	}
	return wg.Wait
}

// memoryLog is a log that needs no disk, for long runs in virtual time.
type memoryLog struct{ *raft.InmemStore }

func (memoryLog) Close() error { return nil }

func openMemoryLog(string) (LogStore, error) { return memoryLog{raft.NewInmemStore()}, nil }

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
