package consensus

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestMetrics(t *testing.T) {
	n := openLeader(t, testConfig(t, t.TempDir()), openChain(&chainDisk{}))
	for range 3 {
		mustPropose(t, n, "12345")
	}
	if err := n.Read(t.Context(), Linearizable); err != nil {
		t.Fatal(err)
	}
	c := n.Counters()
	if c.Packs != 4 || c.Commands != 3 || c.Bytes != 15 || c.LogBytes != 4*headerSize+3*6 || c.Reads != 1 || c.ReadRounds != 1 {
		t.Errorf("counters %+v", c)
	}
	if got := c.PackCommands.Buckets[:2]; got[0] != 1 || got[1] != 3 {
		t.Errorf("packs with no command, one command: %v", got)
	}

	r := prometheus.NewPedanticRegistry()
	for _, collector := range n.Metrics() {
		r.MustRegister(collector)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		m := f.Metric[0]
		got[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	for name, want := range map[string]float64{
		"packs_total": 4, "commands_total": 3, "command_bytes_total": 15, "leader": 1, "halted": 0, "queue_length": 0,
		"pack_commands": 4, "pack_seconds": 4, "linearizable_reads_total": 1, "applied_index": float64(n.State().AppliedIndex),
	} {
		if v, ok := got["tamv_consensus_"+name]; !ok || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
}

func TestHistogramBounds(t *testing.T) {
	h := newHistogram(1, 10)
	for _, v := range []uint64{0, 1, 2, 10, 11, 1 << 40} {
		h.observe(v)
	}
	if got := h.read(); got.Buckets[0] != 2 || got.Buckets[1] != 2 || got.Buckets[2] != 2 || got.Sum != 24+1<<40 {
		t.Errorf("%+v", got)
	}
}
