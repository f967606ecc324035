package anubis

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	attempts   *prometheus.CounterVec
	alerts     *prometheus.CounterVec
	withheld   prometheus.Counter
	collectors []prometheus.Collector
}

func newMetrics(g *Gate) *metrics {
	m := &metrics{attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tamv_auth_attempts_total",
		Help: "Requests and handshakes that said who they are, by how that ended.",
	}, []string{"outcome"})}
	m.alerts = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tamv_security_alerts_total", Help: "Alerts that this node raised, by pattern.",
	}, []string{"pattern"})
	m.withheld = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "tamv_security_withheld_total",
		Help: "Failures beyond a threshold that raised no alert because there were too many of them.",
	})
	m.collectors = append(m.collectors, m.attempts, m.alerts, m.withheld)
	m.gauge("tamv_auth_identities", "Identities enrolled, active and revoked.", g.directory.Len)
	m.gauge("tamv_auth_sessions", "TAP sessions open on this node.", g.sessions.len)
	m.gauge("tamv_auth_nonces", "Nonces remembered by this node.", g.nonces.len)
	m.gauge("tamv_auth_addresses", "Addresses with a rate bucket.", g.addresses.len)
	m.gauge("tamv_auth_attempt_rows", "Kinds of attempt counted since the last flush.", g.attempts.waiting)
	m.gauge("tamv_auth_pending_batches", "Batches of attempts and sessions that could not be committed yet.",
		func() int { return int(g.recorder.waiting.Load()) })
	return m
}

func (m *metrics) gauge(name, help string, value func() int) {
	m.collectors = append(m.collectors, prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) }))
}

// watch adds what the watchlist tells.
func (m *metrics) watch(w *Watchlist, now func() time.Time) {
	m.gauge("tamv_security_alerts_open", "Alerts that nobody acknowledged.", func() int { return w.Alerts().Open })
	m.gauge("tamv_security_blocked_addresses", "Addresses that are refused for now.", func() int { return w.inForce(now()) })
}

func (m *metrics) attempt(outcome string) { m.attempts.WithLabelValues(outcome).Inc() }

// Metrics is what the gate tells Prometheus.
func (g *Gate) Metrics() []prometheus.Collector { return g.metrics.collectors }
