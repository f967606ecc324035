package bookpi

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// Feature: tamv-hardened-backend, Property 8: Evidence Tamper Detection
func TestBundlesVerifyOfflineUntilAByteChanges(t *testing.T) {
	// With one key: a verifier that knows one cannot judge the lines of others.
	lines := strings.SplitAfter(firstKeys.Text(), "\n")
	one, err := bookpi.ParseLogKeys(strings.Join(lines[:2], ""))
	if err != nil {
		t.Fatal(err)
	}
	state := podtest.NewState()
	ring := &keyring{held: map[uint64][]bookpi.LogKeys{0: {one}}}
	h := podtest.NewHost(t, state, New(Config{Tenant: "main", Ledger: state, Notary: newNotary(state, ring)}))
	var replies []appendReply
	for i := range 20 {
		replies = append(replies, appendEvidence(t, h, []*tap.Principal{ana, till}[i%2], "sale.done", fmt.Sprintf(`{"n":%d}`, i)))
	}
	whole, err := get(t, h, auditor, "/v1/evidence/bundle?from=3&to=17", nil)
	if err != nil {
		t.Fatal(err)
	}
	single, err := get(t, h, ana, "/v1/evidence/"+replies[4].EvidenceHash.String()+"/bundle", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		bundle  []byte
		entries int
	}{"range": {whole.Body, 14}, "one": {single.Body, 1}} {
		if whole.ContentType != bundleType {
			t.Errorf("content type %q", whole.ContentType)
		}
		report, err := bookpi.VerifyBundle(c.bundle, verifierKey)
		if err != nil || report.Entries != c.entries || report.Size != 20 {
			t.Fatalf("%s: %+v, %v", name, report, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		damaged := slices.Clone(whole.Body)
		at := rapid.IntRange(0, len(damaged)-1).Draw(t, "byte")
		damaged[at] ^= rapid.ByteRange(1, 255).Draw(t, "mask")
		_, err := bookpi.VerifyBundle(damaged, verifierKey)
		var broken *bookpi.BrokenError
		if !errors.As(err, &broken) {
			t.Fatalf("byte %d changed and the bundle verifies: %v", at, err)
		}
	})
}

func TestForeignPayloadsAreWithheld(t *testing.T) {
	h := newHost(t)
	foreign := podtest.Who("zoe", tap.Citizen)
	foreign.Tenant = "other"
	appendEvidence(t, h, ana, "note", `"mine"`)
	hash := appendEvidence(t, h, foreign, "note", `"a secret"`).EvidenceHash.String()
	response, err := get(t, h, auditor, "/v1/evidence/bundle?from=0&to=2", nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bookpi.ParseBundle(response.Body)
	if err != nil || !b.Items[0].HasPayload || b.Items[1].HasPayload {
		t.Errorf("%+v, %v", b.Items, err)
	}
	if _, err := bookpi.VerifyBundle(response.Body, verifierKey); err != nil {
		t.Error(err)
	}
	for _, tail := range []string{"", "/proof", "/bundle"} {
		_, err := get(t, h, auditor, "/v1/evidence/"+hash+tail, nil)
		podtest.WantKind(t, err, tap.NotFound, "")
	}
	var page struct{ Entries []entry }
	if _, err := get(t, h, auditor, "/v1/evidence", &page); err != nil || len(page.Entries) != 1 {
		t.Errorf("the auditor sees %d entries, %v", len(page.Entries), err)
	}
}
