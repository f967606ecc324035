package anubis

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	attempts   *prometheus.CounterVec
	collectors []prometheus.Collector
}

func newMetrics(g *Gate) *metrics {
	m := &metrics{attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tamv_auth_attempts_total",
		Help: "Requests and handshakes that said who they are, by how that ended.",
	}, []string{"outcome"})}
	gauge := func(name, help string, value func() int) {
		m.collectors = append(m.collectors, prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) }))
	}
	m.collectors = append(m.collectors, m.attempts)
	gauge("tamv_auth_identities", "Identities enrolled, active and revoked.", g.directory.Len)
	gauge("tamv_auth_sessions", "TAP sessions open on this node.", g.sessions.len)
	gauge("tamv_auth_nonces", "Nonces remembered by this node.", g.nonces.len)
	gauge("tamv_auth_addresses", "Addresses with a rate bucket.", g.addresses.len)
	gauge("tamv_auth_attempt_rows", "Kinds of attempt counted since the last flush.", g.attempts.waiting)
	gauge("tamv_auth_pending_batches", "Batches of attempts and sessions that could not be committed yet.",
		func() int { return int(g.recorder.waiting.Load()) })
	return m
}

func (m *metrics) attempt(outcome string) { m.attempts.WithLabelValues(outcome).Inc() }

// Metrics is what the gate tells Prometheus.
func (g *Gate) Metrics() []prometheus.Collector { return g.metrics.collectors }
