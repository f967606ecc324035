package bookpi

import (
	"cmp"
	"context"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// listReply is a page of entries, newest first.
type listReply struct {
	Entries []entry `json:"entries"`
	Next    *uint64 `json:"next,omitempty"` // what to send as "after"
	// Archived says that the list ends where older entries have left the site.
	Archived bool `json:"archived,omitempty"`
}

// list shows entries from the newest down.
func (p *Pod) list(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	q, err := p.parseQuery(c)
	if err != nil {
		return nil, err
	}
	s := search{p: p, c: c, q: q, wanted: q.wanted(c.Tenant), reply: listReply{Entries: []entry{}}}
	err = s.run(ctx)
	if err != nil && tap.AsError(err).StableCode() == "archived" {
		// What is older has left the site; the list ends here and says so.
		s.reply.Archived, err = true, nil
	}
	if err != nil {
		return nil, err
	}
	return &pods.Result{Body: s.reply}, nil
}

// search is one walk down the ledger, segment by segment.
type search struct {
	p       *Pod
	c       *pods.Call
	q       query
	wanted  []name
	reply   listReply
	scanned int // entries that were read
	bytes   int // of their payloads
}

// run fills the reply. It stops where a segment begins when it has read more than it may: what
// it learnt of those before lets the next search pass them by.
func (s *search) run(ctx context.Context) error {
	for at := s.q.before; at > 0; {
		start := (at - 1) / bookpi.SegmentEntries * bookpi.SegmentEntries
		segment, sealed := s.p.sealed(start / bookpi.SegmentEntries)
		known, lacks := s.p.names.known(segment, s.wanted)
		if sealed && lacks {
			at = start
			continue
		}
		if s.scanned >= maxScanned {
			s.reply.Next = &at
			return nil
		}
		var all seen
		if sealed && !known && at == start+bookpi.SegmentEntries {
			all = seen{}
		}
		ended, err := s.walk(ctx, at, start, all)
		if ended || err != nil {
			return err
		}
		if all != nil {
			s.p.names.learn(segment, all)
		}
		at = start
	}
	return nil
}

// sealed describes a segment whose entries are here and stay as they are.
func (p *Pod) sealed(number uint64) (store.Segment, bool) {
	if p.config.Archive == nil {
		return store.Segment{}, false
	}
	segment, err := p.config.Archive.Segment(number)
	return segment, err == nil && !segment.Archived
}

// walk looks at the entries [start, before), from the last down, and collects their names
// in all unless that is nil. ended says that nothing below them is wanted.
func (s *search) walk(ctx context.Context, before, start uint64, all seen) (ended bool, err error) {
	var failed error
	err = s.p.ledger.Records(before-1, true, func(r store.Record) bool {
		if r.Position < start {
			return false
		}
		if len(s.reply.Entries) == s.q.limit || s.bytes >= maxScannedBytes {
			next := r.Position + 1
			s.reply.Next, ended = &next, true
			return false
		}
		s.scanned++
		s.bytes += len(r.Payload)
		var e bookpi.Entry
		if e, failed = parse(r); failed != nil {
			return false
		}
		if ended = e.Timestamp < s.q.from; ended {
			return false
		}
		if all != nil {
			all.add(&e)
		}
		if visible(s.c, &e) && s.q.matches(&e) {
			s.reply.Entries = append(s.reply.Entries, s.p.show(ctx, r, &e, len(r.Payload) <= maxInline))
		}
		return ctx.Err() == nil
	})
	return ended, cmp.Or(err, failed, ctx.Err())
}
