package main

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
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
	siteCrowd = siteLoad{
		"tamv crowd", oursSetting + "; whom it tells that it is busy waits as long as it says and repeats the request under its id", evidenceLoad,
	}
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

// comeBack says whether an answer asks to come back later.
func comeBack(err error) bool {
	var e *tap.Error
	return errors.As(err, &e) && e.RetryAfter > 0 && (e.Kind == tap.Unavailable || e.Kind == tap.Limited)
}

// patience makes clients wait when they are told to, as a client that wants its
// record in the ledger does, and counts what they saw. It is safe for concurrent
// use.
type patience struct {
	mu       sync.Mutex      // guards what follows
	accepted []time.Duration // from the last time of asking to the acknowledgement
	busy     int             // answers that asked to come back later
	served   map[int]int     // acknowledgements by client
}

// polite is a client's worker that asks again until it is not told to wait. The
// node gives every client a time of his own, which needs no dice.
func (p *patience) polite(client int, work load.Worker) load.Worker {
	return func(ctx context.Context) error {
		for {
			began := time.Now()
			err := work(ctx)
			if !p.note(client, time.Since(began), err) {
				return err
			}
			timer := time.NewTimer(tap.AsError(err).RetryAfter)
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
func (p *patience) note(client int, took time.Duration, err error) (later bool) {
	later = comeBack(err)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case later:
		p.busy++
	case err == nil:
		p.accepted = append(p.accepted, took)
		p.served[client]++
	}
	return later
}

// reset begins to count anew for so many clients.
func (p *patience) reset(clients int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accepted, p.busy, p.served = nil, 0, map[int]int{}
	for client := range clients {
		p.served[client] = 0
	}
}

// crowdFigures is what clients saw who wait when they are told to. A time is that
// of the asking that was accepted, from sending to the acknowledgement, in
// milliseconds; the waiting before it is in load.Figures.
type crowdFigures struct {
	AcceptedP50 float64 `json:"accepted_p50_ms,omitempty"`
	AcceptedP95 float64 `json:"accepted_p95_ms,omitempty"`
	AcceptedP99 float64 `json:"accepted_p99_ms,omitempty"`
	Busy        int     `json:"busy,omitempty"`   // answers that asked to come back later
	Fewest      int     `json:"fewest,omitempty"` // records acknowledged to the client with the fewest
}

// seen sums up.
func (p *patience) seen() crowdFigures {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := crowdFigures{Busy: p.busy}
	if len(p.accepted) == 0 {
		return f
	}
	f.Fewest = slices.Min(slices.Collect(maps.Values(p.served)))
	slices.Sort(p.accepted)
	of := func(percent int) float64 { return load.Millis(p.accepted[(len(p.accepted)*percent-1)/100]) }
	f.AcceptedP50, f.AcceptedP95, f.AcceptedP99 = of(50), of(95), of(99)
	return f
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
		workers[i] = p.polite(i, workers[i])
	}
	p.reset(len(workers))
	if s.warmup > 0 {
		load.Run(ctx, workers, s.warmup)
	}
	p.reset(len(workers))
	before, err := load.TreeCPU(a.command.Process.Pid)
	if err != nil {
		return r, tap.Wrap("bench.ledger", tap.Unavailable, err, "the processes cannot be measured")
	}
	own := load.OwnCPU()
	r.Figures = load.Run(ctx, workers, s.duration)
	r.ClientCPU = load.Round(load.OwnCPU() - own)
	after, err := load.TreeCPU(a.command.Process.Pid)
	r.ServerCPU = load.Round(after - before)
	r.crowdFigures = p.seen()
	return r, errors.Join(err, ctx.Err())
}
