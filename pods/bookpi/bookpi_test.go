package bookpi

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"testing"
	"time"

	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

var (
	ana      = podtest.Who("ana", tap.Citizen)
	till     = podtest.Who("till-7", tap.Device)
	auditor  = podtest.Who("eve", tap.Auditor)
	operator = podtest.Who("oz", tap.Operator)
)

// origin is the name of the log of all tests, firstKeys its first keys.
const origin = "tamv.test/log"

var firstKeys = newKeys(origin)

var verifierKey = firstKeys.Verifiers()[0]

func newKeys(origin string) bookpi.LogKeys {
	k, err := bookpi.GenerateKeys(rand.Reader, origin)
	if err != nil {
		panic(err)
	}
	return k
}

// keyring is the secrets that a node holds.
type keyring struct {
	mu   sync.Mutex
	held map[uint64][]bookpi.LogKeys // guarded by mu
	fail error
}

func (k *keyring) keys(number uint64) []bookpi.LogKeys {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held[number]
}

func (k *keyring) rotate(_ context.Context, number uint64) (bookpi.LogKeys, error) {
	made := newKeys(origin)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return bookpi.LogKeys{}, k.fail
	}
	k.held[number] = append(k.held[number], made)
	return made, nil
}

func newKeyring() *keyring {
	return &keyring{held: map[uint64][]bookpi.LogKeys{0: {firstKeys}}}
}

// site is the state that a ledger of these tests is of.
type site interface {
	store.Ledger
	store.View
	store.Committer
}

func newNotary(l site, k *keyring) *Notary {
	return NewNotary(NotaryConfig{
		Tenant: "main", Ledger: l, View: l, Writer: l, Keys: k.keys, Rotate: k.rotate, Now: func() time.Time { return podtest.Epoch },
		Log: slog.New(slog.DiscardHandler),
	})
}

func newPod(_ fataler, l site) *Pod {
	return New(Config{Tenant: "main", Ledger: l, Notary: newNotary(l, newKeyring())})
}

type fataler interface{ Fatal(args ...any) }

func newHost(t testing.TB) *podtest.Host {
	state := podtest.NewState()
	return podtest.NewHost(t, state, newPod(t, state))
}

func body(action, data string) string {
	return fmt.Sprintf(`{"action":%q,"outcome":"ok","data":%s}`, action, data)
}

func appendEvidence(t testing.TB, h *podtest.Host, who *tap.Principal, action, data string) appendReply {
	t.Helper()
	var reply appendReply
	_, err := h.Do(context.Background(), podtest.Request{As: who, Method: "POST", Target: "/v1/evidence", Body: body(action, data)}, &reply)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func get(t testing.TB, h *podtest.Host, who *tap.Principal, target string, out any) (*tap.Response, error) {
	t.Helper()
	return h.Do(context.Background(), podtest.Request{As: who, Method: "GET", Target: target}, out)
}

func TestConformance(t *testing.T) {
	state := podtest.NewState()
	pod := newPod(t, state)
	archive := &files{t.TempDir(), 1}
	pod.config.Archive = archive
	begin(t, pod) // the first keys are written down
	h := podtest.NewHost(t, state, pod)
	hash := appendEvidence(t, h, till, "sale.done", `{"total":"1.00"}`).EvidenceHash.String()
	if _, _, err := pod.notary.Covering(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	podtest.Conform(t, state, pod, []podtest.Request{
		{As: till, Method: "POST", Target: "/v1/evidence", Body: body("sale.done", `{"total": "2.00"}`)},
		{As: ana, Method: "POST", Target: "/v1/evidence", Body: body("note", `null`)},
		{As: auditor, Method: "GET", Target: "/v1/evidence?action=sale.&from=2020-01-01T00:00:00Z&to=2040-01-01T00:00:00Z&limit=1"},
		{As: till, Method: "GET", Target: "/v1/evidence"},
		{As: till, Method: "GET", Target: "/v1/evidence/" + hash},
		{As: auditor, Method: "GET", Target: "/v1/evidence/" + hash + "/proof"},
		{As: till, Method: "GET", Target: "/v1/evidence/" + hash + "/bundle"},
		{As: auditor, Method: "GET", Target: "/v1/evidence/bundle?from=0&to=3"},
		{Method: "GET", Target: "/v1/evidence/checkpoint"},
		{Method: "GET", Target: "/v1/evidence/consistency?old=1&new=2"},
		{Method: "GET", Target: "/v1/evidence/key"},
		{As: till, Method: "GET", Target: "/v1/evidence/stream?after=0"},
		{As: auditor, Method: "GET", Target: "/v1/evidence/export?from=0&to=2"},
		{As: auditor, Method: "GET", Target: "/v1/evidence/" + hash + "/proof?format=json&cosigned=false"},
		{Method: "GET", Target: "/log/checkpoint"},
		{Method: "GET", Target: "/log/tile/0/000.p/1"},
		{As: auditor, Method: "GET", Target: "/log/tile/entries/000.p/1"},
		{As: auditor, Method: "GET", Target: "/log/payloads/000.p/1"},
		{As: auditor, Method: "GET", Target: "/log/checkpoints"},
		{As: auditor, Method: "GET", Target: "/log/checkpoints/2"},
		{Method: "GET", Target: "/log/key"},
		{Method: "GET", Target: "/log/keys"},
		{Method: "GET", Target: "/log/policy"},
		{As: operator, Method: "POST", Target: "/v1/evidence/witnesses", Body: map[string]string{"key": lucia.Verifier().String()}},
		{As: operator, Method: "GET", Target: "/v1/evidence/anchors"},
		{As: auditor, Method: "GET", Target: "/v1/evidence/anchors/" + url.PathEscape(lucia.Verifier().Name()) + "/request?size=2"},
		{As: auditor, Method: "POST", Target: "/v1/evidence/anchors", Body: map[string]string{"cosignatures": cosign(t, state, 2, lucia)}},
		{As: operator, Method: "DELETE", Target: "/v1/evidence/witnesses/" + url.PathEscape(lucia.Verifier().Name())},
		{As: operator, Method: "GET", Target: "/v1/evidence/segments?limit=2&after=0"},
		{As: operator, Method: "GET", Target: "/v1/evidence/segments/1/file"},
		{As: operator, Method: "POST", Target: "/v1/evidence/segments/1/archive", Body: map[string]string{"sha256": archive.sum(1), "target": "tape 7"}},
		{As: operator, Method: "POST", Target: "/v1/evidence/key"},
	})
}
