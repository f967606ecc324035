package consensus

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Counters are a node's numbers since it was opened.
type Counters struct {
	Packs      uint64 // packs this node proposed that were committed and applied, empty ones included
	Commands   uint64 // commands in them
	Bytes      uint64 // bytes of those commands
	LogBytes   uint64 // bytes of the packs as they stand in the log, after compression
	Busy       uint64 // proposals refused because the queue was full
	Forwarded  uint64 // commands this node took to the leader that were committed and applied here
	Forwards   uint64 // frames they went in
	Reads      uint64 // reads answered by rounds: the linearizable ones, and on other members than the leader those of its state
	ReadRounds uint64 // rounds that answered them
	Confirms   uint64 // rounds for which this node, as leader, asked the other voters
	Queue      int    // proposals waiting now
	// PackCommands counts packs by their number of commands, PackMicros by the microseconds from packing to answer,
	// ForwardMicros the frames by those from sending to the outcome.
	PackCommands, PackMicros, ForwardMicros Histogram
}

// Histogram counts observations. Buckets[i] holds those of at most Bounds[i] and more than the bound before; one more
// bucket holds the rest.
type Histogram struct {
	Bounds  []uint64
	Buckets []uint64
	Sum     uint64
}

// histogram is the live form of Histogram.
type histogram struct {
	bounds  []uint64
	buckets []atomic.Uint64
	sum     atomic.Uint64
}

func newHistogram(bounds ...uint64) *histogram {
	return &histogram{bounds: bounds, buckets: make([]atomic.Uint64, len(bounds)+1)}
}

func (h *histogram) observe(v uint64) {
	i := 0
	for i < len(h.bounds) && v > h.bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(v)
}

func (h *histogram) read() Histogram {
	r := Histogram{Bounds: h.bounds, Buckets: make([]uint64, len(h.buckets)), Sum: h.sum.Load()}
	for i := range h.buckets {
		r.Buckets[i] = h.buckets[i].Load()
	}
	return r
}

// metrics are the live form of Counters.
type metrics struct {
	packs, commands, bytes, logBytes atomic.Uint64
	busy, reads, readRounds          atomic.Uint64
	forwarded, forwards              atomic.Uint64
	confirmRounds                    atomic.Uint64
	sizes, latency, forwardLatency   *histogram
}

func newMetrics() *metrics {
	micros := []uint64{250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000}
	return &metrics{
		sizes:          newHistogram(0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048),
		latency:        newHistogram(micros...),
		forwardLatency: newHistogram(micros...),
	}
}

// pack counts a pack that was applied and took entry bytes in the log.
func (m *metrics) pack(commands [][]byte, entry int) {
	size := 0
	for _, command := range commands {
		size += len(command)
	}
	m.packs.Add(1)
	m.commands.Add(uint64(len(commands)))
	m.bytes.Add(uint64(size))
	m.logBytes.Add(uint64(entry))
	m.sizes.observe(uint64(len(commands)))
}

// Counters returns the node's numbers.
func (n *Node) Counters() Counters {
	m := n.metrics
	return Counters{
		Packs: m.packs.Load(), Commands: m.commands.Load(), Bytes: m.bytes.Load(), LogBytes: m.logBytes.Load(),
		Busy: m.busy.Load(), Forwarded: m.forwarded.Load(), Forwards: m.forwards.Load(),
		Reads: m.reads.Load(), ReadRounds: m.readRounds.Load(), Confirms: m.confirmRounds.Load(),
		Queue:        len(n.packer.queue) + len(n.forwarder.queue),
		PackCommands: m.sizes.read(), PackMicros: m.latency.read(), ForwardMicros: m.forwardLatency.read(),
	}
}

// Metrics returns the node's Prometheus collectors, named tamv_consensus_*. Register each node in a registry of its own.
func (n *Node) Metrics() []prometheus.Collector {
	return []prometheus.Collector{collector{n}}
}

// collector reads everything at the moment of the scrape.
type collector struct {
	node *Node
}

func desc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("tamv_consensus_"+name, help, nil, nil)
}

var (
	descPacks      = desc("packs_total", "Packs committed and applied, proposed by this node.")
	descCommands   = desc("commands_total", "Commands in those packs.")
	descBytes      = desc("command_bytes_total", "Bytes of those commands.")
	descLogBytes   = desc("log_bytes_total", "Bytes of those packs in the log, after compression.")
	descBusy       = desc("busy_total", "Commands refused because the queue was full.")
	descForwarded  = desc("forwarded_commands_total", "Commands taken to the leader, committed and applied here.")
	descForwards   = desc("forwards_total", "Frames in which they went.")
	descReads      = desc("linearizable_reads_total", "Reads answered by rounds with the cluster.")
	descReadRounds = desc("read_rounds_total", "Rounds with the cluster that answered them.")
	descConfirms   = desc("confirm_rounds_total", "Rounds for which this node, as leader, asked the other voters.")
	descQueue      = desc("queue_length", "Commands waiting to be packed.")
	descTerm       = desc("term", "Current Raft term.")
	descLeader     = desc("leader", "1 while this node leads.")
	descCommit     = desc("commit_index", "Index of the last entry known to be committed.")
	descApplied    = desc("applied_index", "Index of the last entry that is part of the state.")
	descHalted     = desc("halted", "1 once the state machine could not continue.")
	descSizes      = desc("pack_commands", "Commands per pack.")
	descLatency    = desc("pack_seconds", "Seconds from packing to answer.")
	descForward    = desc("forward_seconds", "Seconds from sending commands to the leader to their outcome.")
)

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(c, out)
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	n, s := c.node.Counters(), c.node.State()
	send := func(d *prometheus.Desc, t prometheus.ValueType, v uint64) {
		out <- prometheus.MustNewConstMetric(d, t, float64(v))
	}
	send(descPacks, prometheus.CounterValue, n.Packs)
	send(descCommands, prometheus.CounterValue, n.Commands)
	send(descBytes, prometheus.CounterValue, n.Bytes)
	send(descLogBytes, prometheus.CounterValue, n.LogBytes)
	send(descBusy, prometheus.CounterValue, n.Busy)
	send(descForwarded, prometheus.CounterValue, n.Forwarded)
	send(descForwards, prometheus.CounterValue, n.Forwards)
	send(descConfirms, prometheus.CounterValue, n.Confirms)
	send(descReads, prometheus.CounterValue, n.Reads)
	send(descReadRounds, prometheus.CounterValue, n.ReadRounds)
	send(descQueue, prometheus.GaugeValue, uint64(n.Queue))
	send(descTerm, prometheus.GaugeValue, s.Term)
	send(descLeader, prometheus.GaugeValue, flag(s.Role == RoleLeader))
	send(descCommit, prometheus.GaugeValue, s.CommitIndex)
	send(descApplied, prometheus.GaugeValue, s.AppliedIndex)
	send(descHalted, prometheus.GaugeValue, flag(c.node.Err() != nil))
	out <- n.PackCommands.metric(descSizes, 1)
	out <- n.PackMicros.metric(descLatency, 1e-6)
	out <- n.ForwardMicros.metric(descForward, 1e-6)
}

// flag is a condition as a gauge.
func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// metric converts to Prometheus' cumulative buckets, in units of unit.
func (h Histogram) metric(d *prometheus.Desc, unit float64) prometheus.Metric {
	cumulative := make(map[float64]uint64, len(h.Bounds))
	var count uint64
	for i, n := range h.Buckets {
		count += n
		if i < len(h.Bounds) {
			cumulative[float64(h.Bounds[i])*unit] = count
		}
	}
	return prometheus.MustNewConstHistogram(d, count, float64(h.Sum)*unit, cumulative)
}
