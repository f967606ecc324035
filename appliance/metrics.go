package appliance

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tamv.internal/tamv/pods"
)

// requestMetrics counts what the server answered.
type requestMetrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newRequestMetrics(registry *prometheus.Registry) *requestMetrics {
	m := &requestMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "tamv", Name: "requests_total", Help: "Requests by pod, route and outcome (ok or an error kind).",
		}, []string{"pod", "route", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "tamv", Name: "request_seconds", Help: "Time from route to reply, commit included.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}, []string{"pod"}),
	}
	registry.MustRegister(m.requests, m.seconds)
	return m
}

func (m *requestMetrics) watch(row *pods.Row, outcome string, took time.Duration) {
	m.requests.WithLabelValues(row.Pod, row.Method+" "+row.Pattern, outcome).Inc()
	m.seconds.WithLabelValues(row.Pod).Observe(took.Seconds())
}
