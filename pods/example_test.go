package pods_test

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// lamps is a pod that switches lamps.
type lamps struct{}

var _ pods.Pod = lamps{}

var switchSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["on"],
	"properties": {"on": {"type": "boolean"}}
}`)

func (lamps) Manifest() pods.Manifest {
	return pods.Manifest{
		Name:    "lamps",
		Summary: tap.Text{EN: "Lamps.", ES: "Lámparas."},
		Routes: []pods.Route{{
			Method: "PUT", Pattern: "/v1/lamps/{id}", Roles: []tap.Role{tap.Citizen},
			Summary: "Switch a lamp", Body: switchSchema, Run: turn,
		}},
	}
}

func turn(_ context.Context, c *pods.Call) (*pods.Result, error) {
	key := c.Key("lamp", c.Params["id"])
	lamp, _, err := c.View.Get(key)
	if err != nil {
		return nil, err
	}
	return &pods.Result{
		Body: map[string]string{"was": string(lamp.Value)},
		// Nobody else may have switched it since it was read.
		Ops:      []store.Op{store.Check(key, lamp.Version), store.Put(key, c.Body)},
		Evidence: []store.Evidence{{Actor: c.Actor(), Action: "lamp.switch", Outcome: "ok", Payload: c.Body}},
	}, nil
}

// A pod is tested as what it is, a function. The server does what is done here by
// hand: it commits the result.
func Example() {
	ctx, state := context.Background(), podtest.NewState()
	call := &pods.Call{
		RequestID: uuid.New(), Principal: podtest.Who("ana", tap.Citizen), Tenant: tap.DefaultTenant,
		Params: map[string]string{"id": "hall"}, Body: []byte(`{"on":true}`), View: state,
	}
	result, err := turn(ctx, call)
	if err != nil {
		fmt.Println(err)
		return
	}
	batch := store.Batch{RequestID: call.RequestID, Tenant: call.Tenant, Ops: result.Ops, Evidence: result.Evidence}
	receipt, err := state.Commit(ctx, batch)
	fmt.Println(receipt.Entries, err)

	lamp, _, err := state.Get(call.Key("lamp", "hall"))
	fmt.Println(string(lamp.Value), err)

	// The same decision about a lamp that was switched meanwhile is a conflict.
	batch.RequestID = uuid.New()
	_, err = state.Commit(ctx, batch)
	fmt.Println(tap.KindOf(err))
	// Output:
	// 1 <nil>
	// {"on":true} <nil>
	// conflict
}
