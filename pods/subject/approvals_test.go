package subject

import (
	"net/http"
	"slices"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
)

// However people ask, approve, withdraw, leave and change the rule, nothing is erased without as
// many standing identities as the rule in force asked for, each counted once.
func TestApprovalsModel(t *testing.T) {
	people := []*tap.Principal{boss, carla, dora, emma}
	rapid.Check(t, func(rt *rapid.T) {
		o := newOffice(t)
		rule := 1
		signed := map[uuid.UUID]map[string]bool{}
		asked := map[uuid.UUID]string{}
		kinds := map[uuid.UUID]int{} // -1 = an erasure, else the number of a policy
		var open []uuid.UUID
		standing := func(id uuid.UUID) (n int) {
			for name := range signed[id] {
				if !o.gone[name] {
					n++
				}
			}
			return n
		}
		settle := func(reply outcome, err error, counted bool) {
			if err != nil {
				if kind := tap.KindOf(err); kind != tap.Conflict {
					rt.Fatal(err)
				}
				return
			}
			if want := counted && standing(reply.ID) >= max(rule, 1); (reply.State == stateDone) != want {
				rt.Fatalf("%s with %d of %d", reply.State, standing(reply.ID), rule)
			}
			if reply.State == stateDone {
				if kinds[reply.ID] >= 0 {
					rule = kinds[reply.ID]
				}
				open = slices.DeleteFunc(open, func(id uuid.UUID) bool { return id == reply.ID })
			}
		}
		began := func(reply outcome, who *tap.Principal, kind int) {
			signed[reply.ID], kinds[reply.ID], asked[reply.ID] = map[string]bool{who.Identity: true}, kind, who.Identity
			open = append(open, reply.ID)
		}
		for range rapid.IntRange(1, 15).Draw(rt, "steps") {
			who := rapid.SampledFrom(people).Draw(rt, "who")
			if o.gone[who.Identity] {
				continue
			}
			switch rapid.SampledFrom([]string{"erase", "approve", "approve", "policy", "revoke", "withdraw"}).Draw(rt, "step") {
			case "erase":
				reply, _, err := o.erase(who, "ana")
				if err == nil {
					began(reply, who, -1)
				}
				settle(reply, err, true)
			case "approve":
				if len(open) == 0 {
					continue
				}
				id := rapid.SampledFrom(open).Draw(rt, "request")
				before := signed[id][who.Identity]
				signed[id][who.Identity] = true
				reply, _, err := o.approve(who, id)
				settle(reply, err, !before)
			case "policy":
				if !who.Has(tap.Operator) {
					continue
				}
				n := rapid.IntRange(0, MaxApprovals).Draw(rt, "number")
				reply, status, err := o.policy(who, n)
				if err == nil && n >= rule {
					if status != http.StatusOK {
						rt.Fatalf("raising from %d to %d waits", rule, n)
					}
					rule = n
					continue
				}
				if err == nil {
					began(reply, who, n)
				}
				settle(reply, err, true)
			case "withdraw":
				if len(open) == 0 {
					continue
				}
				id := rapid.SampledFrom(open).Draw(rt, "request")
				reply, _, err := o.withdraw(who, id)
				allowed := who.Has(tap.Operator) || asked[id] == who.Identity
				if (err == nil) != allowed || allowed && reply.State != stateWithdrawn {
					rt.Fatalf("%s withdraws what %s asked for: %s, %v", who.Identity, asked[id], reply.State, err)
				}
				if allowed {
					open = slices.DeleteFunc(open, func(other uuid.UUID) bool { return other == id })
				}
			case "revoke":
				if len(o.gone) < 2 {
					o.gone[who.Identity] = true
				}
			}
		}
		shown, _, err := do[policyShown](o, audit, "GET", "/v1/subjects/policy", nil)
		if err != nil || shown.Approvals != rule {
			rt.Fatalf("the rule is %d, want %d: %v", shown.Approvals, rule, err)
		}
	})
}
