package anubis

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// What Standing says of an identity holds as long as its check does.
func TestStanding(t *testing.T) {
	state := podtest.NewState()
	commit := func(ops ...store.Op) error {
		_, err := state.Commit(t.Context(), store.Batch{
			RequestID: uuid.New(), Tenant: "main", Ops: ops, Evidence: []store.Evidence{{Actor: system, Action: "test", Outcome: "ok"}},
		})
		return err
	}
	if _, _, ok, err := Standing(state, "main", "ana"); ok || err != nil {
		t.Errorf("nobody stands: %v, %v", ok, err)
	}
	record := Identity{Name: "ana", PublicKey: make([]byte, 32), Roles: []tap.Role{tap.Guardian}, State: StateActive, EnrolledAt: time.Now().UnixMicro()}
	if err := commit(store.Put(identityKey("main", "ana"), record.encode())); err != nil {
		t.Fatal(err)
	}
	key, unchanged, ok, err := Standing(state, "main", "ana")
	if !ok || err != nil || key != string(record.PublicKey) {
		t.Fatalf("%q, %v, %v", key, ok, err)
	}
	if err := commit(unchanged); err != nil {
		t.Errorf("nothing changed: %v", err)
	}
	record.State = StateRevoked
	if err := commit(store.Put(identityKey("main", "ana"), record.encode())); err != nil {
		t.Fatal(err)
	}
	if err := commit(unchanged); !tap.IsKind(err, tap.Conflict) {
		t.Errorf("the identity was revoked meanwhile: %v", err)
	}
	if _, _, ok, err := Standing(state, "main", "ana"); ok || err != nil {
		t.Errorf("a revoked one stands: %v, %v", ok, err)
	}
	if err := commit(store.Put(identityKey("main", "ana"), []byte("{"))); err != nil {
		t.Fatal(err)
	}
	if _, _, ok, err := Standing(state, "main", "ana"); ok || err == nil {
		t.Errorf("a damaged record: %v, %v", ok, err)
	}
}
