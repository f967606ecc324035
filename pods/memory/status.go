package memory

import (
	"github.com/prometheus/client_golang/prometheus"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/vector"
)

// Status counts what memory holds.
type Status struct {
	Model     string  `json:"model"`      // id of the embedder in use
	Documents int     `json:"documents"`  // of all tenants, stale ones included
	Stale     int     `json:"stale"`      // with a vector of another engine: found by words alone
	Own       int     `json:"ownVectors"` // with a vector that came with them
	Words     int     `json:"words"`      // different words, summed over the tenants
	Bytes     int64   `json:"bytes"`      // of main memory: vectors and, estimated, the rest
	Vectors   Vectors `json:"vectors"`    // of all indexes
	Building  int     `json:"building"`   // indexes that are being made anew
	Made      int     `json:"made"`       // documents in these so far, of ToMake
	ToMake    int     `json:"toMake"`     // documents that these will have; 0 until they are counted
	Graphless int     `json:"graphless"`  // indexes that stand in for those: searches compare all their vectors
	Differing int     `json:"differing"`  // indexes that are not what the site has recorded: see [Pod.Health]
}

// Vectors says what the indexes of vectors hold and take, in rows and bytes. Bytes
// of a saved index are counted though the kernel may evict them.
type Vectors struct {
	Live  int   `json:"live"`
	Dead  int   `json:"dead"` // deleted or replaced; the next marker clears them away
	Codes int64 `json:"codes"`
	Links int64 `json:"links"`
	Exact int64 `json:"exact"` // float32 rows
	Names int64 `json:"names"`
	Other int64 `json:"other"`
}

func (v *Vectors) add(s *vector.Stats) {
	v.Live, v.Dead = v.Live+s.Vectors, v.Dead+s.Dead
	v.Codes, v.Links, v.Exact = v.Codes+s.Memory.Codes, v.Links+s.Memory.Links, v.Exact+s.Memory.Floats
	v.Names, v.Other = v.Names+s.Memory.Names, v.Other+s.Memory.Other
}

func (v *Vectors) total() int64 { return v.Codes + v.Links + v.Exact + v.Names + v.Other }

// Status counts the documents of all tenants.
func (p *Pod) Status() Status {
	s := p.indexes.status()
	s.Building, s.Made, s.ToMake = int(p.jobs.Load()), int(p.made.Load()), int(p.all.Load())
	return s
}

// Health is an error while an index of this node has other bytes than the site has
// recorded: its memory, its disk or its release is not to be trusted. The next
// marker makes the index anew.
func (p *Pod) Health() error {
	if n := p.indexes.status().Differing; n > 0 {
		return tap.E("memory.health", tap.Internal, "%d indexes of memory on this node are not those that the site has recorded", n).WithCode("index_differs")
	}
	return nil
}

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
		for _, v := range t.vectors {
			figures := v.index.Stats()
			s.Vectors.add(&figures)
			if v.differs {
				s.Differing++
			}
			if v.substitute {
				s.Graphless++
			}
		}
		t.mu.RUnlock()
	}
	s.Bytes += s.Vectors.total()
	return s
}

// bytes estimates what a tenant's index takes beside vectors: words, for each
// document its entry and its ids, and the lists of pairs.
func (t *index) bytes() int64 {
	const perDocument, perPair = 400, 110
	return t.lexicon.bytes() + int64(len(t.entries))*perDocument + int64(len(t.pairs))*perPair
}

// Metrics describe what memory holds and takes. They are named as in [Status].
func (p *Pod) Metrics() []prometheus.Collector {
	gauge := func(name, help string, labels prometheus.Labels, read func(Status) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "tamv", Subsystem: "memory", Name: name, Help: help, ConstLabels: labels},
			func() float64 { return read(p.Status()) })
	}
	all := []prometheus.Collector{
		gauge("stale_documents", "Documents with a vector of another engine than the one in use.", nil, func(s Status) float64 { return float64(s.Stale) }),
		gauge("own_vectors", "Documents whose vector came with them.", nil, func(s Status) float64 { return float64(s.Own) }),
		gauge("words", "Different words in the index.", nil, func(s Status) float64 { return float64(s.Words) }),
		gauge("index_bytes", "Main memory that the index takes: vectors and, estimated, the rest.", nil, func(s Status) float64 { return float64(s.Bytes) }),
		gauge("indexes_building", "Indexes of vectors that are being made anew.", nil, func(s Status) float64 { return float64(s.Building) }),
		gauge("indexes_graphless", "Indexes of vectors without a graph, until it is made: searches compare all their vectors.", nil, func(s Status) float64 { return float64(s.Graphless) }),
		gauge("indexes_differing", "Indexes of vectors that are not what the site has recorded.", nil, func(s Status) float64 { return float64(s.Differing) }),
	}
	for state, read := range map[string]func(*Vectors) int{
		"live": func(v *Vectors) int { return v.Live },
		"dead": func(v *Vectors) int { return v.Dead },
	} {
		all = append(all, gauge("vector_rows", "Rows of the indexes of vectors: live, or dead until the next marker.",
			prometheus.Labels{"state": state}, func(s Status) float64 { return float64(read(&s.Vectors)) }))
	}
	for state, read := range map[string]func(Status) int{
		"made": func(s Status) int { return s.Made },
		"all":  func(s Status) int { return s.ToMake },
	} {
		all = append(all, gauge("building_documents", "Documents of the indexes that are being made anew: so far, and in the end.",
			prometheus.Labels{"state": state}, func(s Status) float64 { return float64(read(s)) }))
	}
	for part, read := range map[string]func(*Vectors) int64{
		"codes": func(v *Vectors) int64 { return v.Codes },
		"links": func(v *Vectors) int64 { return v.Links },
		"exact": func(v *Vectors) int64 { return v.Exact },
		"names": func(v *Vectors) int64 { return v.Names },
		"other": func(v *Vectors) int64 { return v.Other },
	} {
		all = append(all, gauge("vector_bytes", "What the indexes of vectors take, by part.",
			prometheus.Labels{"part": part}, func(s Status) float64 { return float64(read(&s.Vectors)) }))
	}
	return all
}
