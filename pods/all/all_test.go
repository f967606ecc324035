package all

import (
	"crypto/rand"
	"slices"
	"strings"
	"testing"

	"tamv.internal/tamv/model/static"
	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/bookpi"
	"tamv.internal/tamv/pods/memory"
	"tamv.internal/tamv/pods/podtest"
	ledger "tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

func everyPod(t *testing.T) ([]pods.Pod, Deps) {
	t.Helper()
	embedder, err := static.Default()
	if err != nil {
		t.Fatal(err)
	}
	m, err := memory.New(memory.Config{Embedder: embedder})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ledger.GenerateKeys(rand.Reader, "tamv.test/log")
	if err != nil {
		t.Fatal(err)
	}
	state := podtest.NewState()
	d := Deps{
		Memory: m, Threshold: embedder.RelevanceThreshold(), Active: func(*tap.Principal) bool { return true },
		Ledger: state, Evidence: bookpi.Config{Notary: bookpi.NewNotary(bookpi.NotaryConfig{
			Tenant: tap.DefaultTenant, Ledger: state, View: state, Writer: state, Keys: func(uint64) []ledger.LogKeys { return []ledger.LogKeys{keys} },
		})},
		Guards: map[string]*pods.Guard{},
	}
	return Pods(d), d
}

func TestRegistryMakesOneTable(t *testing.T) {
	every, d := everyPod(t)
	table, err := pods.NewTable(every...)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range every {
		m := p.Manifest()
		names = append(names, m.Name)
		if m.Summary.EN == "" || m.Summary.ES == "" {
			t.Errorf("%s has no summary in one of the languages", m.Name)
		}
		if m.Intent != nil && d.Guards[m.Name] == nil {
			t.Errorf("%s takes part in intents without a guard that its routes share", m.Name)
		}
	}
	slices.Sort(names)
	if len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("two pods have one name: %v", names)
	}
	// What the public interface promises, by request and by who may send it.
	for request, roles := range map[string]string{
		"POST /v1/kernel/intent":                      "citizen",
		"POST /v1/memory/documents":                   "curator",
		"POST /v1/memory/search":                      "citizen curator",
		"POST /v1/economy/tcep":                       "citizen",
		"GET /v1/economy/balances":                    "auditor operator",
		"POST /v1/evidence":                           "citizen device operator",
		"GET /v1/evidence/bundle":                     "auditor",
		"GET /v1/evidence/checkpoint":                 "anyone",
		"GET /v1/evidence/stream":                     "auditor citizen curator device guardian operator",
		"GET /v1/evidence/export":                     "auditor",
		"POST /v1/evidence/key":                       "operator",
		"POST /v1/evidence/witnesses":                 "operator",
		"DELETE /v1/evidence/witnesses/{name}":        "operator",
		"GET /v1/evidence/anchors":                    "auditor operator",
		"POST /v1/evidence/anchors":                   "auditor operator",
		"GET /log/checkpoint":                         "anyone",
		"GET /log/tile/{path...}":                     "anyone",
		"GET /log/tile/entries/{path...}":             "auditor",
		"GET /log/payloads/{path...}":                 "auditor",
		"GET /v1/evidence/{hash}/proof":               "auditor citizen curator device guardian operator",
		"POST /v1/identities":                         "operator",
		"GET /v1/cluster":                             "operator",
		"POST /v1/cluster/invitations":                "operator",
		"POST /v1/cluster/join":                       "anyone",
		"DELETE /v1/cluster/members/{id}":             "operator",
		"POST /v1/identities/{name}/revoke":           "operator",
		"POST /v1/guardian/reviews/{ticket}/decision": "guardian",
		"POST /v1/dreamspaces":                        "citizen",
		"POST /v1/dreamspaces/{id}/actions":           "citizen device",
		"GET /v1/dreamspaces/{id}/history":            "auditor citizen device",
	} {
		method, pattern, _ := strings.Cut(request, " ")
		i := slices.IndexFunc(table.Rows(), func(r pods.Row) bool { return r.Method == method && r.Pattern == pattern })
		if i < 0 {
			t.Errorf("%s has no route", request)
			continue
		}
		var have []string
		for _, r := range table.Rows()[i].Roles {
			have = append(have, string(r))
		}
		slices.Sort(have)
		if got := strings.Join(have, " "); got != roles {
			t.Errorf("%s: roles %q, want %q", request, got, roles)
		}
	}
}
