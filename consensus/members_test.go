package consensus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// joining opens a member that waits to be added.
func joining(t *testing.T, id string, change func(cfg *Config)) member {
	t.Helper()
	cfg := testConfig(t, t.TempDir())
	cfg.ID, cfg.Joining = id, true
	change(&cfg)
	m := member{cfg: cfg, chain: openChain(&chainDisk{})}
	m.Node = openNode(t, cfg, m.chain)
	return m
}

// mustRemove removes a member, which may be the leader.
func mustRemove(t *testing.T, members []member, id string) (rest []member) {
	t.Helper()
	for _, m := range members {
		if m.cfg.ID != id {
			rest = append(rest, m)
		}
	}
	for {
		leader, _ := leaderOf(t, members)
		err := leader.Remove(t.Context(), id)
		if err == nil {
			return rest
		}
		if !errors.Is(err, ErrNotLeader) {
			t.Fatalf("remove %s: %v", id, err)
		}
		leaderOf(t, rest)
	}
}

func TestOneToFiveToOneUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		memory := func(cfg *Config) { cfg.Stream, cfg.OpenLog = w.listen(cfg.ID), openMemoryLog }
		members := openClusterOf(t, 1, memory)
		first := members[0]
		r, stop := newRecord(), make(chan struct{})
		wait := r.load(t, members, stop, Leader, Linearizable)
		waits := []func(){wait}
		for _, id := range []string{"n2", "n3", "n4", "n5"} {
			m := joining(t, id, memory)
			leader, _ := leaderOf(t, members)
			mustJoin(t, leader, m)
			members = append(members, m)
			waits = append(waits, r.load(t, []member{m}, stop, Leader, Linearizable))
			<-time.After(500 * time.Millisecond)
		}
		if s := first.State(); len(s.Members) != 5 || !s.Voter {
			t.Errorf("five members: %+v", s)
		}
		removed := []string{"n1", "n4", "n2", "n5"}
		for _, id := range removed {
			members = mustRemove(t, members, id)
			<-time.After(500 * time.Millisecond)
		}
		close(stop)
		for _, wait := range waits {
			wait()
		}
		last := members[0]
		mustPropose(t, last.Node, "alone")
		if err := last.Read(t.Context(), Linearizable); err != nil {
			t.Error(err)
		}
		if s := last.State(); len(s.Members) != 1 || s.LeaderID != "n3" || s.Role != RoleLeader {
			t.Errorf("one member: %+v", s)
		}
		r.check(t, last)
		if len(r.acked) < 300 {
			t.Errorf("only %d commands were acknowledged", len(r.acked))
		}
		// The first was sent its removal, but nobody waited for it to arrive; see TestRemovedLeaderStepsDown.
		if s := first.State(); s.Member != (len(s.Members) == 5) {
			t.Errorf("the first to be removed knows of %+v", s)
		}
	})
}

func TestPromoteWaitsForTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		members := openClusterOf(t, 1, func(cfg *Config) { cfg.Stream = w.listen(cfg.ID) })
		leader := members[0]
		if err := leader.Add(t.Context(), "n2", "n2"); err != nil {
			t.Fatal(err) // it is not there yet
		}
		for i := range 3 * maxLag {
			mustPropose(t, leader.Node, fmt.Sprint(i))
		}
		if err := leader.Promote(t.Context(), "n2"); !errors.Is(err, ErrBehind) {
			t.Errorf("promote a member that cannot be asked: %v", err)
		}
		m := joining(t, "n2", func(cfg *Config) { cfg.Stream = w.listen(cfg.ID) })
		w.slow("n1", "n2", 300*time.Millisecond)
		<-time.After(maxRedial)
		if err := leader.Promote(t.Context(), "n2"); !errors.Is(err, ErrBehind) {
			t.Errorf("promote a member without the log: %v", err)
		}
		if s := leader.State(); s.Members[1].Voter {
			t.Error("it has a vote nevertheless")
		}
		w.slow("n1", "n2", 0)
		mustJoin(t, leader, m)
		if s := m.State(); !s.Member || s.LeaderID != "n1" {
			t.Errorf("status of the new member: %+v", s)
		}
		if err := leader.Promote(t.Context(), "n2"); err != nil {
			t.Errorf("promote a voter: %v", err)
		}
		// Another address leaves the vote.
		if err := leader.Add(t.Context(), "n2", "elsewhere"); err != nil {
			t.Fatal(err)
		}
		if got := leader.State().Members[1]; got.Address != "elsewhere" || !got.Voter {
			t.Errorf("after a move: %+v", got)
		}
		if err := leader.Add(t.Context(), "n2", "n2"); err != nil {
			t.Fatal(err)
		}
		for name, err := range map[string]error{
			"promote": leader.Promote(t.Context(), "n9"), "remove": leader.Remove(t.Context(), "n9"), "transfer": leader.Transfer(t.Context(), "n9"),
		} {
			if !errors.Is(err, ErrUnknownMember) {
				t.Errorf("%s of nobody: %v", name, err)
			}
		}
		for name, err := range map[string]error{
			"promote": m.Promote(t.Context(), "n1"), "remove": m.Remove(t.Context(), "n1"), "add": m.Add(t.Context(), "n3", "n3"),
		} {
			if !errors.Is(err, ErrNotLeader) {
				t.Errorf("%s on a follower: %v", name, err)
			}
		}
		if err := leader.Add(t.Context(), strings.Repeat("x", maxID+1), "n3"); err == nil {
			t.Error("an id too long was accepted")
		}
	})
}

func TestMemberWithoutVoteNeverLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		members := openClusterOf(t, 1, func(cfg *Config) { cfg.Stream = w.listen(cfg.ID) })
		leader := members[0]
		observer := joining(t, "n2", func(cfg *Config) { cfg.Stream = w.listen(cfg.ID) })
		if err := leader.Add(t.Context(), "n2", "n2"); err != nil {
			t.Fatal(err)
		}
		if err := observer.WaitLeader(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := mustPropose(t, observer.Node, "from one without a vote"); got != "1:from one without a vote" {
			t.Errorf("outcome %q", got)
		}
		if err := observer.Read(t.Context(), Linearizable); err != nil {
			t.Error(err)
		}
		if err := leader.Transfer(t.Context(), "n2"); !errors.Is(err, ErrNoPeer) {
			t.Errorf("transfer to a member without a vote: %v", err)
		}
		if err := leader.Transfer(t.Context(), ""); !errors.Is(err, ErrNoPeer) {
			t.Errorf("transfer to nobody: %v", err)
		}
		term := observer.State().Term
		w.isolate("n1", true)
		<-time.After(time.Minute)
		if s := observer.State(); s.Role == RoleLeader || s.Term != term {
			t.Errorf("without its leader: %+v", s)
		}
		w.isolate("n1", false)
		// With one voter the leader did not even notice.
		mustPropose(t, leader.Node, "goes on")
		mustAgree(t, leader, observer)
	})
}

func TestTransferPicksTheFittest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		members := openClusterOf(t, 3, func(cfg *Config) {
			cfg.Stream = w.listen(cfg.ID)
			id := cfg.ID
			cfg.Report = func() Report {
				if id == "n2" {
					return Report{Unfit: "disk full"}
				}
				return Report{Version: 7, Detail: []byte(id)}
			}
		})
		for range 5 {
			leader, _ := leaderOf(t, members)
			<-time.After(2 * pollInterval)
			if err := leader.Transfer(t.Context(), ""); err != nil {
				t.Fatalf("transfer: %v", err)
			}
			next, _ := leaderOf(t, members)
			if next.cfg.ID == leader.cfg.ID || next.cfg.ID == "n2" {
				t.Errorf("%s handed over to %s", leader.cfg.ID, next.cfg.ID)
			}
		}
		leader, followers := leaderOf(t, members)
		if err := followers[0].Transfer(t.Context(), "n2"); err != nil {
			t.Errorf("transfer through a follower: %v", err)
		}
		if next, _ := leaderOf(t, members); next.cfg.ID != "n2" {
			t.Errorf("%s handed over to %s when asked for n2", leader.cfg.ID, next.cfg.ID)
		}
		if err := members[1].Transfer(t.Context(), "n2"); err != nil {
			t.Errorf("transfer to the leader: %v", err)
		}
		if err := members[0].Transfer(t.Context(), "n9"); !errors.Is(err, ErrUnknownMember) {
			t.Errorf("transfer to nobody through a follower: %v", err)
		}

		// Nobody fit is there.
		w.isolate("n1", true)
		w.isolate("n3", true)
		<-time.After(2 * peerAge)
		if err := members[1].Transfer(t.Context(), ""); !errors.Is(err, ErrNoPeer) && !errors.Is(err, ErrNotLeader) {
			t.Errorf("transfer when nobody is there: %v", err)
		}
		w.isolate("n1", false)
		w.isolate("n3", false)
	})
}

func TestPeersAreHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		members := openClusterOf(t, 3, func(cfg *Config) {
			cfg.Stream = w.listen(cfg.ID)
			id := cfg.ID
			cfg.Report = func() Report {
				return Report{Version: 3, Unfit: strings.Repeat("u", 300), Detail: []byte(id)}
			}
			if id == "n3" {
				cfg.Clock = func() time.Time { return time.Now().Add(-time.Hour) }
			}
		})
		leader, _ := leaderOf(t, members)
		mustPropose(t, leader.Node, "x")
		w.slow("n1", "n3", 40*time.Millisecond)
		w.slow("n3", "n1", 60*time.Millisecond)
		<-time.After(5 * time.Second)
		for _, m := range members {
			peers := m.Peers()
			if len(peers) != 2 {
				t.Fatalf("%s has peers %+v", m.cfg.ID, peers)
			}
			for _, p := range peers {
				if p.ID == m.cfg.ID || !p.Voter || p.Address != p.ID || time.Since(p.Heard) > 2*pollInterval || p.Applied == 0 ||
					p.Last < p.Applied || p.Term == 0 || p.Report.Version != 3 || len(p.Report.Unfit) != maxUnfit || string(p.Report.Detail) != p.ID {
					t.Errorf("%s heard %+v", m.cfg.ID, p)
				}
				want := map[bool]time.Duration{true: -time.Hour, false: time.Hour}[p.ID == "n3"]
				if p.ID != "n3" && m.cfg.ID != "n3" {
					want = 0
				}
				if off := p.ClockOffset - want; off.Abs() > p.RoundTrip/2+time.Microsecond {
					t.Errorf("%s takes the clock of %s to be %v off, with a round trip of %v", m.cfg.ID, p.ID, p.ClockOffset, p.RoundTrip)
				}
				if m.cfg.ID == "n1" && p.ID == "n3" && p.RoundTrip != 100*time.Millisecond {
					t.Errorf("round trip %v", p.RoundTrip)
				}
			}
		}
		w.isolate("n2", true)
		<-time.After(5 * time.Second)
		for _, p := range members[0].Peers() {
			if gone := time.Since(p.Heard) > peerAge; gone != (p.ID == "n2") {
				t.Errorf("n2 is cut off: %+v", p)
			}
		}
		w.isolate("n2", false)
		leader, _ = leaderOf(t, members)
		id := "n2"
		if leader.cfg.ID == id {
			id = "n3"
		}
		mustRemove(t, members, id)
		for _, p := range leader.Peers() {
			if p.ID == id {
				t.Errorf("a removed member is a peer: %+v", p)
			}
		}
	})
}

func TestAddressThatBelongsToAnotherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		members := openClusterOf(t, 3, func(cfg *Config) { cfg.Stream = w.listen(cfg.ID) })
		leader, _ := leaderOf(t, members)
		for _, server := range leader.servers() {
			if string(server.ID) == leader.cfg.ID {
				continue
			}
			server.ID = "someone else"
			if term := leader.askTerm(t.Context(), server); term != 0 {
				t.Errorf("the answer of another node counted: term %d", term)
			}
			if _, _, err := leader.peers.ask(t.Context(), server); !errors.Is(err, errCall) {
				t.Errorf("the status of another node: %v", err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := leader.confirm(ctx, leader.State().Term+1); !errors.Is(err, ErrNotLeader) {
			t.Errorf("another term was confirmed: %v", err)
		}
		if err := leader.confirm(ctx, leader.State().Term); err != nil {
			t.Errorf("the term was not confirmed: %v", err)
		}
	})
}
