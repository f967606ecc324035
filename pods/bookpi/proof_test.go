package bookpi

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

func TestProofVerifies(t *testing.T) {
	h := newHost(t)
	var hashes []bookpi.Hash
	for range 9 {
		hashes = append(hashes, appendEvidence(t, h, till, "a", `1`).EvidenceHash)
	}
	for i, hash := range hashes {
		var p proofReply
		if _, err := get(t, h, till, "/v1/evidence/"+hash.String()+"/proof", &p); err != nil {
			t.Fatal(err)
		}
		cp, err := bookpi.OpenCheckpoint([]byte(p.Checkpoint), verifierKey)
		if err != nil || cp.Root != p.Root || cp.Size != p.Size || p.Position != uint64(i) {
			t.Fatalf("%+v, %v", p, err)
		}
		if err := bookpi.VerifyInclusion(hash, p.Position, p.Size, p.Proof, p.Root); err != nil {
			t.Error(err)
		}
	}
}

func TestConsistencyVerifies(t *testing.T) {
	h := newHost(t)
	for range 9 {
		appendEvidence(t, h, till, "a", `1`)
	}
	for old := range 10 {
		var r consistencyReply
		if _, err := get(t, h, nil, fmt.Sprintf("/v1/evidence/consistency?old=%d", old), &r); err != nil {
			t.Fatal(err)
		}
		if err := bookpi.VerifyConsistency(r.OldSize, r.NewSize, r.OldRoot, r.NewRoot, r.Proof); err != nil || r.NewSize != 9 {
			t.Errorf("from %d: %v", old, err)
		}
	}
	for _, query := range []string{"", "?old=x", "?old=10", "?old=3&new=2", "?old=3&new=10", "?old=1&new=x"} {
		_, err := get(t, h, nil, "/v1/evidence/consistency"+query, nil)
		podtest.WantKind(t, err, tap.Invalid, "query")
	}
	for _, query := range []string{"", "?from=1&to=1", "?from=5&to=2", "?from=0&to=10", "?from=x&to=2"} {
		_, err := get(t, h, auditor, "/v1/evidence/bundle"+query, nil)
		podtest.WantKind(t, err, tap.Invalid, "query")
	}
	p := newPod(t, longLedger{h.State, 1_000_000})
	_, err := p.rangeBundle(t.Context(), &pods.Call{Query: map[string]string{"from": "0", "to": "10001"}})
	podtest.WantKind(t, err, tap.Invalid, "query")
}

func TestCheckpoints(t *testing.T) {
	h := newHost(t)
	empty, err := get(t, h, nil, "/v1/evidence/checkpoint", nil)
	if err != nil {
		t.Fatal(err)
	}
	if cp, err := bookpi.OpenCheckpoint(empty.Body, verifierKey); err != nil || cp.Size != 0 {
		t.Errorf("of an empty ledger: %+v, %v", cp, err)
	}
	again, _ := get(t, h, nil, "/v1/evidence/checkpoint", nil)
	if string(again.Body) != string(empty.Body) {
		t.Error("an unchanged ledger has two checkpoints")
	}
	appendEvidence(t, h, till, "a", `1`)
	grown, err := get(t, h, nil, "/v1/evidence/checkpoint", nil)
	if err != nil {
		t.Fatal(err)
	}
	if cp, err := bookpi.OpenCheckpoint(grown.Body, verifierKey); err != nil || cp.Size != 1 {
		t.Errorf("%+v, %v", cp, err)
	}
	var key keyReply
	if _, err := get(t, h, nil, "/v1/evidence/key", &key); err != nil || key.VerifierKey != verifierKey || len(key.VerifierKeys) != 2 {
		t.Errorf("%v, %v", key, err)
	}
}

func grow(t *testing.T, n int, data string) *podtest.State {
	t.Helper()
	h := newHost(t)
	for range n {
		appendEvidence(t, h, till, "a", data)
	}
	return h.State
}

var errFaulty = errors.New("the disk is gone")

// faulty is a ledger whose tree, index and entries cannot be read.
type faulty struct{ *podtest.State }

func (faulty) Tile(uint8, uint64) ([]bookpi.Hash, error)           { return nil, errFaulty }
func (faulty) Find(bookpi.Hash) (uint64, bool, error)              { return 0, false, errFaulty }
func (faulty) Record(uint64) (store.Record, error)                 { return store.Record{}, errFaulty }
func (faulty) Records(uint64, bool, func(store.Record) bool) error { return errFaulty }

// damagedLedger has entries that do not parse.
type damagedLedger struct{ *podtest.State }

func (d damagedLedger) Record(position uint64) (store.Record, error) {
	r, err := d.State.Record(position)
	r.Entry = []byte("BPE?")
	return r, err
}

func (d damagedLedger) Records(first uint64, _ bool, fn func(store.Record) bool) error {
	r, err := d.Record(first)
	fn(r)
	return err
}

// foundLedger finds an entry that it cannot read.
type foundLedger struct{ faulty }

func (foundLedger) Find(bookpi.Hash) (uint64, bool, error) { return 0, true, nil }

// treeless reads entries but not the tree.
type treeless struct{ *podtest.State }

func (treeless) Tile(uint8, uint64) ([]bookpi.Hash, error) { return nil, errFaulty }

func TestDamagedLedgerIsReported(t *testing.T) {
	state := grow(t, 3, `1`)
	first, err := state.Record(0)
	if err != nil {
		t.Fatal(err)
	}
	hash := bookpi.LeafHash(first.Entry).String()
	call := func(query map[string]string) *pods.Call {
		return &pods.Call{RequestID: uuid.New(), Principal: auditor, Tenant: "main", Query: query, Params: map[string]string{"hash": hash}, View: state}
	}
	for name, l := range map[string]site{
		"damaged": damagedLedger{state}, "faulty": faulty{state}, "found": foundLedger{faulty{state}}, "treeless": treeless{state},
	} {
		p := newPod(t, l)
		for route, run := range map[string]func() error{
			"list":   func() error { _, err := p.list(t.Context(), call(nil)); return err },
			"get":    func() error { _, err := p.get(t.Context(), call(nil)); return err },
			"proof":  func() error { _, err := p.proof(t.Context(), call(nil)); return err },
			"bundle": func() error { _, err := p.bundle(t.Context(), call(nil)); return err },
			"range": func() error {
				_, err := p.rangeBundle(t.Context(), call(map[string]string{"from": "0", "to": "2"}))
				return err
			},
			"consistency": func() error { _, err := p.consistency(t.Context(), call(map[string]string{"old": "2"})); return err },
		} {
			needsTree := route == "proof" || route == "bundle" || route == "range" || route == "consistency"
			unaffected := name == "treeless" && !needsTree || name == "damaged" && route == "consistency"
			if err := run(); !unaffected && err == nil {
				t.Errorf("%s ledger: %s succeeds", name, route)
			}
		}
	}
}

func TestNoProofWithoutKeys(t *testing.T) {
	state := grow(t, 3, `1`)
	first, err := state.Record(0)
	if err != nil {
		t.Fatal(err)
	}
	c := &pods.Call{Principal: auditor, Tenant: "main", Params: map[string]string{"hash": bookpi.LeafHash(first.Entry).String()}, View: state}
	keyless := New(Config{Tenant: "main", Ledger: state, Notary: newNotary(state, &keyring{})})
	for _, run := range []pods.Func{keyless.proof, keyless.bundle, keyless.checkpoint} {
		ctx, cancel := context.WithTimeout(t.Context(), proposals+2*again)
		_, err := run(ctx, c)
		cancel()
		podtest.WantKind(t, err, tap.Unavailable, codeKeys)
	}
}

// hugeLedger has payloads that do not fit one bundle.
type hugeLedger struct{ *podtest.State }

func (h hugeLedger) Records(first uint64, descending bool, fn func(store.Record) bool) error {
	payload := make([]byte, 20<<20)
	return h.State.Records(first, descending, func(r store.Record) bool {
		r.Payload = payload
		return fn(r)
	})
}

func TestBundleIsBounded(t *testing.T) {
	state := grow(t, 5, `1`)
	_, err := newPod(t, hugeLedger{state}).rangeBundle(t.Context(), &pods.Call{Principal: auditor, Tenant: "main", View: state, Query: map[string]string{"from": "1", "to": "5"}})
	podtest.WantKind(t, err, tap.Invalid, "too_large")
	if fits := tap.AsError(err).Details["fits"]; fits != uint64(2) {
		t.Errorf("fits %v, want 2", fits)
	}
}

func BenchmarkAppend(b *testing.B) {
	p := newPod(b, podtest.NewState())
	c := &pods.Call{Principal: till, Tenant: "main", Body: []byte(body("sale.done", `{"total":"12.50","items":3,"till":"7"}`))}
	b.ReportAllocs()
	for b.Loop() {
		if err := appendSchema.Validate(c.Body); err != nil {
			b.Fatal(err)
		}
		if _, err := p.append(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRangeBundle(b *testing.B) {
	state := podtest.NewState()
	for i := range 10 {
		batch := store.Batch{RequestID: uuid.UUID{byte(i)}, Tenant: "main"}
		for range store.MaxEvidence {
			batch.Evidence = append(batch.Evidence, store.Evidence{Actor: "ana", Action: "a", Outcome: "ok", Payload: []byte(`{"n":1}`)})
		}
		if _, err := state.Commit(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	p := newPod(b, state)
	c := &pods.Call{Principal: auditor, Tenant: "main", View: state, Query: map[string]string{"from": "0", "to": "10000"}}
	for b.Loop() {
		if _, err := p.rangeBundle(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
}

// rotten has a tree in a damaged file.
type rotten struct{ *podtest.State }

func (rotten) Tile(uint8, uint64) ([]bookpi.Hash, error) {
	return nil, tap.E("test", tap.Unavailable, "a damaged file").WithCode("damaged").WithRetryAfter(time.Minute)
}

// What a damaged file keeps from being proved is there again later. That makes
// nobody refuse evidence, whoever asks for it.
func TestADamagedFileIsNoIllness(t *testing.T) {
	state := grow(t, 3, `1`)
	h := podtest.NewHost(t, state, newPod(t, rotten{state}))
	for range 5 {
		for _, who := range []*tap.Principal{nil, auditor} {
			_, err := get(t, h, who, "/v1/evidence/consistency?old=2", nil)
			podtest.WantKind(t, err, tap.Unavailable, "damaged")
		}
	}
	appendEvidence(t, h, till, "a", `1`)
}

// Who kept an entry that has left the site gets its proof, which does not carry it then.
func TestArchivedEntriesAreProved(t *testing.T) {
	state := grow(t, 3, `1`)
	r, err := state.Record(0)
	if err != nil {
		t.Fatal(err)
	}
	pod := newPod(t, gone{state})
	if _, _, err := pod.notary.Covering(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	h := podtest.NewHost(t, state, pod)
	target := "/v1/evidence/" + bookpi.LeafHash(r.Entry).String()
	response, err := get(t, h, auditor, target+"/proof?format=tlog", nil)
	if err != nil {
		t.Fatal(err)
	}
	policy := bookpi.Policy{Quorum: bookpi.QuorumNone}
	for _, k := range firstKeys.VerifierKeys() {
		policy.Logs = append(policy.Logs, bookpi.PolicyLog{Key: k})
	}
	if proven, err := bookpi.VerifyTLogProof(response.Body, r.Entry, policy); err != nil || proven.Position != 0 {
		t.Errorf("%+v, %v", proven, err)
	}
	if _, err := bookpi.VerifyTLogProof(response.Body, nil, policy); !errors.Is(err, bookpi.ErrTLogProof) {
		t.Errorf("it carries an entry: %v", err)
	}
	_, err = get(t, h, auditor, target, nil)
	podtest.WantKind(t, err, tap.NotFound, "archived")
}
