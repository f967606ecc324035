package bookpi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// event is a server-sent event; the zero entry is a heartbeat.
type event struct {
	id      string
	comment string
	entry   entry
}

// follower reads a stream as a client does.
type follower struct {
	t     testing.TB
	lines *bufio.Scanner
	stop  context.CancelFunc
	ended chan error
}

// follow opens the stream with a query and, unless it is empty, a last event.
func follow(t testing.TB, h *podtest.Host, who *tap.Principal, query string) *follower {
	t.Helper()
	response, err := get(t, h, who, "/v1/evidence/stream"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	if response.ContentType != streamType {
		t.Errorf("content type %q", response.ContentType)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	f := &follower{t, bufio.NewScanner(r), cancel, make(chan error, 1)}
	f.lines.Buffer(nil, 1<<20)
	go func() {
		err := response.Stream(ctx, w, func() error { return nil })
		w.CloseWithError(io.EOF)
		f.ended <- err
	}()
	return f
}

// next returns the next event.
func (f *follower) next() (e event) {
	f.t.Helper()
	for f.lines.Scan() {
		field, value, _ := strings.Cut(f.lines.Text(), ": ")
		switch {
		case f.lines.Text() == "":
			return e
		case field == "id":
			e.id = value
		case field == "":
			e.comment = value
		case field == "data":
			if err := json.Unmarshal([]byte(value), &e.entry); err != nil {
				f.t.Errorf("%v: %s", err, value)
			}
		}
	}
	return event{comment: "the end"}
}

func (f *follower) close() {
	f.stop()
	go func() { // what is still being written
		for f.lines.Scan() {
		}
	}()
	<-f.ended
}

// A client that falls away and comes back with the last position misses nothing
// and sees nothing twice, while others append.
func TestStreamResumesUnderAppends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		const n = 60
		appendEvidence(t, h, till, "sale.done", `{"n":-1}`)
		writing := make(chan struct{})
		go func() {
			defer close(writing)
			for i := range n {
				<-time.After(time.Duration(7*i%40) * time.Millisecond)
				var reply appendReply
				response, err := h.State.Commit(context.Background(), batch(till, []string{"sale.done", "note"}[i%2], fmt.Sprintf(`{"n":%d}`, i)))
				if err != nil || response.Entries != 1 {
					t.Errorf("%+v, %v", reply, err)
				}
			}
		}()
		var seen []uint64
		last := "0"
		for len(seen) < n/2 {
			f := follow(t, h, auditor, "?action=sale.&after="+last)
			for range 7 {
				if e := f.next(); e.id != "" && e.comment == "" {
					if e.id != fmt.Sprint(e.entry.Position) || e.entry.Action != "sale.done" || len(e.entry.Payload) == 0 {
						t.Fatalf("event %+v", e)
					}
					seen, last = append(seen, e.entry.Position), e.id
				}
				if len(seen) == n/2 {
					break
				}
			}
			f.close()
		}
		<-writing
		var want []uint64
		for i := range n / 2 {
			want = append(want, uint64(1+2*i))
		}
		if !slices.Equal(seen, want) {
			t.Errorf("seen %v", seen)
		}
	})
}

func TestStreamShowsWhatOneMaySee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		foreign := podtest.Who("zoe", tap.Device)
		foreign.Tenant = "other"
		for _, who := range []*tap.Principal{ana, till, foreign, ana} {
			appendEvidence(t, h, who, "note", `1`)
		}
		for who, want := range map[*tap.Principal][]uint64{ana: {0, 3}, till: {1}, auditor: {0, 1, 3}} {
			f := follow(t, h, who, "?from=0")
			if e := f.next(); e.comment != "following from 0" {
				t.Errorf("%s: %+v", who.Identity, e)
			}
			for _, position := range want {
				if e := f.next(); e.entry.Position != position || e.entry.EvidenceHash == (bookpi.Hash{}) {
					t.Errorf("%s: %+v, want position %d", who.Identity, e, position)
				}
			}
			// Then silence, with the position that was looked at.
			began := time.Now()
			if e := f.next(); e.comment != "heartbeat" || e.id != "3" || time.Since(began) < heartbeat {
				t.Errorf("%s: %+v after %s", who.Identity, e, time.Since(began))
			}
			f.close()
		}
		f := follow(t, h, till, "") // from now on
		f.next()
		appendEvidence(t, h, till, "note", `2`)
		if e := f.next(); e.entry.Position != 4 {
			t.Errorf("live: %+v", e)
		}
		f.close()
	})
}

func TestStreamQueries(t *testing.T) {
	h := newHost(t)
	appendEvidence(t, h, till, "a", `1`)
	for query, code := range map[string]string{
		"?after=1": "query", "?after=x": "query", "?from=2": "query", "?from=x": "query", "?actor=ana": "not_own", "?to=5": "query",
	} {
		_, err := get(t, h, till, "/v1/evidence/stream"+query, nil)
		if err == nil || tap.AsError(err).StableCode() != code {
			t.Errorf("%s: %v", query, err)
		}
	}
	p := newPod(t, h.State)
	for last, want := range map[string]uint64{"0": 1, "": 1} {
		c := callOf(till, h.State)
		c.LastEvent = last
		if next, err := p.resume(c); err != nil || next != want {
			t.Errorf("after event %q: %d, %v", last, next, err)
		}
	}
}

func TestStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		var open []*follower
		for range maxStreamsEach {
			f := follow(t, h, ana, "")
			f.next()
			open = append(open, f)
		}
		refused := func(who *tap.Principal) error {
			response, err := get(t, h, who, "/v1/evidence/stream", nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return response.Stream(ctx, io.Discard, func() error { return nil })
		}
		podtest.WantKind(t, refused(ana), tap.Limited, "streams")
		fill := func(role tap.Role, until int) {
			t.Helper()
			for i := len(open); i < until; i++ {
				f := follow(t, h, podtest.Who(fmt.Sprintf("c%d", i), role), "")
				if e := f.next(); e.comment == "the end" {
					t.Fatalf("stream %d is refused to a %s", i, role)
				}
				open = append(open, f)
			}
		}
		fill(tap.Citizen, maxStreams/2)
		podtest.WantKind(t, refused(till), tap.Limited, "streams")
		fill(tap.Auditor, maxStreams)
		podtest.WantKind(t, refused(auditor), tap.Limited, "streams")
		for _, f := range open {
			f.close()
		}
		f := follow(t, h, ana, "")
		f.next()
		f.close()
	})
}

func TestStreamsEnd(t *testing.T) {
	h := newHost(t)
	appendEvidence(t, h, till, "a", `1`)
	gone := errors.New("the peer is gone")
	for name, run := range map[string]func() error{
		"peer": func() error {
			response, _ := get(t, h, till, "/v1/evidence/stream?from=0", nil)
			return response.Stream(t.Context(), io.Discard, func() error { return gone })
		},
		"export": func() error {
			response, _ := get(t, h, auditor, "/v1/evidence/export", nil)
			return response.Stream(t.Context(), io.Discard, func() error { return gone })
		},
	} {
		if err := run(); !errors.Is(err, gone) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := newPod(t, damagedLedger{h.State})
	for _, query := range []map[string]string{{"from": "0"}} {
		c := callOf(auditor, h.State)
		c.Query = query
		stream, err := p.stream(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		export, err := p.export(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []tap.StreamFunc{stream.Stream, export.Stream} {
			podtest.WantKind(t, s(t.Context(), io.Discard, func() error { return nil }), tap.Internal, "")
		}
	}
}

func TestExport(t *testing.T) {
	h := newHost(t)
	foreign := podtest.Who("zoe", tap.Device)
	foreign.Tenant = "other"
	const n = 300
	for i := range n {
		appendEvidence(t, h, []*tap.Principal{till, ana, foreign}[i%3], "a", fmt.Sprintf(`{"n":%d}`, i))
	}
	response, err := get(t, h, auditor, "/v1/evidence/export?from=10&to=290", nil)
	if err != nil || response.ContentType != exportType {
		t.Fatalf("%+v, %v", response, err)
	}
	var out strings.Builder
	flushes := 0
	if err := response.Stream(t.Context(), &out, func() error { flushes++; return nil }); err != nil || flushes != 2 {
		t.Fatalf("%d flushes, %v", flushes, err)
	}
	at := uint64(10)
	for line := range strings.Lines(out.String()) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if at%3 == 2 {
			at++ // of the other tenant
		}
		if e.Position != at || bookpi.LeafHash(e.Record) != e.EvidenceHash || bookpi.PayloadDigest(e.Payload) != e.PayloadDigest || e.Tenant != "main" {
			t.Fatalf("line of position %d: %+v", at, e)
		}
		at++
	}
	if at != 290 && at != 289 {
		t.Errorf("the export ends at %d", at)
	}
	for _, query := range []string{"?from=5&to=3", "?to=301", "?from=x", "?to=x"} {
		_, err := get(t, h, auditor, "/v1/evidence/export"+query, nil)
		podtest.WantKind(t, err, tap.Invalid, "query")
	}
	_, err = get(t, h, till, "/v1/evidence/export", nil)
	podtest.WantKind(t, err, tap.Forbidden, "role")
}

// gone is a ledger whose first entries have left the site.
type gone struct{ *podtest.State }

func (gone) Record(uint64) (store.Record, error) {
	return store.Record{}, tap.E("test", tap.NotFound, "archived").WithCode("archived")
}

// A stream that cannot begin is refused before its first byte: a browser comes back
// to one that began, again and again.
func TestAStreamOfArchivedEntriesDoesNotBegin(t *testing.T) {
	state := grow(t, 3, `1`)
	response, err := get(t, podtest.NewHost(t, state, newPod(t, gone{state})), auditor, "/v1/evidence/stream?from=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	podtest.WantKind(t, response.Stream(t.Context(), &out, func() error { return nil }), tap.NotFound, "archived")
	if out.Len() > 0 {
		t.Errorf("it began with %q", out.String())
	}
}

// A browser that comes back sends the query of its first time, too.
func TestWhatWasSeenLastComesBeforeTheQuery(t *testing.T) {
	state := grow(t, 3, `1`)
	for name, value := range map[string]string{"from": "0", "after": "0"} {
		c := callOf(till, state)
		c.Query[name], c.LastEvent = value, "1"
		if next, err := newPod(t, state).resume(c); err != nil || next != 2 {
			t.Errorf("%s: %d, %v", name, next, err)
		}
	}
}
