package cluster

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
)

// failing is a view that cannot be read.
type failing struct{ store.View }

func (failing) Scan(store.Key, store.Key, func(store.Item) bool) error { return errors.New("disk") }

// Whatever is done to the records, the directory says the same as one that
// loads them, a removed node and its key stay refused, and the site keeps a
// voter.
func TestDirectoryFollowsTheRecords(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newSite(t, "n1")
		removed := map[string]bool{}
		names := rapid.SampledFrom([]string{"n1", "n2", "n3", "n4", "n5"})
		rt.Repeat(map[string]func(*rapid.T){
			"join": func(rt *rapid.T) {
				id := names.Draw(rt, "id")
				before := s.directory.Changed()
				secret, _ := s.invite(inviteRequest{Observer: rapid.Bool().Draw(rt, "observer")})
				_, known := s.directory.Member(id)
				_, err := s.join(application(secret, id))
				if (err == nil) != (!known && !removed[id]) {
					rt.Fatalf("%s joins: %v", id, err)
				}
				if m, ok := s.directory.Member(id); err == nil && ok {
					s.node(id, !m.Observer)
				}
				select {
				case <-before:
				default:
					rt.Fatal("nobody was told")
				}
				s.pass(2 * time.Hour)
			},
			"remove": func(rt *rapid.T) {
				id := names.Draw(rt, "id")
				_, known := s.directory.Member(id)
				_, err := do[removedReply](s, "DELETE", "/v1/cluster/members/"+id, nil)
				if err == nil && !known {
					rt.Fatalf("%s was removed and was none", id)
				}
				removed[id] = removed[id] || err == nil
			},
			"promote": func(rt *rapid.T) {
				_, _ = do[promotedReply](s, "POST", "/v1/cluster/members/"+names.Draw(rt, "id")+"/promote", nil)
			},
			"": func(rt *rapid.T) {
				fresh := NewDirectory(tenant)
				if err := fresh.Load(s.state); err != nil {
					rt.Fatal(err)
				}
				if !reflect.DeepEqual(fresh.Members(), s.directory.Members()) || !reflect.DeepEqual(fresh.removed, s.directory.removed) ||
					!reflect.DeepEqual(fresh.revoked, s.directory.revoked) {
					rt.Fatalf("followed %+v, loaded %+v", s.directory.Members(), fresh.Members())
				}
				for id := range removed {
					if removed[id] && (!s.directory.Removed(id) || !s.directory.RevokedKey(pinOf(id))) {
						rt.Fatalf("%s is welcome again", id)
					}
				}
				if !slices.ContainsFunc(s.directory.Members(), func(m Member) bool { return !m.Observer }) {
					rt.Fatal("no voter is left")
				}
			},
		})
	})
}

func TestDirectoryReset(t *testing.T) {
	s := newSite(t, "n1")
	d := NewDirectory(tenant)
	if err := d.Load(failing{s.state}); err == nil {
		t.Error("loaded what cannot be read")
	}
	if err := d.Load(s.state); err != nil || len(d.Members()) != 1 {
		t.Fatal(err)
	}
	s.commit(SelfBatch(tenant, member("n2"), uuid.New()))
	d.ObserveChanges(nil, true)
	if len(d.Members()) != 2 {
		t.Errorf("after a reset: %+v", d.Members())
	}
	// What was known stays when a reset cannot be followed.
	d.view = failing{s.state}
	changed := d.Changed()
	d.ObserveChanges([]store.Change{{Key: memberKey(tenant, "n2")}}, true)
	if len(d.Members()) != 2 {
		t.Errorf("after a failed reset: %+v", d.Members())
	}
	select {
	case <-changed:
		t.Error("a failed reset is no change")
	default:
	}
	// Records of others, and those that do not parse, change nothing.
	d.ObserveChanges([]store.Change{
		{Key: memberKey("other", "n3"), Value: mustJSON(member("n3"))},
		{Key: invitationKey(tenant, "n1"), Value: []byte("{}")},
		{Key: memberKey(tenant, "n2"), Value: []byte("rubbish")},
		{Key: removedKey(tenant, "n2"), Value: []byte("rubbish")},
	}, false)
	if m := d.Members(); len(m) != 2 || d.Removed("n2") {
		t.Errorf("%+v", m)
	}
	d.ObserveChanges([]store.Change{{Key: memberKey(tenant, "n2")}}, false)
	if _, ok := d.Member("n2"); ok {
		t.Error("a record that is gone is still there")
	}
	if _, ok := d.NodeAt("n2.example:7443"); ok {
		t.Error("somebody lives where nobody does")
	}
}

// A node that was removed is refused when it has no vote any more: of two voters,
// the one that stays may need the other's once more.
func TestLinksOutliveTheRecordUntilReplicationFollows(t *testing.T) {
	s := newSite(t, "n1", "n2")
	links := s.directory.ForLinks(func(id string) bool {
		return slices.ContainsFunc(s.status.Nodes, func(n Node) bool { return n.ID == id })
	}, func() bool { return true })
	refused := func() [2]bool { return [2]bool{links.Removed("n2"), links.RevokedKey(pinOf("n2"))} }
	if refused() != [2]bool{} {
		t.Error("a member is refused")
	}
	if _, err := do[removedReply](s, "DELETE", "/v1/cluster/members/n2", nil); err != nil {
		t.Fatal(err)
	}
	if refused() != [2]bool{} || !links.Expected("n2") {
		t.Error("cut off while it votes")
	}
	if pin, ok := links.Pin("n2"); !ok || pin != pinOf("n2") {
		t.Error("its name is good for another key")
	}
	s.status.Nodes = s.status.Nodes[:1]
	if refused() != [2]bool{true, true} || links.Removed("n1") || links.RevokedKey(pinOf("n1")) {
		t.Error("not cut off although it votes no more, or somebody else is")
	}
}

// A name that the site never took in is refused by whoever knows the members,
// and only by those.
func TestLinksExpectMembers(t *testing.T) {
	s := newSite(t, "n1")
	counted, settled := "", true
	links := s.directory.ForLinks(func(id string) bool { return id == counted }, func() bool { return settled })
	if !links.Expected("n1") || links.Expected("ghost") {
		t.Error("a member is not expected, or a stranger is")
	}
	if _, ok := links.Pin("ghost"); ok {
		t.Error("a stranger has a pin")
	}
	counted = "ghost" // as a node whose record has not come yet
	if !links.Expected("ghost") {
		t.Error("replication counts on it and it is refused")
	}
	counted, settled = "", false
	if !links.Expected("ghost") {
		t.Error("a node that is catching up cannot know")
	}
}

// Two removals at once: the second sees the first.
func TestRemovalsAreDecidedOneAfterTheOther(t *testing.T) {
	s := newSite(t, "n1", "n2", "n3")
	s.reach("n3", false)
	call := func(id string) (store.Batch, error) {
		row := s.pod.Manifest().Routes[5]
		c := podtestCall(s, map[string]string{"id": id})
		r, err := row.Run(context.Background(), c)
		if err != nil {
			return store.Batch{}, err
		}
		return store.Batch{RequestID: uuid.New(), Tenant: tenant, Ops: r.Ops, Evidence: r.Evidence}, nil
	}
	first, err := call("n3")
	if err != nil {
		t.Fatal(err)
	}
	s.commit(SelfBatch(tenant, member("n2"), uuid.New())) // n2 changed in between
	if _, err := s.state.Commit(t.Context(), first); err == nil {
		t.Error("decided on members that are not what they were")
	}
	again, err := call("n3")
	if err != nil {
		t.Fatal(err)
	}
	s.commit(again)
	if s.state.Clock() <= podtest.Epoch.UnixMicro() {
		t.Error("nothing was committed")
	}
}
