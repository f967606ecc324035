package appliance

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/all"
	"tamv.internal/tamv/pods/anubis"
	evidence "tamv.internal/tamv/pods/bookpi"
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
func (n *node) assemble(key ledgerKey) (*parts, error) {
	cfg := n.cfg
	gate := anubis.New(anubis.Config{
		Directory: n.engines.directory, View: n.store, Writer: n.writer, Now: cfg.Now, Log: cfg.Logger, Limits: anubis.DefaultLimits(),
	})
	registry := prometheus.NewRegistry()
	metrics := newRequestMetrics(registry)
	status := &statusPod{
		node: cfg.Node, started: cfg.Now(), conditions: conditions(n.consensus, n.store, n.engines.classifier != nil), registry: registry,
		ledger: n.store, clock: n.store.Clock, role: func() string { return string(n.consensus.State().Role) },
		models: []string{n.engines.embedder.ID(), n.engines.classifier.ID()}, memory: n.engines.memory.Status,
	}
	guards := map[string]*pods.Guard{}
	every := append(all.Pods(all.Deps{
		Memory: n.engines.memory, Classifier: n.engines.classifier, Threshold: n.engines.embedder.RelevanceThreshold(),
		Active: n.engines.directory.Stands, Guards: guards,
		Ledger: n.store, Checkpoints: evidence.NewCheckpointer(n.store, key.signer), VerifierKey: key.verifier,
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
		Table: table, Gate: gate, Writer: n.writer, View: n.store, Now: cfg.Now, Guards: guards, Watch: metrics.watch,
	})
	p.hub = hub.New(hub.Config{
		Handler: p.server, Authenticator: gate, Rooms: &rooms{n.store, n.writer, cfg.Now}, Recorder: checkpoints{n.writer}, Now: cfg.Now,
		Node: cfg.Node, Epoch: uint64(cfg.Now().UnixMilli()),
	})
	n.engines.hub.Store(p.hub)
	register(registry, n, p)
	return p, nil
}

// register adds every part's metrics to the node's registry.
func register(registry *prometheus.Registry, n *node, p *parts) {
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(n.consensus.Metrics()...)
	registry.MustRegister(p.gate.Metrics()...)
	gauge := func(name, help string, read func() float64) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "tamv", Name: name, Help: help}, read))
	}
	gauge("ledger_entries", "Entries in the evidence ledger.", func() float64 { size, _ := n.store.Size(); return float64(size) })
	gauge("sessions", "TAP sessions that are ready.", func() float64 { return float64(p.hub.Sessions()) })
	gauge("rooms", "Rooms in memory.", func() float64 { return float64(p.hub.Rooms()) })
	gauge("memory_documents", "Documents in civilizational memory.", func() float64 { return float64(n.engines.memory.Status().Documents) })
}
