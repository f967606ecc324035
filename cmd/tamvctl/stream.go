package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// silence is how long a stream may say nothing: a few of the appliance's heartbeats.
const silence = 50 * time.Second

// open is an answer that is being read while it is made.
type open struct {
	io.Reader
	close func()
}

func (o *open) Close() { o.close() }

// openStream sends a signed GET whose answer has no end, or is too long to wait for,
// to the first node that serves it.
func (a *app) openStream(ctx context.Context, path string, query url.Values) (*open, error) {
	config, err := a.config()
	if err != nil {
		return nil, err
	}
	signer, err := a.client()
	if err != nil {
		return nil, err
	}
	addresses := slices.DeleteFunc(append([]string{config.Address}, config.Addresses...), func(s string) bool { return s == "" })
	var first error
	for _, address := range slices.Compact(addresses) {
		stream, err := a.streamFrom(ctx, config, signer, address, path, query)
		if err == nil || !tap.AsError(err).Kind.Traits().Retryable {
			return stream, err
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// streamFrom asks one node. Nothing is sent twice on one connection, so that net/http
// does not repeat a nonce.
func (a *app) streamFrom(ctx context.Context, config client.Config, signer *client.Client, address, path string, query url.Values) (*open, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, tap.Wrap("tamvctl.stream", tap.Internal, err, "no randomness for a request id")
	}
	r := &tap.Request{ID: id, Method: http.MethodGet, Path: path, RawQuery: query.Encode(), Lang: a.lang}
	if err := signer.Sign(r); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	watch := time.AfterFunc(a.timeout, cancel) // until the answer begins
	target := strings.TrimSuffix(address, "/") + path
	if r.RawQuery != "" {
		target += "?" + r.RawQuery
	}
	hr, err := http.NewRequestWithContext(ctx, http.MethodGet, target, io.NopCloser(bytes.NewReader(nil)))
	if err != nil {
		cancel()
		return nil, tap.Wrap("tamvctl.stream", tap.Invalid, err, "the address is not one")
	}
	for name, value := range r.Header {
		hr.Header.Set(name, value)
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: config.CA, MinVersion: tls.VersionTLS13}, DisableKeepAlives: true, DisableCompression: true,
	}
	response, err := transport.RoundTrip(hr)
	if err != nil {
		cancel()
		return nil, streamError(err)
	}
	if response.StatusCode != http.StatusOK {
		defer cancel()
		defer response.Body.Close()
		return nil, answeredError(response)
	}
	watch.Reset(silence)
	return &open{alive{response.Body, watch}, func() { watch.Stop(); cancel(); response.Body.Close() }}, nil
}

// streamError types a connection that was not had, or broke.
func streamError(err error) error {
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return tap.Wrap("tamvctl.stream", tap.Unauthenticated, err, "the server's certificate is not from this appliance's CA").
			WithCode(client.CodeCertificate)
	}
	return tap.Wrap("tamvctl.stream", tap.Unavailable, err, "the appliance cannot be reached").WithCode(client.CodeUnreachable)
}

// answeredError is the error in an answer.
func answeredError(response *http.Response) error {
	const longest = 64 << 10
	raw, err := io.ReadAll(io.LimitReader(response.Body, longest))
	if err != nil {
		return streamError(err)
	}
	e, id, ok := tap.ParseErrorBody(raw)
	if !ok {
		return tap.E("tamvctl.stream", tap.Internal, "the server answered %s", response.Status).WithCode(client.CodeReply)
	}
	return &replyError{e, id}
}

// alive ends a stream that says nothing for too long.
type alive struct {
	io.Reader
	watch *time.Timer
}

func (r alive) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.watch.Reset(silence)
	}
	return n, err
}

// follow calls read again and again while its errors are such that the next try may
// go better, and no longer than the time allowed without progress. read says whether it
// got anywhere; a nil error ends it.
func (a *app) follow(ctx context.Context, read func() (progress bool, err error)) error {
	pause := backoff.ExponentialBackOff{
		InitialInterval: 100 * time.Millisecond, Multiplier: 2, RandomizationFactor: 0.5, MaxInterval: 5 * time.Second,
	}
	pause.Reset()
	last := time.Now()
	for {
		progress, err := read()
		if progress {
			last = time.Now()
			pause.Reset()
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		// Asking again makes no room on this machine's disk.
		if e := tap.AsError(err); !e.Kind.Traits().Retryable || e.Code == codeNoSpace {
			return err
		}
		wait := max(pause.NextBackOff(), tap.AsError(err).RetryAfter)
		if time.Since(last)+wait > a.timeout {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}
