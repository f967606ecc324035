package consensus

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tamv.internal/tamv/consensus/snapshot"
)

func TestOfferIsTheLeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		members := openCluster(t, 3, func(id string) StreamLayer { return w.listen(id) })
		leader, followers := leaderOf(t, members)
		mustPropose(t, leader.Node, "x")
		ask := func(n *Node, request string) (offerReply, error) {
			data, err := n.installs.answerOffer(t.Context(), []byte(request))
			if err != nil || data == nil {
				return offerReply{}, err
			}
			reply, c, err := decodeOfferReply(data)
			if len(c.Servers) != 3 {
				t.Errorf("configuration %+v", c)
			}
			return reply, err
		}
		if _, err := ask(followers[0].Node, `{"member":"n9"}`); !errors.Is(err, ErrNotLeader) {
			t.Errorf("asked a follower: %v", err)
		}
		if _, err := ask(leader.Node, `{`); !errors.Is(err, errCall) {
			t.Errorf("asked in a wrong way: %v", err)
		}
		last := leader.State().LastIndex
		first, err := ask(leader.Node, `{"member":"n9"}`)
		if err != nil || first.Index <= last {
			t.Fatalf("offer at index %d, the log ended at %d: %v", first.Index, last, err)
		}
		// It stays while it is asked for, though newer snapshots are taken, and then for a while.
		name := fmt.Sprintf(`{"member":"n9","index":%d,"term":%d}`, first.Index, first.Term)
		for i := range 3 {
			mustPropose(t, leader.Node, fmt.Sprint(i))
			if err := leader.Node.Snapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := ask(leader.Node, name); err != nil {
				t.Fatalf("renewal %d: %v", i, err)
			}
			<-time.After(offerLease - time.Second)
		}
		if list, err := leader.installs.snapshots.List(); err != nil || len(list) != 3 || list[2].Index != first.Index {
			t.Errorf("snapshots %v, error %v", list, err)
		}
		<-time.After(2 * time.Second)
		if list, err := leader.installs.snapshots.List(); err != nil || len(list) != 2 {
			t.Errorf("snapshots %v after the offer ended, error %v", list, err)
		}
		if _, err := ask(leader.Node, name); !errors.Is(err, snapshot.ErrNotFound) {
			t.Errorf("an offer that ended was renewed: %v", err)
		}
		for i := range maxOffers {
			for range 2 { // the second takes the place of the first
				if _, err := ask(leader.Node, fmt.Sprintf(`{"member":"m%d"}`, i)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := ask(leader.Node, `{"member":"one more"}`); !errors.Is(err, ErrBusy) {
			t.Errorf("one offer more than are kept: %v", err)
		}
		// A leader that is cut off cannot prove that it leads.
		w.isolate(leader.cfg.ID, true)
		if _, err := ask(leader.Node, `{"member":"m1"}`); err == nil {
			t.Error("an isolated leader made an offer")
		}
	})
}

func FuzzDecodeOfferReply(f *testing.F) {
	f.Add([]byte(`{"index":7,"term":2,"current_term":3,"configuration_index":1,"servers":[{"id":"n1","address":"a:1","voter":true}],"manifest":"AA=="}`))
	f.Add([]byte(`{"index":7,"term":4,"current_term":3}`))
	f.Add([]byte(`[]`))
	f.Add([]byte("\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, c, err := decodeOfferReply(data)
		if err != nil {
			if !errors.Is(err, errCall) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if r.Index == 0 || r.Term == 0 || r.CurrentTerm < r.Term || len(c.Servers) != len(r.Servers) {
			t.Fatalf("accepted %+v", r)
		}
	})
}
