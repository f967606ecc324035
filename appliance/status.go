package appliance

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/memory"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// statusPod serves what is asked about the node itself. It is a pod like any
// other, so that its routes stand in the one route table.
type statusPod struct {
	site, node string
	started    time.Time
	conditions *health
	registry   *prometheus.Registry
	ledger     interface{ Size() (uint64, bookpi.Hash) }
	clock      func() int64
	role       func() string
	models     []string
	memory     func() memory.Status
	openAPI    []byte // set once the table is complete
}

// statusReply is the body of GET /v1/status.
type statusReply struct {
	Release    string            `json:"release"`
	Site       string            `json:"site"`
	Node       string            `json:"node"`
	Role       string            `json:"role"`
	UptimeMs   int64             `json:"uptimeMs"`
	Ready      bool              `json:"ready"`
	Conditions []conditionReport `json:"conditions"`
	Ledger     ledgerStatus      `json:"ledger"`
	Memory     memory.Status     `json:"memory"`
	Models     []string          `json:"models"`
}

type ledgerStatus struct {
	Size  uint64      `json:"size"`
	Root  bookpi.Hash `json:"root"`
	Clock int64       `json:"clockMicros"`
}

// Manifest lists the routes about the node.
func (s *statusPod) Manifest() pods.Manifest {
	anyone := []tap.Role{tap.Anyone}
	return pods.Manifest{
		Name: "appliance",
		Summary: tap.Text{
			EN: "The node itself: whether it lives, whether it is ready, what it measures.",
			ES: "El propio nodo: si vive, si está listo, qué mide.",
		},
		Routes: []pods.Route{
			{Method: http.MethodGet, Pattern: "/health", Roles: anyone, Summary: "Liveness: the process answers.", Run: s.health},
			{Method: http.MethodGet, Pattern: "/ready", Roles: anyone, Summary: "Readiness: every condition by name; 503 when one does not hold.", Run: s.ready},
			{Method: http.MethodGet, Pattern: "/metrics", Roles: anyone, Summary: "Metrics in the Prometheus text format.", Run: s.metrics},
			{Method: http.MethodGet, Pattern: "/openapi.json", Roles: anyone, Summary: "This API as OpenAPI 3.1.", Run: s.describe},
			{Method: http.MethodGet, Pattern: "/v1/status", Roles: []tap.Role{tap.Operator, tap.Auditor}, Summary: "Release, role, ledger head and conditions.", AboutNode: true, Run: s.status},
		},
	}
}

func (s *statusPod) health(context.Context, *pods.Call) (*pods.Result, error) {
	return &pods.Result{Body: map[string]string{"status": "alive"}}, nil
}

func (s *statusPod) ready(context.Context, *pods.Call) (*pods.Result, error) {
	ready, rows := s.conditions.check()
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	return &pods.Result{Status: status, Body: map[string]any{"ready": ready, "conditions": rows}}, nil
}

func (s *statusPod) metrics(context.Context, *pods.Call) (*pods.Result, error) {
	families, err := s.registry.Gather()
	if err != nil {
		return nil, tap.Wrap("appliance.metrics", tap.Internal, err, "the metrics cannot be gathered")
	}
	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	var out bytes.Buffer
	encoder := expfmt.NewEncoder(&out, format)
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			return nil, tap.Wrap("appliance.metrics", tap.Internal, err, "the metrics cannot be written")
		}
	}
	return &pods.Result{Raw: out.Bytes(), Type: string(format)}, nil
}

func (s *statusPod) describe(context.Context, *pods.Call) (*pods.Result, error) {
	return &pods.Result{Raw: s.openAPI, Type: "application/json"}, nil
}

func (s *statusPod) status(_ context.Context, c *pods.Call) (*pods.Result, error) {
	size, root := s.ledger.Size()
	ready, rows := s.conditions.check()
	return &pods.Result{Body: statusReply{
		Release: tap.Release, Site: s.site, Node: s.node, Role: s.role(), UptimeMs: c.Now.Sub(s.started).Milliseconds(),
		Ready: ready, Conditions: rows, Ledger: ledgerStatus{size, root, s.clock()}, Memory: s.memory(), Models: s.models,
	}}, nil
}
