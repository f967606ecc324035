package bookpi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// files is an archive of three sealed segments, of which one is archived.
type files struct {
	dir  string
	gone uint64
}

func (f *files) Segments() (sealed, archived uint64)        { return 3, f.gone }
func (f *files) DiskUse() (entries, leaves, archived int64) { return 30, 2, 10 }
func (f *files) content(number uint64) []byte               { return bytes.Repeat([]byte{byte(number)}, 3<<20) }

func (f *files) Archive(uint64) (store.Op, error) {
	return store.Put(store.K("main", "x", "y"), []byte("z")), nil
}

func (f *files) sum(number uint64) string {
	sum := sha256.Sum256(f.content(number))
	return hex.EncodeToString(sum[:])
}

func (f *files) Segment(number uint64) (store.Segment, error) {
	if number >= 3 {
		return store.Segment{}, tap.E("store.segment", tap.NotFound, "segment %d of the ledger is not sealed", number)
	}
	return store.Segment{
		Number: number, First: number * 16384, Last: number*16384 + 16383, SHA256: sha256.Sum256(f.content(number)),
		Bytes: 3 << 20, Archived: number < f.gone,
	}, nil
}

func (f *files) OpenSegment(number uint64) (*os.File, store.Segment, error) {
	s, err := f.Segment(number)
	if err != nil {
		return nil, s, err
	}
	if s.Archived {
		return nil, s, tap.E("store.record", tap.NotFound, "segment %d of the ledger is archived", number).WithCode("archived")
	}
	path := filepath.Join(f.dir, "segment")
	if err := os.WriteFile(path, f.content(number), 0o600); err != nil {
		return nil, s, err
	}
	file, err := os.Open(path)
	return file, s, err
}

func TestSegmentsLeaveTheSite(t *testing.T) {
	state := podtest.NewState()
	p := newPod(t, state)
	p.config.Archive = &files{t.TempDir(), 1}
	h := podtest.NewHost(t, state, p)

	var page segmentsReply
	if _, err := get(t, h, operator, "/v1/evidence/segments?limit=2", &page); err != nil {
		t.Fatal(err)
	}
	if page.Sealed != 3 || page.Archived != 1 || len(page.Segments) != 2 || page.Next == nil || *page.Next != 1 || !page.Segments[0].Archived || page.Bytes.Entries != 30 {
		t.Errorf("%+v", page)
	}
	var rest segmentsReply
	if _, err := get(t, h, auditor, "/v1/evidence/segments?after=1", &rest); err != nil || len(rest.Segments) != 1 || rest.Segments[0].Number != 2 || rest.Next != nil {
		t.Errorf("%+v, %v", rest, err)
	}

	reply, err := get(t, h, operator, "/v1/evidence/segments/1/file", nil)
	if err != nil {
		t.Fatal(err)
	}
	var copied bytes.Buffer
	if err := reply.Stream(t.Context(), &copied, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(copied.Bytes())
	if hex.EncodeToString(sum[:]) != page.Segments[1].SHA256 {
		t.Errorf("the copy of %d bytes has another hash", copied.Len())
	}

	archive := func(number, sha string) error {
		_, err := h.Do(t.Context(), podtest.Request{
			As: operator, Method: "POST", Target: "/v1/evidence/segments/" + number + "/archive",
			Body: `{"sha256":"` + sha + `","target":"tape 7"}`,
		}, nil)
		return err
	}
	podtest.WantKind(t, archive("1", page.Segments[0].SHA256), tap.Conflict, "archive")
	podtest.WantKind(t, archive("01", page.Segments[1].SHA256), tap.NotFound, "")
	podtest.WantKind(t, archive("3", page.Segments[1].SHA256), tap.NotFound, "")
	if err := archive("1", page.Segments[1].SHA256); err != nil {
		t.Fatal(err)
	}
	record, err := state.Record(0)
	if err != nil || !bytes.Contains(record.Payload, []byte(page.Segments[1].SHA256)) || !bytes.Contains(record.Payload, []byte("tape 7")) {
		t.Errorf("the ledger has %s, %v", record.Payload, err)
	}

	for target, who := range map[string]*tap.Principal{
		"/v1/evidence/segments": till, "/v1/evidence/segments/1/file": auditor,
	} {
		_, err := get(t, h, who, target, nil)
		podtest.WantKind(t, err, tap.Forbidden, "role")
	}
	_, err = get(t, h, operator, "/v1/evidence/segments?after=x", nil)
	podtest.WantKind(t, err, tap.Invalid, "query")
	foreign := podtest.Who("op", tap.Operator)
	foreign.Tenant = "other"
	_, err = get(t, h, foreign, "/v1/evidence/segments/1/file", nil)
	podtest.WantKind(t, err, tap.Forbidden, "tenant")
}
