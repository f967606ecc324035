package anubis

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

func TestPolicyRanges(t *testing.T) {
	for name, change := range map[string]func(*Policy){
		"few failures":  func(p *Policy) { p.Guessing.Count = 2 },
		"many failures": func(p *Policy) { p.Hammering.Count = 10_001 },
		"few names":     func(p *Policy) { p.Spray.Count = 1 },
		"many places":   func(p *Policy) { p.Spread.Count = 65 },
		"short window":  func(p *Policy) { p.Guessing.WindowSeconds = 59 },
		"long window":   func(p *Policy) { p.Spread.WindowSeconds = 3601 },
		"negative":      func(p *Policy) { p.BlockSeconds = -1 },
		"long block":    func(p *Policy) { p.BlockSeconds = p.LongestBlockSeconds + 1 },
		"longer block":  func(p *Policy) { p.LongestBlockSeconds = mostBlock + 1 },
		"short memory":  func(p *Policy) { p.KeepAlertsSeconds = 3599 },
		"long memory":   func(p *Policy) { p.KeepAlertsSeconds = mostKept + 1 },
	} {
		p := DefaultPolicy()
		change(&p)
		if err := p.check(); !tap.IsKind(err, tap.Invalid) || tap.AsError(err).StableCode() != "policy" {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := parsePolicy(mustJSON(p)); !tap.IsKind(err, tap.Internal) {
			t.Errorf("%s is read: %v", name, err)
		}
	}
	p := DefaultPolicy()
	if read, err := parsePolicy(mustJSON(p)); err != nil || read != p {
		t.Error(err)
	}
	if _, err := parsePolicy([]byte(`{"guessing":{},"x":1}`)); err == nil {
		t.Error("unknown members are read")
	}
}

// A watchlist that loads says the same as one that followed, whatever happened,
// and another tenant's records block nobody.
func TestWatchlistLoad(t *testing.T) {
	s := newSite(t)
	id := s.alarmed()
	p := DefaultPolicy()
	p.Spray.Count = 5
	s.put(policyKey("main"), mustJSON(p))
	s.put(policyKey("other"), mustJSON(DefaultPolicy()))
	s.put(blockKey("other", home), mustJSON(Block{Until: s.Now().Add(time.Hour).UnixMicro()}))
	s.put(store.K("main", SpaceBlocked, "no address"), []byte("{}"))
	s.put(store.K("main", SpaceSecurity, "else"), []byte("{}"))
	s.put(store.K("main", "doc", "x"), []byte("{}"))
	fresh := NewWatchlist("main")
	if err := fresh.Load(s.state); err != nil {
		t.Fatal(err)
	}
	same := func(other *Watchlist) bool {
		return reflect.DeepEqual(other.blocks, s.watchlist.blocks) && reflect.DeepEqual(other.alerts, s.watchlist.alerts) &&
			other.Policy() == s.watchlist.Policy()
	}
	if !same(fresh) || fresh.Policy() != p || len(fresh.blocks) != 1 || len(fresh.alerts) != 1 {
		t.Fatalf("%+v", fresh)
	}
	// After a reset only what the state holds counts; what cannot be read
	// changes nothing.
	fresh.view = &halfView{View: s.state}
	fresh.ObserveChanges(nil, true)
	if !same(fresh) {
		t.Fatal("a failed reset forgot something")
	}
	fresh.view = podtest.NewState()
	fresh.ObserveChanges(nil, true)
	if len(fresh.blocks) != 0 || fresh.Alerts().Open != 0 || fresh.Policy() != DefaultPolicy() {
		t.Fatalf("%+v", fresh)
	}
	fresh.view = s.state
	fresh.ObserveChanges(nil, true)
	if !same(fresh) {
		t.Fatal("a reset did not load")
	}
	if err := NewWatchlist("main").Load(brokenView{}); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	// Damage counts as nothing.
	s.put(alertKey("main", id), []byte("damaged"))
	s.put(blockKey("main", attacker), []byte("damaged"))
	s.put(policyKey("main"), []byte("damaged"))
	if len(s.watchlist.blocks) != 0 || s.watchlist.Alerts().Open != 0 || s.watchlist.Policy() != DefaultPolicy() {
		t.Fatalf("%+v", s.watchlist)
	}
	fresh.ObserveChanges([]store.Change{{Key: policyKey("main")}}, false)
	if fresh.Policy() != DefaultPolicy() {
		t.Fatal("a policy that is gone is followed")
	}
}

func TestWatchlistHealth(t *testing.T) {
	s := newSite(t)
	if err := s.watchlist.Health(); err != nil {
		t.Fatal(err)
	}
	s.alarmed()
	if err := s.watchlist.Health(); !tap.IsKind(err, tap.Unavailable) || tap.AsError(err).Message == "" {
		t.Fatal(err)
	}
	// An alert is dropped after its time although nothing else happens.
	s.pass(time.Duration(DefaultPolicy().KeepAlertsSeconds) * time.Second)
	s.flush()
	if err := s.watchlist.Health(); err != nil {
		t.Fatal(err)
	}
}
