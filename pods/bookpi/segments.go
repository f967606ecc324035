package bookpi

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"strconv"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Archive is the sealed part of the ledger, file by file. A [store.Store] is one.
type Archive interface {
	// Segments is how many segments are sealed and how many of these, the first
	// ones, are archived.
	Segments() (sealed, archived uint64)
	Segment(number uint64) (store.Segment, error)
	// OpenSegment opens a segment's file; NotFound, code "archived", when it has
	// left the site.
	OpenSegment(number uint64) (*os.File, store.Segment, error)
	// Archive is the operation that makes a segment's entries leave the site.
	Archive(number uint64) (store.Op, error)
	// DiskUse is the bytes of segments with their entries, of what is left of
	// archived ones, and of what those had before.
	DiskUse() (entries, leaves, archived int64)
}

const (
	segmentType     = "application/octet-stream"
	segmentsPage    = 100
	maxSegmentsPage = 1000
)

// segmentRoutes are about the files of the ledger. They carry all tenants'
// entries, so they are for those who run the site.
func (p *Pod) segmentRoutes() []pods.Route {
	operators := []tap.Role{tap.Operator}
	return []pods.Route{
		{
			Method: "GET", Pattern: "/v1/evidence/segments", Summary: "The ledger's sealed files: what they hold, and what is archived",
			Roles: []tap.Role{tap.Operator, tap.Auditor}, Reply: segmentsSchema, Run: p.ours(p.segments), Query: []pods.Parameter{
				{Name: "after", Summary: "continue behind this segment", Integer: true},
				{Name: "limit", Summary: "segments per page, 1 to 1,000", Integer: true},
			},
		},
		{
			Method: "GET", Pattern: "/v1/evidence/segments/{number}/file", Summary: "Copy a segment's file out, before it is archived",
			Roles: operators, Run: p.ours(p.segmentFile),
		},
		{
			Method: "POST", Pattern: "/v1/evidence/segments/{number}/archive", Summary: "Let a segment's entries leave the site; proofs stay",
			Roles: operators, Body: archiveSchema, Reply: archivedSchema, BodyLimit: 4 << 10, Run: p.ours(p.archive),
		},
	}
}

type segmentShown struct {
	Number   uint64 `json:"number"`
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
	SHA256   string `json:"sha256"`
	Bytes    int64  `json:"bytes"`
	Archived bool   `json:"archived"`
}

func showSegment(s store.Segment) segmentShown {
	return segmentShown{s.Number, s.First, s.Last, hex.EncodeToString(s.SHA256[:]), s.Bytes, s.Archived}
}

type segmentsReply struct {
	Sealed   uint64         `json:"sealed"`   // segments, counted from 0
	Archived uint64         `json:"archived"` // the first ones of these
	Bytes    segmentsBytes  `json:"bytes"`    // on this node's disk
	Segments []segmentShown `json:"segments"`
	Next     *uint64        `json:"next,omitempty"`
}

type segmentsBytes struct {
	Entries  int64 `json:"entries"`
	Leaves   int64 `json:"leaves"`
	Archived int64 `json:"archived"` // no longer here
}

func (p *Pod) segments(_ context.Context, c *pods.Call) (*pods.Result, error) {
	limit, err := c.PageSize(segmentsPage, maxSegmentsPage)
	if err != nil {
		return nil, err
	}
	first := uint64(0)
	if sent, ok := c.Query["after"]; ok {
		after, err := strconv.ParseUint(sent, 10, 62)
		if err != nil {
			return nil, badQuery(`"after" is the number of a segment`)
		}
		first = after + 1
	}
	reply := segmentsReply{Segments: []segmentShown{}}
	reply.Sealed, reply.Archived = p.config.Archive.Segments()
	reply.Bytes.Entries, reply.Bytes.Leaves, reply.Bytes.Archived = p.config.Archive.DiskUse()
	for number := first; number < reply.Sealed; number++ {
		if len(reply.Segments) == limit {
			last := number - 1
			reply.Next = &last
			break
		}
		s, err := p.config.Archive.Segment(number)
		if err != nil {
			return nil, err
		}
		reply.Segments = append(reply.Segments, showSegment(s))
	}
	return &pods.Result{Body: reply}, nil
}

// segmentNumber reads the number in the path.
func segmentNumber(c *pods.Call) (uint64, error) {
	number, err := strconv.ParseUint(c.Params["number"], 10, 62)
	if err != nil || strconv.FormatUint(number, 10) != c.Params["number"] {
		return 0, tap.E("bookpi.segment", tap.NotFound, "the ledger has no such segment")
	}
	return number, nil
}

func (p *Pod) segmentFile(_ context.Context, c *pods.Call) (*pods.Result, error) {
	number, err := segmentNumber(c)
	if err != nil {
		return nil, err
	}
	return &pods.Result{Type: segmentType, Stream: func(ctx context.Context, w io.Writer, flush func() error) error {
		end, err := p.streams.begin(c)
		if err != nil {
			return err
		}
		defer end()
		f, segment, err := p.config.Archive.OpenSegment(number)
		if err != nil {
			return err
		}
		defer f.Close()
		for left := segment.Bytes; left > 0; {
			if ctx.Err() != nil {
				return tap.AsError(ctx.Err())
			}
			n, err := io.CopyN(w, f, min(left, exportChunk))
			if left -= n; err != nil {
				return err
			}
			if err := flush(); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}

// exportChunk is how much of a file is written between two looks at whether
// anybody still reads.
const exportChunk = 1 << 20

// archived is what the ledger keeps of a segment that left the site, and what
// who asked for it is answered.
type archived struct {
	segmentShown
	Target string `json:"target"` // where the copy is, in the operator's words
}

// archive lets a segment's entries leave every member. Whoever asks states the
// hash of the copy: that there is one, and that it is whole, is not taken on trust
// by the site and not checked by it either.
func (p *Pod) archive(_ context.Context, c *pods.Call) (*pods.Result, error) {
	number, err := segmentNumber(c)
	if err != nil {
		return nil, err
	}
	var body struct{ SHA256, Target string }
	if err := json.Unmarshal(c.Body, &body); err != nil {
		return nil, tap.Wrap("bookpi.archive", tap.Invalid, err, "the body is malformed")
	}
	segment, err := p.config.Archive.Segment(number)
	if err != nil {
		return nil, err
	}
	told := archived{showSegment(segment), body.Target}
	if body.SHA256 != told.SHA256 {
		return nil, tap.E("bookpi.archive", tap.Conflict, "segment %d has another hash than the copy; copy it again", number).
			WithCode("archive").WithDetail("sha256", told.SHA256)
	}
	op, err := p.config.Archive.Archive(number)
	if err != nil {
		return nil, err
	}
	told.Archived = true
	payload, err := json.Marshal(told)
	if err != nil {
		return nil, err
	}
	return &pods.Result{
		Body: told, Ops: []store.Op{op},
		Evidence: []store.Evidence{{Actor: c.Actor(), Action: "log.archived", Outcome: "ok", Payload: payload}},
	}, nil
}
