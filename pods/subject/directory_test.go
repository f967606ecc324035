package subject

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// keys remembers what a directory said.
type keys map[string]uint64

func (k keys) Advance(tenant, subject string, generation uint64) { k[tenant+"/"+subject] = generation }
func (k keys) Reset()                                            { clear(k) }

func TestTheDirectoryTellsTheKeys(t *testing.T) {
	o := newOffice(t)
	known := keys{}
	d := NewDirectory(known)
	if _, _, err := o.erase(boss, "ana"); err != nil {
		t.Fatal(err)
	}
	elsewhere := *boss
	elsewhere.Tenant = "other"
	if _, _, err := o.erase(&elsewhere, "leo"); err != nil {
		t.Fatal(err)
	}
	if err := d.Load(o.state); err != nil || len(known) != 2 || known["main/ana"] != 1 || known["other/leo"] != 1 {
		t.Fatal(known, err)
	}
	o.state.Observe(store.SpaceErasure, d.ObserveChanges)
	if _, _, err := o.erase(boss, "eva"); err != nil || known["main/eva"] != 1 {
		t.Fatal(known, err)
	}
	d.ObserveChanges([]store.Change{{Key: store.ErasureKey("main", "bad"), Value: []byte("{")}, {Key: store.K("main", "other", "x"), Value: []byte(`{"generation":4}`)}}, false)
	if len(known) != 3 {
		t.Errorf("%v", known)
	}
	known["main/stale"] = 9
	d.ObserveChanges(nil, true)
	if len(known) != 3 || known["main/eva"] != 1 {
		t.Errorf("after a reset: %v", known)
	}
	NewDirectory(known).ObserveChanges(nil, true) // before Load there is nothing to read
	if len(known) != 3 {
		t.Errorf("%v", known)
	}
}

// What is stored can be read by the next release: the names of the fields are fixed.
func TestRecordForms(t *testing.T) {
	raw, err := json.Marshal(Erasure{Generation: 2, At: 3, Requested: "boss", Approvers: []string{"boss"}})
	if want := `{"generation":2,"at":3,"requested":"boss","approvers":["boss"],"id":"00000000-0000-0000-0000-000000000000"}`; string(raw) != want || err != nil {
		t.Errorf("%s %v", raw, err)
	}
	if g, err := store.ParseGeneration(raw); g != 2 || err != nil {
		t.Error(g, err)
	}
	if life := RequestLife; life != 24*time.Hour {
		t.Error(life)
	}
	if _, err := pods.NewTable(New(Config{})); err != nil {
		t.Error(err)
	}
}

// Two identities with one key are one person.
func TestOneKeyIsOneApproval(t *testing.T) {
	o := newOffice(t)
	if _, _, err := o.policy(boss, 2); err != nil {
		t.Fatal(err)
	}
	o.keys["carla"], o.keys["emma"] = "the same", "the same"
	asked, _, err := o.erase(carla, "ana")
	if err != nil || asked.State != statePending {
		t.Fatal(asked, err)
	}
	if again, _, err := o.approve(emma, asked.ID); err != nil || again.State != statePending || o.generation("ana") != 0 {
		t.Fatalf("one key approved twice: %+v %v", again, err)
	}
	if done, _, err := o.approve(dora, asked.ID); err != nil || done.State != stateDone || !slices.Equal(done.ApprovedBy, []string{"carla", "dora"}) {
		t.Errorf("%+v %v", done, err)
	}
}

// An approver who is revoked between the decision and its commit does not count, even
// though the deciding node did not know yet.
func TestAnApproverIsRevokedMeanwhile(t *testing.T) {
	o := newOffice(t)
	if _, _, err := o.policy(boss, 2); err != nil {
		t.Fatal(err)
	}
	asked, _, err := o.erase(carla, "ana")
	if err != nil {
		t.Fatal(err)
	}
	once := true
	standing := o.pod.config.Standing
	o.pod.config.Standing = func(v store.View, tenant, identity string) (string, store.Op, bool, error) {
		key, unchanged, ok, err := standing(v, tenant, identity)
		if identity == "dora" && once { // everybody was looked at
			once = false
			o.gone["carla"] = true
			_, err = o.state.Commit(t.Context(), store.Batch{
				RequestID: uuid.New(), Tenant: tenant, Ops: []store.Op{store.Put(identityRecord(tenant, "carla"), []byte("revoked"))},
				Evidence: []store.Evidence{{Actor: "boss", Action: "identity.revoke", Outcome: "ok"}},
			})
		}
		return key, unchanged, ok, err
	}
	if reply, _, err := o.approve(dora, asked.ID); err == nil && reply.State == stateDone || o.generation("ana") != 0 {
		t.Errorf("erased by %+v, %v", reply, err)
	}
}

// What was done does not slow down what is asked: a listing of requests goes through
// those that wait, however often somebody erases themselves.
func TestDoneRequestsAreOutOfTheWay(t *testing.T) {
	o := newOffice(t)
	id := uuid.New()
	for range 2 {
		reply, err := o.host.Do(t.Context(), podtest.Request{
			As: ana, ID: id, Method: "POST", Target: "/v1/subjects/ana/erasure", Body: map[string]any{"reason": "asked by letter"},
		}, nil)
		if err != nil || reply.Status != http.StatusOK || o.generation("ana") != 1 {
			t.Fatal(o.generation("ana"), err)
		}
	}
	if _, _, err := o.policy(boss, 2); err != nil {
		t.Fatal(err)
	}
	asked, _, err := o.erase(carla, "eva")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := o.approve(dora, asked.ID); err != nil {
		t.Fatal(err)
	}
	if again, _, err := o.approve(emma, asked.ID); err != nil || again.State != stateDone || o.generation("eva") != 1 {
		t.Errorf("%+v %v", again, err)
	}
	err = o.state.Scan(store.K(tap.DefaultTenant, SpaceRequest).Prefix(), "", func(i store.Item) bool {
		t.Errorf("%s is still among those that wait", i.Key.Last())
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
}
