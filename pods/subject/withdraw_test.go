package subject

import (
	"net/http"
	"slices"
	"testing"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/tap"
)

func (o *office) withdraw(as *tap.Principal, id uuid.UUID) (outcome, int, error) {
	o.t.Helper()
	return do[outcome](o, as, "DELETE", "/v1/subjects/erasures/"+id.String(), nil)
}

// needs sets how many identities an erasure needs, which may only rise.
func (o *office) needs(approvals int) {
	o.t.Helper()
	if reply, _, err := o.policy(boss, approvals); err != nil || reply.State != stateDone {
		o.t.Fatalf("%+v, %v", reply, err)
	}
}

func TestWithdraw(t *testing.T) {
	o := newOffice(t)
	o.needs(3)
	asked, _, err := o.erase(ana, "ana")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := o.approve(carla, asked.ID); err != nil {
		t.Fatal(err)
	}
	for _, who := range []*tap.Principal{eva, carla} {
		_, _, err := o.withdraw(who, asked.ID)
		podtest.WantKind(t, err, tap.Forbidden, "not_own")
	}
	reply, status, err := o.withdraw(ana, asked.ID)
	if err != nil || status != http.StatusOK || reply.State != stateWithdrawn || reply.Withdrawn != "ana" || reply.Remains != "" || reply.Receipt == nil {
		t.Fatalf("%d %+v, %v", status, reply, err)
	}
	// It waits no more, whoever approves, and nothing was erased.
	_, _, err = o.approve(dora, asked.ID)
	podtest.WantKind(t, err, tap.Conflict, "withdrawn")
	if page, _, err := do[listed](o, audit, "GET", "/v1/subjects/erasures", nil); err != nil || len(page.Pending) != 0 || len(page.Erased) != 0 {
		t.Errorf("%+v, %v", page, err)
	}
	if s, _, err := do[shown](o, ana, "GET", "/v1/subjects/ana/erasure", nil); err != nil || s.Pending != "" || s.Generation != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	entries := len(o.said())
	if again, _, err := o.withdraw(boss, asked.ID); err != nil || again.State != stateWithdrawn || again.Withdrawn != "ana" || again.Receipt != nil {
		t.Errorf("again: %+v, %v", again, err)
	}
	if said := o.said(); len(said) != entries || !slices.Contains(said, "ana subject.withdraw ok") {
		t.Errorf("%v", said)
	}
	// The same can be asked for anew.
	if reply, _, err := o.erase(ana, "ana"); err != nil || reply.State != statePending || len(reply.ApprovedBy) != 0 {
		t.Errorf("%+v, %v", reply, err)
	}
}

func TestAnOperatorWithdrawsWhatOthersAskedFor(t *testing.T) {
	o := newOffice(t)
	o.needs(2)
	asked, _, err := o.erase(ana, "ana")
	if err != nil {
		t.Fatal(err)
	}
	if reply, _, err := o.withdraw(boss, asked.ID); err != nil || reply.Withdrawn != "boss" {
		t.Errorf("%+v, %v", reply, err)
	}
	lowered, _, err := o.policy(emma, 0)
	if err != nil || lowered.State != statePending {
		t.Fatalf("%+v, %v", lowered, err)
	}
	if reply, _, err := o.withdraw(boss, lowered.ID); err != nil || reply.Kind != kindPolicy || reply.State != stateWithdrawn {
		t.Errorf("%+v, %v", reply, err)
	}
	_, _, err = o.approve(carla, lowered.ID)
	podtest.WantKind(t, err, tap.Conflict, "withdrawn")
}

func TestWithdrawComesTooLate(t *testing.T) {
	o := newOffice(t)
	done, _, err := o.erase(boss, "ana")
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = o.withdraw(boss, done.ID)
	podtest.WantKind(t, err, tap.Conflict, "done")
	_, _, err = o.withdraw(boss, uuid.UUID{1})
	podtest.WantKind(t, err, tap.NotFound, "not_found")
	_, _, err = do[outcome](o, boss, "DELETE", "/v1/subjects/erasures/x", nil)
	podtest.WantKind(t, err, tap.NotFound, "not_found")
}
