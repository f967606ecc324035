package anubis

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// log is a one-member log: it proposes straight to the machine.
type log struct {
	mu    sync.Mutex
	store *store.Store
	stamp int64
}

func (l *log) Propose(_ context.Context, command []byte) (any, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	outcomes, err := l.store.Apply(l.store.Applied()+1, l.stamp, [][]byte{command})
	if err != nil {
		return nil, err
	}
	return outcomes[0], nil
}

// On the real state machine: identities are known from their commit, a
// signature commits once, a revocation holds from its commit, a snapshot
// brings back who was enrolled, and a session's record expires by itself.
func TestOnTheRealStore(t *testing.T) {
	directory := NewDirectory()
	state, err := store.Open(t.TempDir(), map[string][]store.Observer{SpaceIdentity: {directory.ObserveChanges}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = state.Close() })
	if err := directory.Load(state); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	machine := &log{store: state, stamp: now.UnixMicro()}
	writer := store.NewWriter(machine, state)
	gate := New(Config{
		Directory: directory, View: state, Writer: writer, Limits: DefaultLimits(),
		Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler),
	})
	commit := func(ops ...store.Op) error {
		_, err := writer.Commit(t.Context(), store.Batch{
			RequestID: uuid.New(), Tenant: "main", Ops: ops,
			Evidence: []store.Evidence{{Actor: "ana", Action: "test", Outcome: "ok"}},
		})
		return err
	}
	key := keyOf("ana")
	b, err := Enrolment{Tenant: "main", Name: "ana", Key: public(key), Roles: []tap.Role{tap.Citizen}, By: system, At: now, RequestID: uuid.New()}.Batch()
	if err == nil {
		_, err = writer.Commit(t.Context(), b)
	}
	if err != nil {
		t.Fatal(err)
	}
	signed := func() *tap.Request {
		r := &tap.Request{ID: uuid.New(), Method: "POST", Path: "/v1/kernel/intent", Remote: home}
		if err := tap.SignRequest(r, key, "main/ana", now, tap.NewNonce()); err != nil {
			t.Fatal(err)
		}
		return r
	}
	admit := func(r *tap.Request, code string) []store.Op {
		t.Helper()
		a, err := gate.Admit(t.Context(), r, row(tap.Citizen))
		want(t, err, code)
		if err != nil {
			return nil
		}
		return a.Ops
	}
	r := signed()
	if err := commit(admit(r, codeOK)...); err != nil {
		t.Fatal(err)
	}
	gate.nonces = newNonces(1 << 16) // as on another node
	admit(r, codeReplayed)

	if _, err := gate.Established(t.Context(), "main/ana", home, "wss"); err != nil {
		t.Fatal(err)
	}
	if err := gate.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	snapshot := t.TempDir()
	frozen, err := state.Snapshot()
	if err == nil {
		_, err = frozen.WriteTo(snapshot)
		frozen.Release()
	}
	if err != nil {
		t.Fatal(err)
	}

	// The session's record goes by itself.
	sessions := func() (n int) {
		_ = state.Scan(store.K("main", SpaceSession).Prefix(), "", func(store.Item) bool { n++; return true })
		return n
	}
	if sessions() != 1 {
		t.Fatal("the session is not recorded")
	}
	machine.stamp = now.Add(SessionTTL).UnixMicro()
	late := admit(signed(), codeOK)
	if err := commit(); err != nil || sessions() != 0 {
		t.Fatal("the session's record outlived its time", err)
	}

	record := directory.lookup("main/ana").identity
	record.State = StateRevoked
	if err := commit(store.Put(identityKey("main", "ana"), record.encode())); err != nil {
		t.Fatal(err)
	}
	admit(signed(), codeRevoked)
	if err := commit(late...); !tap.IsKind(err, tap.Conflict) {
		t.Fatalf("a revoked identity's batch: %v", err)
	}

	if err := state.Restore(snapshot); err != nil {
		t.Fatal(err)
	}
	admit(signed(), codeOK)
}

// On the real state machine: a block holds on a node that only follows, survives
// a restart, and its record goes by itself.
func TestBlocksOnTheRealStore(t *testing.T) {
	here, there := NewWatchlist("main"), NewWatchlist("main")
	observers := map[string][]store.Observer{}
	for _, space := range []string{SpaceAlert, SpaceBlocked, SpaceSecurity} {
		observers[space] = []store.Observer{here.ObserveChanges, there.ObserveChanges}
	}
	dir := t.TempDir()
	state, err := store.Open(dir, observers)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	machine := &log{store: state, stamp: now.UnixMicro()}
	gate := New(Config{
		Directory: NewDirectory(), View: state, Writer: store.NewWriter(machine, state), Limits: DefaultLimits(),
		Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler), Watchlist: here,
	})
	for range DefaultPolicy().Hammering.Count {
		gate.Failed(t.Context(), "main/x", attacker, "wss", tap.CodeBadSignature)
	}
	if err := gate.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, blocked := there.blocked(attacker, now); !blocked || there.Alerts().Open != 1 {
		t.Fatal("the other node does not know")
	}
	if err := state.Close(); err != nil {
		t.Fatal(err)
	}
	late := NewWatchlist("main")
	observers[SpaceBlocked] = []store.Observer{late.ObserveChanges}
	observers[SpaceAlert] = observers[SpaceBlocked]
	if state, err = store.Open(dir, observers); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = state.Close() })
	if err := late.Load(state); err != nil {
		t.Fatal(err)
	}
	until, blocked := late.blocked(attacker, now)
	if !blocked || until.Sub(now) != 15*time.Minute || late.Alerts().Open != 1 {
		t.Fatal("forgotten by a restart", until)
	}
	machine.store, machine.stamp = state, until.Add(repeatMemory).UnixMicro()
	_, err = store.NewWriter(machine, state).Commit(t.Context(), store.Batch{
		RequestID: uuid.New(), Tenant: "main", Evidence: []store.Evidence{{Actor: "ana", Action: "test", Outcome: "ok"}},
	})
	if err != nil || len(late.blocks) != 0 || late.Alerts().Open != 0 {
		t.Fatal("the records outlived their time", err)
	}
}
