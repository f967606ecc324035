package bookpi

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

const (
	defaultPage = 50
	maxPage     = 500
	// maxScanned is the entries that one call reads before it stops at the next segment,
	// and maxScannedBytes the payloads before it stops at once.
	maxScanned      = 50_000
	maxScannedBytes = 256 << 20
)

// query is what a list asks for.
type query struct {
	actor, action string
	prefix        bool  // action is a prefix
	from, to      int64 // microseconds, [from, to)
	before        uint64
	limit         int
}

func (q *query) matches(e *bookpi.Entry) bool {
	return (q.actor == "" || e.Actor == q.actor) && e.Timestamp < q.to &&
		(q.action == "" || e.Action == q.action || q.prefix && strings.HasPrefix(e.Action, q.action))
}

func (p *Pod) parseQuery(c *pods.Call) (query, error) {
	q, err := filters(c)
	if err != nil {
		return query{}, err
	}
	if q.limit, err = c.PageSize(defaultPage, maxPage); err != nil {
		return query{}, err
	}
	if q.from, err = instant(c.Query["from"], 0); err != nil {
		return query{}, err
	}
	if q.to, err = instant(c.Query["to"], math.MaxInt64); err != nil {
		return query{}, err
	}
	q.before, err = p.start(c, q.to)
	return q, err
}

// filters reads whose entries and which actions are asked for.
func filters(c *pods.Call) (query, error) {
	q := query{actor: c.Query["actor"], action: c.Query["action"], to: math.MaxInt64}
	if q.actor == "" && !c.Principal.Has(tap.Auditor) {
		q.actor = c.Actor()
	}
	if q.actor != c.Actor() && !c.Principal.Has(tap.Auditor) {
		return query{}, notOwn()
	}
	action, star := strings.CutSuffix(q.action, "*")
	q.action, q.prefix = action, star || strings.HasSuffix(action, ".")
	return q, nil
}

// start is the number of entries below which the list begins: those before "to"
// (entries are in the order of their time) and before "after".
func (p *Pod) start(c *pods.Call, to int64) (uint64, error) {
	size, _ := p.ledger.Size()
	if sent, ok := c.Query["after"]; ok {
		after, err := strconv.ParseUint(sent, 10, 63)
		if err != nil {
			return 0, badQuery(`"after" is no position`)
		}
		size = min(size, after)
	}
	if to == math.MaxInt64 {
		return size, nil
	}
	before, err := p.ledger.At(to)
	return min(size, before), err
}

// instant reads a time: RFC 3339, or microseconds since the Unix epoch.
func instant(s string, missing int64) (int64, error) {
	if s == "" {
		return missing, nil
	}
	if micros, err := strconv.ParseInt(s, 10, 64); err == nil && micros >= 0 {
		return micros, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, badQuery("a time is RFC 3339 (2026-01-31T12:00:00Z) or microseconds since 1970")
	}
	return t.UnixMicro(), nil
}

func badQuery(format string, args ...any) *tap.Error {
	return tap.E("bookpi.query", tap.Invalid, format, args...).WithCode("query")
}

// get shows one entry with its payload.
func (p *Pod) get(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	r, e, err := p.find(c)
	if err != nil {
		return nil, err
	}
	return &pods.Result{Body: p.show(ctx, r, &e, true)}, nil
}
