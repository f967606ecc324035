package anubis

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
)

func TestWindowMoves(t *testing.T) {
	var w window
	for _, c := range []struct {
		slot int64
		n    int
	}{
		{1000, 1}, {1000, 2}, {1005, 3}, {1015, 4}, {1016, 3}, {1020, 4}, // 1000 is out of reach
		{1019, 5}, // a little late
		{1035, 3}, // 1020 (and the late one), itself
		{5000, 1}, // far ahead
		{1035, 1}, // and back again
		{-3, 1}, {-3, 2}, {12, 3}, {13, 2},
	} {
		if n := w.add(c.slot); n != c.n {
			t.Fatalf("slot %d: %d, want %d", c.slot, n, c.n)
		}
	}
}

func TestSightings(t *testing.T) {
	var s sightings
	for i, c := range []struct {
		hash uint64
		slot int64
		n    int
	}{
		{1, 100, 1}, {1, 101, 1}, {2, 102, 2}, {3, 103, 3}, {4, 104, 3}, // 1 made room
		{1, 105, 3}, {2, 118, 3}, // 2 had made room; 3 is as good as gone
		{9, 140, 1}, {8, 100, 1}, // the clock was set back
	} {
		if n := s.add(c.hash, c.slot, 3); n != c.n {
			t.Fatalf("step %d: %d, want %d", i, n, c.n)
		}
	}
}

// Whatever fails in whatever order, an address is blocked if and only if a
// threshold was reached within the window, counting from its last block. Pauses
// are whole parts of both windows, where the moving window is exact.
func TestPropertyBlockedIffThreshold(t *testing.T) {
	part := DefaultPolicy().Spray.window() / slots // two parts of hammering's window
	type failure struct {
		at   time.Time
		name string
	}
	rapid.Check(t, func(rt *rapid.T) {
		s := newSite(t)
		s.enrol("main", "ana", tap.Citizen)
		p := DefaultPolicy()
		p.Hammering.Count = rapid.IntRange(3, 12).Draw(rt, "hammering")
		p.Spray.Count = rapid.IntRange(2, 6).Draw(rt, "spray")
		p.BlockSeconds = rapid.SampledFrom([]int{30, 60, 900}).Draw(rt, "block")
		s.put(policyKey("main"), mustJSON(p))
		all := []netip.Addr{nth(1), nth(2), netip.MustParseAddr("2001:db8::1")}
		past := map[netip.Addr][]failure{}
		until := map[netip.Addr]time.Time{}
		times := map[netip.Addr]int{}
		for range rapid.IntRange(1, 120).Draw(rt, "steps") {
			from := rapid.SampledFrom(all).Draw(rt, "from")
			name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", ""}).Draw(rt, "name")
			now := s.Now()
			blocked := now.Before(until[from])
			err := s.forge(map[bool]string{false: "main/" + name, true: "nowhere/x"}[name == ""], from)
			want(rt, err, map[bool]string{false: codeUnknownIdentity, true: codeBlocked}[blocked])
			if !blocked {
				past[from] = append(past[from], failure{now, name})
				failures, names := 0, map[string]bool{}
				for _, f := range past[from] {
					if now.Sub(f.at) < p.Hammering.window() {
						failures++
					}
					if now.Sub(f.at) < p.Spray.window() && f.name != "" {
						names[f.name] = true
					}
				}
				if failures >= p.Hammering.Count || len(names) >= p.Spray.Count {
					times[from]++
					until[from] = now.Add(p.block(times[from]))
					past[from] = nil
				}
			}
			if rapid.IntRange(0, 3).Draw(rt, "flush") == 0 {
				if err := s.gate.Flush(context.Background()); err != nil {
					rt.Fatal(err)
				}
			}
			s.pass(time.Duration(rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2, 9, 30}).Draw(rt, "pause")) * part)
		}
	})
}

// A million addresses and names leave no more than the tables hold, each within
// its bound.
func TestMemoryIsBounded(t *testing.T) {
	s := newSite(t)
	ana := s.enrol("main", "ana", tap.Citizen)
	who := s.directory.lookup(ana)
	random, now := rand.New(rand.NewPCG(1, 2)), s.Now()
	watch := s.gate.sentry
	for i := range 1_000_000 {
		var raw [16]byte
		binary.BigEndian.PutUint64(raw[:], random.Uint64())
		c := unclaimed(netip.AddrFrom16(raw))
		watch.failed(c, tap.CodeMalformedSignature, nil, now)
		if i%16 == 0 {
			c.identity = "ana"
			watch.failed(c, tap.CodeBadSignature, who, now)
			watch.failed(claim{"main", fmt.Sprint("name", i), attacker}, codeUnknownIdentity, nil, now)
		}
	}
	if a, i := len(watch.addresses.table), len(watch.identities.table); a != maxTraces || i != 1 {
		t.Fatalf("%d addresses and %d identities are watched", a, i)
	}
	for _, e := range watch.addresses.table {
		if cap(e.value.others) > 2*mostOthers {
			t.Fatal("an address takes too much")
		}
	}
	if others := watch.identities.peek(ana).others; len(others) != DefaultPolicy().Spread.Count || cap(others) > 2*mostOthers {
		t.Fatalf("%d places of one identity are remembered", cap(others))
	}
	if n := len(watch.alarms); n > 2*alarmRate.Burst {
		t.Fatal(n, "alarms wait")
	}
}
