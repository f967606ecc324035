package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tamv.internal/tamv/consensus"
	members "tamv.internal/tamv/pods/cluster"
	"tamv.internal/tamv/store"
)

// Members are known by their addresses, names are looked up when they are new
// and now and then, and an answer that fails to come changes nothing.
func TestWhereMembersLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := members.NewDirectory("t1")
		write := func(id, address string) {
			change := store.Change{Key: store.K("t1", members.Space, "member", id)}
			if address != "" {
				value, err := json.Marshal(members.Member{ID: id, Address: address})
				if err != nil {
					t.Fatal(err)
				}
				change.Value = value
			}
			d.ObserveChanges([]store.Change{change}, false)
			synctest.Wait()
		}
		write("self", "192.0.2.1:7443")
		write("alfa", "192.0.2.2:7443")
		write("beta", "beta.example:7443")
		h := newMemberHosts("self", d)
		answers, asked := map[string]string{"beta.example": "192.0.2.3", "gama.example": "::ffff:192.0.2.4"}, atomic.Int64{}
		h.lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
			asked.Add(1)
			if answers[host] == "" {
				return nil, errors.New("no answer")
			}
			return []netip.Addr{netip.MustParseAddr(answers[host])}, nil
		}
		check := func(when string, lookups int64, want ...string) {
			t.Helper()
			for i, ip := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"} {
				if got := h.has(netip.MustParseAddr(ip)); got != (want[i] == "y") {
					t.Errorf("%s: a member at %s: %v", when, ip, got)
				}
			}
			if n := asked.Load(); n != lookups {
				t.Errorf("%s: %d lookups", when, n)
			}
		}
		check("before anything was looked up", 0, "n", "y", "n", "n", "n")
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan bool)
		go func() { h.run(ctx); close(ended) }()
		synctest.Wait()
		check("at first", 1, "n", "y", "y", "n", "n")
		write("gama", "gama.example:7443")
		check("with one more", 2, "n", "y", "y", "y", "n")
		answers["beta.example"] = ""
		answers["gama.example"] = "192.0.2.5"
		write("alfa", "")
		check("with one less", 2, "n", "n", "y", "y", "n")
		<-time.After(lookupEvery)
		synctest.Wait()
		check("looked up again", 4, "n", "n", "y", "n", "y")
		write("gama", "")
		check("without gama", 4, "n", "n", "y", "n", "n")
		stop()
		<-ended
	})
}

// A node that was cut off must not refuse the leader that came meanwhile.
func TestWhoKnowsTheMembers(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	known := func(id string) bool { return id == "alfa" }
	for name, c := range map[string]struct {
		status consensus.Status
		want   bool
	}{
		"follows a member":            {consensus.Status{ID: "beta", LeaderID: "alfa"}, true},
		"leads":                       {consensus.Status{ID: "beta", LeaderID: "beta"}, true},
		"follows somebody new":        {consensus.Status{ID: "beta", LeaderID: "delta", LastContact: now}, false},
		"between two leaders":         {consensus.Status{ID: "beta", LastContact: now.Add(-leaderless / 2)}, true},
		"without a leader for long":   {consensus.Status{ID: "beta", LastContact: now.Add(-leaderless)}, false},
		"has never heard of a leader": {consensus.Status{ID: "beta"}, false},
	} {
		if got := knowsMembers(c.status, now, known); got != c.want {
			t.Errorf("a node that %s: %v", name, got)
		}
	}
}

// Whoever sits at a node's machine may come from its address as well as from loopback,
// and is not blocked for what else came from there.
func TestExemptAddresses(t *testing.T) {
	d := members.NewDirectory("t1")
	value, err := json.Marshal(members.Member{ID: "alfa", Address: "192.0.2.2:7443"})
	if err != nil {
		t.Fatal(err)
	}
	d.ObserveChanges([]store.Change{{Key: store.K("t1", members.Space, "member", "alfa"), Value: value}}, false)
	n := &node{hosts: newMemberHosts("self", d)}
	for advertised, want := range map[string]string{"192.0.2.1:7443": "yyn", "[fe80::1%eth0]:7443": "nyy", "self.example:7443": "nyn"} {
		n.settings.Advertise = advertised
		for i, ip := range []string{"192.0.2.1", "192.0.2.2", "fe80::1"} {
			if got := n.exempt(netip.MustParseAddr(ip)); got != (want[i] == 'y') {
				t.Errorf("%s at %s: %v", ip, advertised, got)
			}
		}
	}
}
