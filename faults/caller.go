package faults

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

const (
	attemptTimeout = 2 * time.Second       // for one node to answer
	patient        = 25 * time.Second      // for a client that repeats
	betweenTries   = 50 * time.Millisecond // so that a cluster without a leader is not flooded
)

// notDoneCodes are what a node says that began nothing.
var notDoneCodes = map[string]bool{"disk_full": true, "starting": true, "not_leader": true, "busy": true}

// Nodes are the clients of one identity at every node, in a fixed order. It is
// asked before each attempt, because nodes come and go.
type Nodes func() []*client.Client

// Operation is one request of a workload.
type Operation struct {
	Method, Path string
	Query        url.Values
	Body         any
	// Repeat makes the caller send it again, under the same request id and to the
	// next node, until somebody answers for certain.
	Repeat bool
}

// Answer is how an operation ended.
type Answer struct {
	ID      uuid.UUID // of the request
	Outcome Outcome
	Span    Span
	Reply   *client.Reply // of an acknowledged operation
	Err     error         // the last attempt's, of any other
}

// Caller sends the operations of one workload and notes how they end.
type Caller struct {
	Nodes   Nodes
	Journal *Journal
}

// Do sends an operation to the node with that number, modulo their count. ctx is
// the scenario's life and not the load's: an operation that was begun is seen
// through, so that few are unknown.
func (c *Caller) Do(ctx context.Context, o Operation, first int) Answer {
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	body, err := json.Marshal(o.Body)
	if err != nil || o.Body == nil {
		body = nil
	}
	a := Answer{ID: uuid.Must(uuid.NewV7()), Outcome: Refused, Span: Span{Start: c.Journal.Now()}}
	r := &tap.Request{ID: a.ID, Method: o.Method, Path: o.Path, RawQuery: o.Query.Encode(), Body: body}
	for try := 0; ; try++ {
		nodes := c.Nodes()
		// What was begun is seen through: given up in the middle it would be unknown.
		attempt, stop := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
		a.Reply, a.Err = nodes[(first+try)%len(nodes)].Send(attempt, r)
		stop()
		a.Span.End = c.Journal.Now()
		if a.Err == nil {
			a.Outcome = Acknowledged
			break
		}
		verdict := judge(a.Err)
		if verdict == mayHaveHappened {
			a.Outcome = Unknown
		}
		if verdict == refusedForGood || !o.Repeat && verdict == mayHaveHappened || !pause(ctx, betweenTries) {
			break
		}
	}
	c.Journal.Note(a.Outcome, a.Span, o.Method != "GET")
	return a
}

// pause waits; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// attemptVerdict is what one failed attempt says about its operation.
type attemptVerdict int

const (
	notDone         attemptVerdict = iota // another node may be asked
	refusedForGood                        // asking again is pointless
	mayHaveHappened                       // the answer never came, or was no answer
)

// judge reads an attempt's error. Only what can never have been committed counts as
// not done: any other Unavailable or Timeout may hide a command that is on its way.
func judge(err error) attemptVerdict {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return notDone
	}
	e := tap.AsError(err)
	switch e.Kind {
	case tap.Invalid, tap.Forbidden, tap.Refused, tap.Held:
		return refusedForGood
	case tap.Unauthenticated, tap.NotFound, tap.Conflict, tap.Limited:
		// The node may be behind, or its clock wrong, or somebody was faster.
		return notDone
	}
	if notDoneCodes[e.Code] {
		return notDone
	}
	return mayHaveHappened
}
