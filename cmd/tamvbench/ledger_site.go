package main

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"tamv.internal/tamv/cmd/tamvbench/load"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// siteLoad is a way of putting records into a site.
type siteLoad struct {
	name    string
	setting string
	prepare preparation
}

var (
	siteSessions = siteLoad{ours, oursSetting, evidenceLoad}
	siteSigned   = siteLoad{
		"tamv https", "POST /v1/evidence, each request signed by its client (RFC 9421) and its nonce spent; acknowledged when durable", signedLoad,
	}
	siteCrowd = siteLoad{"tamv crowd", oursSetting + "; whom it tells that it is busy waits as long as it says", evidenceLoad}
)

// signedLoad gives every client an identity and a connection of its own.
func signedLoad(ctx context.Context, s settings, site *site) ([]load.Worker, func(), error) {
	var clients []*client.Client
	stop := func() {
		for _, c := range clients {
			c.Close()
		}
	}
	devices, err := site.enrolAll(ctx, s.clients, tap.Device)
	if err != nil {
		return nil, stop, err
	}
	var workers []load.Worker
	for i, device := range devices {
		c, err := site.as(i, device)
		if err != nil {
			return nil, stop, err
		}
		clients = append(clients, c)
		next := records(i, s.record)
		workers = append(workers, func(ctx context.Context) error { return postOnce(ctx, c, next()) })
	}
	return workers, stop, nil
}

func postOnce(ctx context.Context, c *client.Client, record []byte) error {
	reply, err := c.Do(ctx, "POST", "/v1/evidence", nil, json.RawMessage(record))
	if err != nil {
		return err
	}
	var receipt struct {
		EvidenceHash bookpi.Hash `json:"evidenceHash"`
	}
	if err := reply.Decode(&receipt); err != nil {
		return err
	}
	if receipt.EvidenceHash == (bookpi.Hash{}) {
		return tap.E("bench.ledger", tap.Internal, "a reply without an evidence hash, status %d", reply.Status)
	}
	return nil
}

// patience makes clients wait when they are told to, as a client that wants its
// record in the ledger does, and counts what they saw. It is safe for concurrent
// use.
type patience struct {
	mu       sync.Mutex      // guards what follows
	accepted []time.Duration // from the last time of asking to the acknowledgement
	busy     int             // answers that asked to come back later
}

// polite is a worker that asks again until it is not told to wait.
func (p *patience) polite(work load.Worker) load.Worker {
	return func(ctx context.Context) error {
		for {
			began := time.Now()
			err := work(ctx)
			if !p.note(time.Since(began), err) {
				return err
			}
			// Not all at once, or the same crowd comes again.
			wait := tap.AsError(err).RetryAfter
			timer := time.NewTimer(wait + rand.N(wait))
			select {
			case <-ctx.Done():
				timer.Stop()
				return ctx.Err()
			case <-timer.C:
			}
		}
	}
}

// note counts an answer and says whether it asks to come back later.
func (p *patience) note(took time.Duration, err error) (later bool) {
	var e *tap.Error
	later = errors.As(err, &e) && e.RetryAfter > 0 && (e.Kind == tap.Unavailable || e.Kind == tap.Limited)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case later:
		p.busy++
	case err == nil:
		p.accepted = append(p.accepted, took)
	}
	return later
}

// reset begins to count anew.
func (p *patience) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accepted, p.busy = nil, 0
}

// seen is the 95th percentile of the accepted in milliseconds and the number of
// those who had to wait.
func (p *patience) seen() (p95 float64, busy int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.accepted) == 0 {
		return 0, p.busy
	}
	slices.Sort(p.accepted)
	return load.Millis(p.accepted[(len(p.accepted)*95-1)/100]), p.busy
}

// site starts a site, puts a load on it and stops it.
func (s *ledgerSettings) site(ctx context.Context, l siteLoad, clients int) (_ ledgerRun, err error) {
	r := ledgerRun{System: l.name, Version: tap.Release, Setting: l.setting, Nodes: s.nodes, Clients: clients, Record: s.record}
	a, err := startDaemon(ctx, s.tamvd, s.dir, s.nodes)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	settings := s.loadOf(clients, a.context)
	site, err := openSite(ctx, settings)
	if err != nil {
		return r, err
	}
	defer site.operator.Close() // no identity outlives the folder
	if len(site.nodes) != s.nodes {
		return r, tap.E("bench.ledger", tap.Internal, "the appliance runs %d nodes instead of %d", len(site.nodes), s.nodes)
	}
	workers, stop, err := l.prepare(ctx, settings, site)
	defer stop()
	if err != nil {
		return r, err
	}
	var p patience
	for i := range workers {
		workers[i] = p.polite(workers[i])
	}
	if s.warmup > 0 {
		load.Run(ctx, workers, s.warmup)
	}
	p.reset()
	before, err := load.TreeCPU(a.command.Process.Pid)
	if err != nil {
		return r, tap.Wrap("bench.ledger", tap.Unavailable, err, "the processes cannot be measured")
	}
	own := load.OwnCPU()
	r.Figures = load.Run(ctx, workers, s.duration)
	r.ClientCPU = load.Round(load.OwnCPU() - own)
	after, err := load.TreeCPU(a.command.Process.Pid)
	r.ServerCPU = load.Round(after - before)
	r.AcceptedP95, r.Busy = p.seen()
	return r, errors.Join(err, ctx.Err())
}
