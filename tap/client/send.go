package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

// attempt is what came of sending a request to one node.
type attempt struct {
	reply *Reply
	err   error
	node  int  // index
	sent  bool // a connection was had, so the node may have got the request
	kept  bool // it had been used before
}

// Send signs the request under its own id, or a new one when it has none, and
// sends it. When the node cannot be reached, or says that it cannot serve, the
// next one is asked at once; when none is left, or the error is retryable
// otherwise, it tries again after a pause. The id stays and the signature is
// new each time, so that the request is applied at most once.
//
// Every error is a *tap.Error. With several nodes its details name the node
// that it comes from and how many were tried. The reply is not nil whenever the
// error is the appliance's answer. The request is not changed.
func (c *Client) Send(ctx context.Context, r *tap.Request) (*Reply, error) {
	named := *r
	if named.ID == uuid.Nil && named.Header[tap.HeaderRequestID] == "" {
		named.ID = newID()
	}
	pause := backoff.ExponentialBackOff{
		InitialInterval: 100 * time.Millisecond, Multiplier: 2, RandomizationFactor: 0.5, MaxInterval: 2 * time.Second,
	}
	pause.Reset()
	for left := c.config.Retries; ; left-- {
		a, wait := c.round(ctx, &named, &left)
		if a.err == nil || ctx.Err() != nil || left <= 0 || wait < 0 {
			return a.reply, a.err
		}
		timer := time.NewTimer(wait + pause.NextBackOff())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return a.reply, a.err
		}
	}
}

// round asks one node after the other until one serves. A request that a node
// had and did not finish in time counts as a retry when the next one gets it;
// left is what remains of them. wait says when another round makes sense;
// negative = never.
func (c *Client) round(ctx context.Context, r *tap.Request, left *int) (told attempt, wait time.Duration) {
	var tried nodeSet
	defer func() { told.err = c.placed(told, tried) }()
	wait = -1
	for {
		i := c.next(tried)
		tried = tried.with(i)
		a := c.visit(ctx, i, r, tried)
		if a.err == nil {
			return a, wait
		}
		if e := tap.AsError(a.err); retryable(e) && (wait < 0 || e.RetryAfter < wait) {
			wait = e.RetryAfter
		}
		// What a node answered says more than that another cannot be reached.
		if told.reply == nil || a.reply != nil || ctx.Err() != nil {
			told = a
		}
		switch {
		case ctx.Err() != nil || !elsewhere(a.err) || tried.count() == len(c.nodes):
			return told, wait
		case !a.sent: // the node knows nothing of it
		case c.config.Retries < 0:
			return told, wait
		case tap.IsKind(a.err, tap.Timeout):
			if *left <= 0 {
				return told, wait
			}
			*left--
		}
	}
}

// visit signs the request and sends it to a node. A kept connection that broke
// says little about the node: it gets the request once more on a new one.
func (c *Client) visit(ctx context.Context, i int, r *tap.Request, tried nodeSet) attempt {
	for again := false; ; again = true {
		signed := *r
		signed.Header = maps.Clone(r.Header)
		if err := c.Sign(&signed); err != nil {
			return attempt{err: err, node: i}
		}
		a := c.try(ctx, i, &signed, c.patience(ctx, r, tried))
		stale := a.kept && a.reply == nil && tap.AsError(a.err).StableCode() == CodeUnreachable
		if !stale || again || c.config.Retries < 0 || ctx.Err() != nil {
			return a
		}
		c.http.CloseIdleConnections()
	}
}

// DoRaw sends exactly this request once, to the first node that takes a
// connection: nothing is signed, named or retried. It serves those who made the
// signature themselves, or mean to be refused. Errors are those of
// [Client.Send].
func (c *Client) DoRaw(ctx context.Context, r *tap.Request) (*Reply, error) {
	var tried nodeSet
	for {
		i := c.next(tried)
		tried = tried.with(i)
		a := c.try(ctx, i, r, 0)
		if a.sent || ctx.Err() != nil || !elsewhere(a.err) || tried.count() == len(c.nodes) {
			return a.reply, c.placed(a, tried)
		}
	}
}

// errSilent ends a try at a node that makes no progress.
var errSilent = errors.New("no progress")

// try sends exactly this request to one node, at most once. A node that goes
// without progress for the limit, unless that is 0, counts as not reachable.
func (c *Client) try(ctx context.Context, i int, r *tap.Request, limit time.Duration) attempt {
	n := c.nodes[i]
	hr, err := n.request(r)
	if err != nil {
		return attempt{err: err, node: i}
	}
	within, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	alive := func() {}
	if limit > 0 {
		timer := time.AfterFunc(limit, func() { cancel(errSilent) })
		defer timer.Stop()
		alive = func() { timer.Reset(limit) }
	}
	var sent, kept atomic.Bool
	within = httptrace.WithClientTrace(within, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		sent.Store(true)
		kept.Store(info.Reused)
	}})
	reply, err := c.exchange(hr.WithContext(within), alive)
	if reply == nil && tap.AsError(err).Code != CodeReply {
		if context.Cause(within) == errSilent && ctx.Err() == nil {
			err = tap.E("client.connect", tap.Unavailable, "the node did not answer within %s", limit).WithCode(CodeUnreachable)
		} else {
			err = unreachable(ctx, err)
		}
		if ctx.Err() == nil {
			n.rests.Store(time.Now().Add(nodeRest).UnixNano())
		}
	} else {
		c.answered(i, err)
	}
	return attempt{reply, err, i, sent.Load(), kept.Load()}
}

// exchange sends the request and reads the reply, telling of each step. An
// error without a reply is net/http's, or has code CodeReply.
func (c *Client) exchange(hr *http.Request, alive func()) (*Reply, error) {
	response, err := c.http.Do(hr)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	alive()
	body, err := io.ReadAll(io.LimitReader(watched{response.Body, alive}, MaxReply+1))
	if err != nil {
		return nil, err
	}
	if len(body) > MaxReply {
		return nil, tap.E("client.reply", tap.Internal, "the reply is longer than %d bytes", MaxReply).WithCode(CodeReply)
	}
	reply := &Reply{
		Status: response.StatusCode, Header: response.Header, ContentType: response.Header.Get("Content-Type"),
		Body: body, RequestID: response.Header.Get("X-Request-Id"),
	}
	return reply, reply.err()
}

// watched tells of each part that was read.
type watched struct {
	io.Reader
	alive func()
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	w.alive()
	return n, err
}

// request makes the HTTP request with the path's escapes as they are, because
// they are signed.
//
// net/http sends a request again by itself when a kept connection breaks and it
// thinks that harmless. Ours carry a nonce that the node would see twice, so
// each of its reasons is taken away: GetBody, an empty body of a GET that it
// recognises as such, and the Idempotency-Key in the spelling it looks for.
func (n *node) request(r *tap.Request) (*http.Request, error) {
	target := n.base
	var err error
	target.RawPath, target.RawQuery = r.Path, r.RawQuery
	if target.Path, err = url.PathUnescape(r.Path); err != nil || target.EscapedPath() != r.Path || !strings.HasPrefix(r.Path, "/") {
		return nil, tap.E("client.request", tap.Invalid, "the path does not start with '/' or is not escaped")
	}
	hr, err := http.NewRequest(r.Method, target.String(), bytes.NewReader(r.Body))
	if err != nil {
		return nil, tap.Wrap("client.request", tap.Invalid, err, "the request cannot be sent over HTTP")
	}
	hr.GetBody = nil
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		if len(r.Body) == 0 {
			hr.Body = io.NopCloser(bytes.NewReader(nil))
		}
	}
	if len(r.Body) > 0 {
		hr.Header.Set("Content-Type", "application/json")
	}
	if r.Lang != "" {
		hr.Header.Set("Accept-Language", string(r.Lang))
	}
	for name, value := range r.Header {
		if name == tap.HeaderRequestID {
			hr.Header[name] = []string{value}
		} else {
			hr.Header.Set(name, value)
		}
	}
	return hr, nil
}

// elsewhere says whether another node may serve what this one did not: it
// cannot be reached, is not the appliance's, is cut off from the others, or has
// no room.
func elsewhere(err error) bool {
	e := tap.AsError(err)
	if e == nil || e.Code == CodeReply {
		return false
	}
	return e.Kind == tap.Unavailable || e.Kind == tap.Timeout || e.Code == CodeCertificate
}

// placed adds to an error which of several nodes it comes from.
func (c *Client) placed(a attempt, tried nodeSet) error {
	var e *tap.Error
	if len(c.nodes) == 1 || !errors.As(a.err, &e) {
		return a.err
	}
	host := c.nodes[a.node].base.Host
	if a.reply == nil {
		e.Message = fmt.Sprintf("%s (%d of %d nodes tried, the last %s)", e.Message, tried.count(), len(c.nodes), host)
	}
	return e.WithDetail("node", host).WithDetail("tried", tried.count())
}

// unreachable types a failure of the connection.
func unreachable(ctx context.Context, err error) error {
	var certificate *tls.CertificateVerificationError
	switch {
	case ctx.Err() != nil:
		return tap.AsError(ctx.Err())
	case errors.As(err, &certificate):
		return tap.Wrap("client.connect", tap.Unauthenticated, err, "the server's certificate is not from this appliance's CA").
			WithCode(CodeCertificate)
	}
	return tap.Wrap("client.connect", tap.Unavailable, err, "the appliance cannot be reached").WithCode(CodeUnreachable)
}
