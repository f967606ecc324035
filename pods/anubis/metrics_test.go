package anubis

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// gather reads every metric's value, summed over its labels.
func gather(t *testing.T, collectors []prometheus.Collector) map[string]float64 {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collectors...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			found[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return found
}
