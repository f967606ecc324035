package bookpi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

func TestOwnEntriesOnly(t *testing.T) {
	h := newHost(t)
	hers := appendEvidence(t, h, ana, "note", `1`).EvidenceHash.String()
	appendEvidence(t, h, till, "sale.done", `2`)
	for _, tail := range []string{"", "/proof", "/bundle"} {
		if _, err := get(t, h, ana, "/v1/evidence/"+hers+tail, nil); err != nil {
			t.Errorf("her own%s: %v", tail, err)
		}
		_, err := get(t, h, till, "/v1/evidence/"+hers+tail, nil)
		podtest.WantKind(t, err, tap.Forbidden, "not_own")
	}
	_, err := get(t, h, till, "/v1/evidence?actor=ana", nil)
	podtest.WantKind(t, err, tap.Forbidden, "not_own")
	_, err = get(t, h, till, "/v1/evidence/bundle?from=0&to=1", nil)
	podtest.WantKind(t, err, tap.Forbidden, "role")
	for who, want := range map[*tap.Principal]int{ana: 1, till: 1, auditor: 2} {
		var page struct{ Entries []entry }
		if _, err := get(t, h, who, "/v1/evidence", &page); err != nil || len(page.Entries) != want {
			t.Errorf("%s sees %d entries, want %d, %v", who.Identity, len(page.Entries), want, err)
		}
	}
}

// page is what a list answers.
type page struct {
	Entries []entry
	Next    *uint64
}

func TestQueryFilters(t *testing.T) {
	h := newHost(t)
	var times []int64
	for i := range 10 {
		r := appendEvidence(t, h, []*tap.Principal{ana, till}[i%2], []string{"sale.done", "sale.void", "note"}[i%3], `{}`)
		times = append(times, r.Receipt.Time)
	}
	for query, want := range map[string][]uint64{
		"":                              {9, 8, 7, 6, 5, 4, 3, 2, 1, 0},
		"?actor=ana":                    {8, 6, 4, 2, 0},
		"?action=note":                  {8, 5, 2},
		"?action=sale.":                 {9, 7, 6, 4, 3, 1, 0},
		"?action=sale.v*":               {7, 4, 1},
		"?action=*&limit=2":             {9, 8},
		"?action=sale":                  {},
		"?after=3":                      {2, 1, 0},
		"?after=0":                      {},
		"?after=99&limit=1":             {9},
		"?actor=ana&limit=2":            {8, 6},
		"?from=" + fmt.Sprint(times[7]): {9, 8, 7},
		"?to=" + fmt.Sprint(times[2]):   {1, 0},
		"?from=" + fmt.Sprint(times[2]) + "&to=" + fmt.Sprint(times[4]): {3, 2},
		"?to=2020-01-01T00:00:00Z":                                      {},
		"?from=2040-01-01T00:00:00Z":                                    {},
		"?from=" + pods.TimestampMicros(times[8]) + "&to=" + pods.TimestampMicros(times[9]) + "&x=": nil,
	} {
		var p page
		_, err := get(t, h, auditor, "/v1/evidence"+query, &p)
		if want == nil {
			podtest.WantKind(t, err, tap.Invalid, "query")
			continue
		}
		got := []uint64{}
		for _, e := range p.Entries {
			got = append(got, e.Position)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v, %v", query, got, want, err)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=501", "?limit=x", "?after=x", "?after=-1", "?from=yesterday", "?to=-5"} {
		_, err := get(t, h, auditor, "/v1/evidence"+query, nil)
		podtest.WantKind(t, err, tap.Invalid, "query")
	}
}

func TestPagesStandStillWhileTheLedgerGrows(t *testing.T) {
	h := newHost(t)
	for range 7 {
		appendEvidence(t, h, till, "sale.done", `{}`)
	}
	var got []uint64
	for query := "?limit=3"; ; {
		var p page
		if _, err := get(t, h, auditor, "/v1/evidence"+query, &p); err != nil {
			t.Fatal(err)
		}
		for _, e := range p.Entries {
			got = append(got, e.Position)
		}
		if p.Next == nil {
			break
		}
		query = fmt.Sprintf("?limit=3&after=%d", *p.Next)
		appendEvidence(t, h, till, "sale.done", `{}`)
	}
	if !slices.Equal(got, []uint64{6, 5, 4, 3, 2, 1, 0}) {
		t.Errorf("pages show %v", got)
	}
}

// longLedger repeats one record for any position.
type longLedger struct {
	*podtest.State
	size uint64
}

func (l longLedger) Size() (uint64, bookpi.Hash) { return l.size, bookpi.Hash{} }

func (l longLedger) Records(first uint64, _ bool, fn func(store.Record) bool) error {
	r, err := l.State.Record(0)
	for ; err == nil; first-- {
		if r.Position = first; !fn(r) || first == 0 {
			return nil
		}
	}
	return err
}

func TestScanIsBounded(t *testing.T) {
	h := newHost(t)
	appendEvidence(t, h, till, "sale.done", `{}`)
	p := newPod(t, longLedger{h.State, 1_000_000})
	c := &pods.Call{Principal: auditor, Tenant: "main", Query: map[string]string{"action": "rare"}}
	result, err := p.list(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := json.Marshal(result.Body)
	var got page
	if err := json.Unmarshal(raw, &got); err != nil || len(got.Entries) != 0 || got.Next == nil ||
		*got.Next != (1_000_000-maxScanned)/bookpi.SegmentEntries*bookpi.SegmentEntries {
		t.Errorf("%s, %v", raw, err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.list(cancelled, c); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled query: %v", err)
	}
}

func TestLongPayloadsAreNotListed(t *testing.T) {
	h := newHost(t)
	long := appendEvidence(t, h, till, "long", `"`+strings.Repeat("x", maxInline)+`"`)
	appendEvidence(t, h, till, "short", `"x"`)
	var p page
	if _, err := get(t, h, till, "/v1/evidence", &p); err != nil {
		t.Fatal(err)
	}
	if p.Entries[0].Payload == nil || p.Entries[1].Payload != nil || p.Entries[1].PayloadBytes != maxInline+2 {
		t.Errorf("%+v", p.Entries)
	}
	var e entry
	if _, err := get(t, h, till, "/v1/evidence/"+long.EvidenceHash.String(), &e); err != nil || len(e.Payload) != maxInline+2 {
		t.Errorf("%d bytes, %v", len(e.Payload), err)
	}
}

func TestShowOddPayloads(t *testing.T) {
	for payload, isJSON := range map[string]bool{`{"a":1}`: true, "\x00\x01": false, "\"\xff\"": false, "": false} {
		e := new(Pod).show(t.Context(), store.Record{Payload: []byte(payload)}, &bookpi.Entry{}, true)
		if (e.PayloadJSON != nil) != isJSON || e.RequestID != "" {
			t.Errorf("%q: %+v", payload, e)
		}
	}
}

func TestUnknownHashes(t *testing.T) {
	h := newHost(t)
	appendEvidence(t, h, till, "a", `1`)
	for _, hash := range []string{strings.Repeat("0", 64), "x", strings.Repeat("A", 64)} {
		_, err := get(t, h, auditor, "/v1/evidence/"+hash, nil)
		podtest.WantKind(t, err, tap.NotFound, "")
	}
}
