package memory

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Status counts what memory holds.
type Status struct {
	Model     string `json:"model"`      // id of the embedder in use
	Documents int    `json:"documents"`  // of all tenants, stale ones included
	Stale     int    `json:"stale"`      // with a vector of another engine: found by words alone
	Own       int    `json:"ownVectors"` // with a vector that came with them
	Words     int    `json:"words"`      // different words, summed over the tenants
	Bytes     int64  `json:"bytes"`      // of main memory, estimated
}

// Status counts the documents of all tenants.
func (p *Pod) Status() Status { return p.indexes.status() }

func (x *indexes) status() Status {
	x.mu.RLock()
	defer x.mu.RUnlock()
	s := Status{Model: x.embedder.model}
	for _, t := range x.byTenant {
		t.mu.RLock()
		s.Documents += len(t.numbers)
		s.Stale += t.stale
		s.Own += t.own
		s.Words += len(t.lexicon.ids)
		s.Bytes += t.bytes()
		t.mu.RUnlock()
	}
	return s
}

// bytes estimates the memory of a tenant's index: vectors, words, and for each
// document its entry and its ids.
func (t *index) bytes() int64 {
	const perDocument, perDimension = 360, 5
	n := t.lexicon.bytes() + int64(len(t.entries))*perDocument
	for s, v := range t.vectors {
		n += int64(v.index.Len()) * int64(perDimension*s.dim)
	}
	return n
}

// Metrics describe what memory holds and takes. They are named as in [Status].
func (p *Pod) Metrics() []prometheus.Collector {
	gauge := func(name, help string, read func(Status) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "tamv", Subsystem: "memory", Name: name, Help: help},
			func() float64 { return read(p.Status()) })
	}
	return []prometheus.Collector{
		gauge("stale_documents", "Documents with a vector of another engine than the one in use.", func(s Status) float64 { return float64(s.Stale) }),
		gauge("own_vectors", "Documents whose vector came with them.", func(s Status) float64 { return float64(s.Own) }),
		gauge("words", "Different words in the index.", func(s Status) float64 { return float64(s.Words) }),
		gauge("index_bytes", "Main memory that the index takes, estimated.", func(s Status) float64 { return float64(s.Bytes) }),
	}
}
