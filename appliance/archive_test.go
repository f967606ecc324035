package appliance_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// fill appends entries over several sessions until the ledger has so many.
func fill(t testing.TB, m *machine, entries int) {
	t.Helper()
	conf := config(t, m.running.Context)
	target := url.URL{Scheme: "wss", Host: m.running.Address, Path: "/tap"}
	var n atomic.Int64
	var work sync.WaitGroup
	operator := connect(t, m.running.Context)
	for device := range 64 { // an identity may send only so much
		keyID, key := enrol(t, operator, fmt.Sprintf("sensor-%d", device), tap.Device)
		work.Go(func() {
			session, err := client.Dial(t.Context(), client.SessionConfig{
				URL: target.String(), TLS: &tls.Config{RootCAs: conf.CA}, KeyID: keyID, Key: key,
			})
			if err != nil {
				t.Error(err)
				return
			}
			defer session.Close()
			for i := n.Add(1); i <= int64(entries); i = n.Add(1) {
				body := fmt.Appendf(nil, `{"action":"sensor.reading","outcome":"ok","data":{"n":%d}}`, i)
				if _, err := session.Evidence(t.Context(), body); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
}

type segmentRow struct {
	Number, First, Last uint64
	SHA256              string
	Bytes               int64
	Archived            bool
}

type segmentList struct {
	Sealed, Archived uint64
	Bytes            struct{ Entries, Leaves, Archived int64 }
	Segments         []segmentRow
}

// A full segment is copied out and leaves the site: its entries answer where they
// are, the copy verifies by itself, and every proof goes on, also after a restart.
func TestOldEntriesLeaveTheSite(t *testing.T) {
	m := newMachine(t, "n1")
	m.start(t)
	operator := connect(t, m.running.Context)
	old := appendEvidence(t, operator, map[string]any{"action": "door.open", "outcome": "ok", "data": "long ago"})
	fill(t, m, bookpi.SegmentEntries)

	var list segmentList
	eventually(t, "a segment is sealed", func() bool {
		list = get[segmentList](t, operator, "/v1/evidence/segments", nil)
		return list.Sealed == 1
	})
	segment := list.Segments[0]
	file, err := operator.Do(t.Context(), "GET", "/v1/evidence/segments/0/file", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	read, err := bookpi.ReadSegment(bytes.NewReader(file.Body), func(position uint64, entry, payload []byte) error {
		if bookpi.LeafHash(entry) == old.EvidenceHash {
			found = position == old.Position && string(payload) == `"long ago"`
		}
		return nil
	})
	if err != nil || !found || fmt.Sprintf("%x", read.SHA256) != segment.SHA256 {
		t.Fatalf("the copy: found %v, %v", found, err)
	}

	archive := func() error {
		_, err := operator.Do(t.Context(), "POST", "/v1/evidence/segments/0/archive", nil, map[string]any{"sha256": segment.SHA256, "target": "tape 7"})
		return err
	}
	eventually(t, "a checkpoint covers the segment", func() bool { return archive() == nil })
	if err := archive(); !tap.IsKind(err, tap.NotFound) {
		t.Errorf("archived twice: %v", err)
	}

	check := func(when string) {
		t.Helper()
		eventually(t, when+" the entry says where it is", func() bool {
			_, err := operator.Do(t.Context(), "GET", "/v1/evidence/"+old.EvidenceHash.String(), nil, nil)
			return tap.IsKind(err, tap.NotFound) && tap.AsError(err).StableCode() == "archived"
		})
		reply, err := operator.Do(t.Context(), "GET", "/v1/evidence/"+old.EvidenceHash.String()+"/proof", nil, nil)
		if err != nil {
			t.Fatalf("%s no proof: %v", when, err)
		}
		var proof struct {
			Position, Size uint64
			Root           bookpi.Hash
			Proof          []bookpi.Hash
		}
		if err := json.Unmarshal(reply.Body, &proof); err != nil {
			t.Fatal(err)
		}
		if err := bookpi.VerifyInclusion(old.EvidenceHash, proof.Position, proof.Size, proof.Proof, proof.Root); err != nil {
			t.Errorf("%s the proof: %v", when, err)
		}
		if _, err := operator.Do(t.Context(), "GET", "/v1/evidence", url.Values{"limit": {"500"}}, nil); err != nil {
			t.Errorf("%s listing: %v", when, err)
		}
	}
	check("live,")
	eventually(t, "the space is given back", func() bool {
		list = get[segmentList](t, operator, "/v1/evidence/segments", nil)
		return list.Archived == 1 && list.Bytes.Entries == 0 && list.Bytes.Archived == segment.Bytes && list.Bytes.Leaves > 0
	})
	m.stop(t)
	m.start(t)
	check("after a restart,")
}
