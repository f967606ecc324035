package appliance

import (
	"context"
	"hash/fnv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"tamv.internal/tamv/consensus"
	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/all"
	"tamv.internal/tamv/pods/anubis"
	evidence "tamv.internal/tamv/pods/bookpi"
	members "tamv.internal/tamv/pods/cluster"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/hub"
)

// parts is everything above the state: the way of a request.
type parts struct {
	gate   *anubis.Gate
	server *pods.Server
	hub    *hub.Hub
}

// assemble joins gate, pods, route table, server and hub.
func (n *node) assemble() (*parts, error) {
	cfg, now := n.cfg, n.clock.Now
	gate := anubis.New(anubis.Config{
		Directory: n.engines.directory, View: n.store, Writer: n.writer, Now: now, Log: cfg.Logger, Limits: anubis.DefaultLimits(),
		Watchlist: n.engines.watchlist, Exempt: n.exempt,
		Fresh: func(ctx context.Context) error { return n.fresh(ctx, pods.FromLeader) },
	})
	registry := prometheus.NewRegistry()
	metrics := newRequestMetrics(registry)
	health := newHealth(registry, n.conditions())
	n.health.Store(health)
	status := &statusPod{
		site: n.settings.Site, node: n.settings.Node, started: now(), conditions: health, registry: registry,
		ledger: n.store, clock: n.store.Clock, role: func() string { return string(n.consensus.State().Role) },
		models: []string{n.engines.embedder.ID(), n.engines.classifier.ID()}, memory: n.engines.memory.Status,
	}
	guards := map[string]*pods.Guard{}
	every := append(all.Pods(all.Deps{
		Memory: n.engines.memory, Classifier: n.engines.classifier, Threshold: n.engines.embedder.RelevanceThreshold(),
		Active: n.engines.directory.Stands, Guards: guards,
		Ledger: n.store, Evidence: evidence.Config{Notary: n.notary, Archive: n.store, OpenLog: cfg.OpenLog, Opener: n.secrets.sealer},
		Tenant: cfg.Tenant, Held: n.secrets.ring.Held,
		Cluster: members.Config{Tenant: cfg.Tenant, Replication: replication{n}, Trust: trust{n}, Refused: n.refusals.Note},
	}), status)
	table, err := pods.NewTable(every...)
	if err != nil {
		return nil, tap.Wrap("appliance.assemble", tap.Internal, err, "the route table is inconsistent: %v", err)
	}
	if status.openAPI, err = table.OpenAPI("TAMV appliance", tap.Release); err != nil {
		return nil, err
	}
	for _, p := range every {
		if m := p.Manifest(); guards[m.Name] == nil {
			guards[m.Name] = pods.NewGuard(m)
		}
	}
	p := &parts{gate: gate}
	p.server = pods.NewServer(pods.ServerConfig{
		Table: table, Gate: gate, Writer: n.writer, View: n.store, Now: now, Guards: guards, Watch: metrics.watch, Fresh: n.fresh,
	})
	p.hub = hub.New(hub.Config{
		Handler: p.server, Authenticator: gate, Rooms: &rooms{n.store, n.writer, now}, Recorder: checkpoints{n.writer}, Now: now,
		Node: n.settings.Node, Epoch: roomEpoch(n.settings.Node, now()),
	})
	n.engines.hub.Store(p.hub)
	register(registry, n, p)
	return p, nil
}

// roomEpoch makes the epochs of this run's rooms differ from those of other runs
// and other nodes, within the 41 bits that leave a room's epoch exact in JSON.
func roomEpoch(node string, started time.Time) uint64 {
	h := fnv.New64a()
	h.Write([]byte(node))
	return (uint64(started.UnixMilli()) ^ h.Sum64()) & (1<<41 - 1)
}

// fresh waits until the state that this node reads is as fresh as asked, and
// gives up when that takes long: a node whose disk is full hears of the leader's
// state and cannot reach it.
func (n *node) fresh(ctx context.Context, c pods.Consistency) error {
	kind := consensus.Leader
	switch c {
	case pods.Local:
		return nil
	case pods.Linearizable:
		kind = consensus.Linearizable
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return patiently(ctx, n.consensus, func(ctx context.Context) error { return n.consensus.Read(ctx, kind) })
}

// register adds every part's metrics to the node's registry.
func register(registry *prometheus.Registry, n *node, p *parts) {
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(n.consensus.Metrics()...)
	registry.MustRegister(p.gate.Metrics()...)
	registry.MustRegister(n.engines.memory.Metrics()...)
	gauge := func(name, help string, read func() float64) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "tamv", Name: name, Help: help}, read))
	}
	gauge("ledger_entries", "Entries in the evidence ledger.", func() float64 { size, _ := n.store.Size(); return float64(size) })
	gauge("sessions", "TAP sessions that are ready.", func() float64 { return float64(p.hub.Sessions()) })
	gauge("rooms", "Rooms in memory.", func() float64 { return float64(p.hub.Rooms()) })
	gauge("admission_limit", "Writing requests that may be in flight before the next is refused.", func() float64 { return float64(p.server.AdmissionLimit()) })
	registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: "tamv", Name: "admission_refused_total", Help: "Writing requests that were told to come back later, because too many were in flight.",
	}, func() float64 { return float64(p.server.AdmissionsRefused()) }))
	gauge("memory_documents", "Documents in civilizational memory.", func() float64 { return float64(n.engines.memory.Status().Documents) })
}
