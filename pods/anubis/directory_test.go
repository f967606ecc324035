package anubis

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

func TestDirectoryLoad(t *testing.T) {
	s := newSite(t)
	for _, keyID := range [][2]string{{"main", "ana"}, {"main", "bob"}, {"a", "x"}, {"main-2", "x"}, {"z", "x"}} {
		s.enrol(keyID[0], keyID[1], tap.Citizen)
	}
	s.put(store.K("main", "aaa", "x"), []byte("another space"))
	s.put(store.K("empty", "doc", "x"), []byte("a tenant without identities"))
	d := NewDirectory()
	if err := d.Load(s.state); err != nil || d.Len() != 5 {
		t.Fatal(d.Len(), err)
	}
	item, _, _ := s.state.Get(identityKey("main", "ana"))
	if who := d.lookup("main/ana"); who == nil || who.unchanged[0].Number != int64(item.Version) {
		t.Fatal("ana is not as stored")
	}
	ana, nobody := &tap.Principal{Tenant: "main", Identity: "ana"}, &tap.Principal{Tenant: "main", Identity: "nobody"}
	if !d.Stands(ana) || d.Stands(nobody) {
		t.Fatal("who stands is wrong")
	}
	revoked := []byte(strings.Replace(string(item.Value), string(StateActive), string(StateRevoked), 1))
	d.ObserveChanges([]store.Change{{Key: item.Key, Value: revoked, Version: item.Version + 1}}, false)
	if d.Stands(ana) {
		t.Fatal("a revoked identity stands")
	}
	if !d.knows("main-2") || d.knows("empty") {
		t.Fatal("tenants are wrong")
	}
	// After a restored snapshot only what it holds counts.
	d.view = podtest.NewState()
	d.ObserveChanges(nil, true)
	if d.Len() != 0 || d.knows("main") {
		t.Fatal("identities survived a reset")
	}
	d.view = s.state
	d.ObserveChanges(nil, true)
	if d.Len() != 5 {
		t.Fatal("a reset did not load")
	}
	d.view = brokenView{}
	d.ObserveChanges(nil, true)
	if d.Len() != 0 {
		t.Fatal("an unreadable state admits somebody")
	}
	NewDirectory().ObserveChanges(nil, true)
}

// halfView answers the first scan and then breaks.
type halfView struct {
	store.View
	scans int
}

func (v *halfView) Scan(prefix, from store.Key, fn func(store.Item) bool) error {
	if v.scans++; v.scans > 1 {
		return errBroken
	}
	return v.View.Scan(prefix, from, fn)
}

func TestDirectoryLoadFails(t *testing.T) {
	s := newSite(t)
	s.enrol("main", "ana", tap.Citizen)
	for _, v := range []store.View{brokenView{}, &halfView{View: s.state}} {
		d := NewDirectory()
		if err := d.Load(v); !errors.Is(err, errBroken) || d.Len() != 0 {
			t.Fatal(err, d.Len())
		}
	}
}

// A record that is not what it should be admits nobody, and does not disturb
// the others.
func TestDirectoryDamage(t *testing.T) {
	s := newSite(t)
	ana := s.enrol("main", "ana", tap.Citizen)
	s.enrol("main", "bob", tap.Citizen)
	good, _, _ := s.state.Get(identityKey("main", "ana"))
	other, _, _ := s.state.Get(identityKey("main", "bob"))
	for name, value := range map[string][]byte{
		"cut": good.Value[:len(good.Value)-1], "empty": {}, "another's": other.Value,
		"no key":     []byte(`{"name":"ana","state":"active","roles":["citizen"]}`),
		"odd state":  []byte(`{"name":"ana","publicKey":"` + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" + `","state":"asleep"}`),
		"odd fields": []byte(`{"name":"ana","admin":true}`),
	} {
		s.put(good.Key, value)
		if s.directory.lookup(ana) != nil || s.directory.lookup("main/bob") == nil || s.directory.Len() != 1 {
			t.Errorf("%s: the directory believes it", name)
		}
	}
	s.put(good.Key, good.Value)
	if s.directory.lookup(ana) == nil || s.directory.Len() != 2 {
		t.Fatal("a good record is not taken back")
	}
	s.put(good.Key, nil)
	s.put(other.Key, nil)
	if s.directory.Len() != 0 || s.directory.knows("main") {
		t.Fatal("removed identities are known")
	}
	s.directory.ObserveChanges([]store.Change{{Key: store.K("main", "doc", uuid.NewString()), Value: good.Value}}, false)
	if s.directory.Len() != 0 {
		t.Fatal("a document became an identity")
	}
}
