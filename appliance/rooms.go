package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"tamv.internal/tamv/pods/spatial"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/hub"
)

// rooms joins the hub, which orders and fans out, with the spatial pod, which
// knows what a room may hold, and the store, which keeps it.
type rooms struct {
	view   store.View
	writer *store.Writer
	now    func() time.Time
}

// Snapshot is the room's durable state, for a participant who joins.
func (r *rooms) Snapshot(_ context.Context, p *tap.Principal, room string) (hub.RoomState, error) {
	if !spatial.MayRead(p) {
		return hub.RoomState{}, tap.E("rooms.snapshot", tap.Forbidden, "this identity may not enter rooms").WithCode("role")
	}
	state, err := spatial.RoomState(r.view, p.Tenant, room)
	if err != nil {
		return hub.RoomState{}, err
	}
	body, err := json.Marshal(state)
	if err != nil {
		return hub.RoomState{}, tap.Wrap("rooms.snapshot", tap.Internal, err, "the room's state cannot be rendered")
	}
	return hub.RoomState{Sequence: state.Sequence, State: body}, nil
}

// Act commits the actions that wait for one room in one batch. What participants
// get of them is what Apply appended to the history; see relay.
func (r *rooms) Act(ctx context.Context, tenant, room string, actions []hub.Action) ([]hub.Outcome, error) {
	outcomes := make([]hub.Outcome, len(actions))
	var acts []spatial.Act
	var taken []*hub.Outcome // of each act
	for i, a := range actions {
		act, err := spatial.ParseAct(a.Principal.Actor(), a.ID, a.Data)
		if !spatial.MayAct(a.Principal) {
			err = tap.E("rooms.act", tap.Forbidden, "this identity may not act in rooms").WithCode("role")
		}
		if err != nil {
			outcomes[i].Err = err
			continue
		}
		acts, taken = append(acts, act), append(taken, &outcomes[i])
	}
	if len(acts) == 0 {
		return outcomes, nil
	}
	now := r.now()
	var errs []error
	receipt, err := r.writer.Update(ctx, func(view store.View) (batch store.Batch, err error) {
		batch, errs = spatial.ActBatch(view, tenant, room, acts, now)
		if len(batch.Evidence) == 0 {
			return batch, errNothingHeld
		}
		return batch, nil
	})
	if err != nil && !errors.Is(err, errNothingHeld) {
		return outcomes, err
	}
	return outcomes, fillIn(taken, errs, receipt)
}

// fillIn tells each act what became of it: the reason why it was refused, or the
// next of the receipt's sequence numbers.
func fillIn(outcomes []*hub.Outcome, errs []error, receipt store.Receipt) error {
	numbers := receipt.Appended
	for i, out := range outcomes {
		if out.Err = errs[i]; out.Err != nil {
			continue
		}
		if len(numbers) == 0 {
			return tap.E("rooms.act", tap.Internal, "the receipt has fewer sequence numbers than actions")
		}
		out.Sequence, numbers = numbers[0], numbers[1:]
		var err error
		if out.Reply, err = json.Marshal(map[string]any{"sequence": out.Sequence, "receipt": receipt}); err != nil {
			return tap.Wrap("rooms.act", tap.Internal, err, "the action cannot be rendered")
		}
	}
	return nil
}

// relay hands what Apply appended to rooms' histories to the hub, in commit
// order and whatever way it came: TAP, HTTP, or an intent.
func relay(h *hub.Hub, changes []store.Change) {
	for _, c := range changes {
		var by struct {
			Actor string `json:"actor"`
		}
		if c.Number == 0 || json.Unmarshal(c.Value, &by) != nil {
			continue
		}
		h.Committed(c.Key.Tenant(), c.Key.Last(), by.Actor, c.RequestID, hub.Outcome{Sequence: c.Number, Data: c.Value})
	}
}

// errNothingHeld ends an Update whose every act was refused: there is nothing
// to commit.
var errNothingHeld = tap.E("rooms.act", tap.Invalid, "no action was acceptable")

// checkpoints makes clients' session checkpoints evidence.
type checkpoints struct{ writer store.Committer }

// Checkpoint writes what the client signed, so that anyone can verify later
// that it sent what the session received.
func (c checkpoints) Checkpoint(ctx context.Context, p *tap.Principal, cp hub.SessionCheckpoint) error {
	payload, err := json.Marshal(map[string]any{
		"session": cp.Session, "keyId": cp.KeyID, "count": cp.Count, "head": cp.Head, "signature": cp.Signature,
		"address": cp.Remote.String(), "transport": cp.Transport,
	})
	if err != nil {
		return tap.Wrap("session.checkpoint", tap.Internal, err, "the checkpoint cannot be rendered")
	}
	_, err = c.writer.Commit(ctx, store.Batch{
		RequestID: newRequestID(), Tenant: p.Tenant,
		Evidence: []store.Evidence{{Actor: p.Actor(), Action: "session.checkpoint", Outcome: "ok", Payload: payload}},
	})
	return err
}
