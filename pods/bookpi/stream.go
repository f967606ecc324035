package bookpi

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

const (
	streamType = "text/event-stream"
	exportType = "application/jsonl"
	// heartbeat is the longest silence of a stream.
	heartbeat = 15 * time.Second
	// breath is the least time between two looks of a stream at the ledger: what
	// is appended meanwhile is one look and one flush.
	breath = 50 * time.Millisecond
	// maxStreams is how many streams and exports a node serves at once, the second
	// half of them to auditors and operators alone, and maxStreamsEach how many of
	// one identity.
	maxStreams     = 64
	maxStreamsEach = 4
	// exportFlush is how many lines of an export go out together.
	exportFlush = 256
)

// streams counts what is being streamed. It is safe for concurrent use.
type streams struct {
	mu  sync.Mutex
	all int            // guarded by mu
	by  map[string]int // guarded by mu; by tenant and identity
}

// begin takes a place and returns what gives it back.
func (s *streams) begin(c *pods.Call) (end func(), err error) {
	who := tap.JoinKeyID(c.Tenant, c.Actor())
	s.mu.Lock()
	defer s.mu.Unlock()
	most := maxStreams
	if !c.Principal.Has(tap.Auditor, tap.Operator) {
		most /= 2
	}
	if s.all >= most || s.by[who] >= maxStreamsEach {
		return nil, tap.E("bookpi.stream", tap.Limited, "this node streams to as many as it can, or to you as often as it does").
			WithCode("streams").WithRetryAfter(heartbeat)
	}
	if s.by == nil {
		s.by = map[string]int{}
	}
	s.all++
	s.by[who]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.by[who]--; s.by[who] == 0 {
			delete(s.by, who)
		}
	}, nil
}

// stream sends entries as server-sent events as they are appended. An event's id
// is the entry's position; silence carries the position that was looked at last, so
// that a client which resumes does not wait for what it would not see anyway.
func (p *Pod) stream(_ context.Context, c *pods.Call) (*pods.Result, error) {
	q, err := filters(c)
	if err != nil {
		return nil, err
	}
	next, err := p.resume(c)
	if err != nil {
		return nil, err
	}
	return &pods.Result{Type: streamType, Stream: func(ctx context.Context, w io.Writer, flush func() error) error {
		end, err := p.streams.begin(c)
		if err != nil {
			return err
		}
		defer end()
		if err := p.readable(next); err != nil {
			return err
		}
		// Proxies and clients learn that the stream has begun.
		if err := send(w, flush, ": following from %d\n\n", next); err != nil {
			return err
		}
		for {
			sent := false
			next, sent, err = p.events(ctx, c, &q, next, w)
			if err != nil {
				return err
			}
			if sent {
				if err := flush(); err != nil {
					return err
				}
			}
			if err := p.await(ctx, next, w, flush); err != nil {
				return err
			}
		}
	}}, nil
}

// readable reports what a stream would end with at once: a client that hears it
// before the stream begins does not come back for the same again.
func (p *Pod) readable(next uint64) error {
	if size, _ := p.ledger.Size(); next >= size {
		return nil
	}
	_, err := p.ledger.Record(next)
	return err
}

// resume is the position that the stream begins with.
func (p *Pod) resume(c *pods.Call) (uint64, error) {
	size, _ := p.ledger.Size()
	// A client that comes back asks as it did at first, and says what it saw since.
	if sent, ok := c.Query["from"]; ok && c.LastEvent == "" {
		from, err := strconv.ParseUint(sent, 10, 62)
		if err != nil || from > size {
			return 0, badQuery(`"from" is a position of at most %d`, size)
		}
		return from, nil
	}
	after := cmp.Or(c.LastEvent, c.Query["after"])
	if after == "" {
		return size, nil
	}
	last, err := strconv.ParseUint(after, 10, 62)
	if err != nil || last >= size {
		return 0, badQuery(`the position to go on after is not one of the ledger's %d`, size)
	}
	return last + 1, nil
}

// events sends what there is from next on and returns where that ends.
func (p *Pod) events(ctx context.Context, c *pods.Call, q *query, next uint64, w io.Writer) (_ uint64, sent bool, err error) {
	var failed error
	err = p.ledger.Records(next, false, func(r store.Record) bool {
		e, err := parse(r)
		if err != nil {
			failed = err
			return false
		}
		next = r.Position + 1
		if visible(c, &e) && q.matches(&e) {
			var data []byte
			if data, failed = json.Marshal(p.show(ctx, r, &e, len(r.Payload) <= maxInline)); failed == nil {
				_, failed = fmt.Fprintf(w, "id: %d\nevent: evidence\ndata: %s\n\n", r.Position, data)
			}
			sent = true
		}
		failed = cmp.Or(failed, ctx.Err())
		return failed == nil
	})
	return next, sent, cmp.Or(err, failed)
}

// await returns when the ledger has an entry at next, and breaks long silences.
func (p *Pod) await(ctx context.Context, next uint64, w io.Writer, flush func() error) error {
	if err := pause(ctx, breath); err != nil {
		return err
	}
	silence := time.NewTicker(heartbeat)
	defer silence.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.ledger.Grown(next):
			return nil
		case <-silence.C:
			var err error
			if next == 0 {
				err = send(w, flush, ": heartbeat\n\n")
			} else {
				err = send(w, flush, ": heartbeat\nid: %d\n\n", next-1)
			}
			if err != nil {
				return err
			}
		}
	}
}

func send(w io.Writer, flush func() error, format string, args ...any) error {
	if _, err := fmt.Fprintf(w, format, args...); err != nil {
		return err
	}
	return flush()
}

// export sends the tenant's entries [from, to) as JSON, one a line, each with its
// encoded form under the hash. A body that ends early is cut, not shortened.
func (p *Pod) export(_ context.Context, c *pods.Call) (*pods.Result, error) {
	from, to, err := p.interval(c)
	if err != nil {
		return nil, err
	}
	return &pods.Result{Type: exportType, Stream: func(ctx context.Context, w io.Writer, flush func() error) error {
		end, err := p.streams.begin(c)
		if err != nil {
			return err
		}
		defer end()
		lines := json.NewEncoder(w)
		err = p.each(ctx, from, int(to-from), func(r store.Record) error {
			e, err := parse(r)
			if err != nil {
				return err
			}
			if e.Tenant == c.Tenant {
				shown := p.show(ctx, r, &e, true)
				shown.Record = r.Entry
				err = lines.Encode(shown)
			}
			if err == nil && (r.Position-from)%exportFlush == exportFlush-1 {
				err = flush()
			}
			return err
		})
		if err != nil {
			return err
		}
		return flush()
	}}, nil
}

// interval reads the positions [from, to) of an export; all there are when
// missing.
func (p *Pod) interval(c *pods.Call) (from, to uint64, err error) {
	to, _ = p.ledger.Size()
	size := to
	for name, into := range map[string]*uint64{"from": &from, "to": &to} {
		if sent, ok := c.Query[name]; ok {
			if *into, err = strconv.ParseUint(sent, 10, 62); err != nil {
				return 0, 0, badQuery("%q is a position", name)
			}
		}
	}
	if from > to || to > size {
		return 0, 0, badQuery(`positions go from 0 to %d, and "from" is not behind "to"`, size)
	}
	return from, to, nil
}
