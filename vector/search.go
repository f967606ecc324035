package vector

import (
	"fmt"
	"runtime"
	"strings"
)

// Hit is one search result.
type Hit struct {
	ID    string
	Score float32 // higher is better, see the package comment
}

// Options says what to search for beside the query.
type Options struct {
	// K is how many hits are wanted, at least 1. Fewer come back only if fewer
	// vectors match.
	K int
	// Recall is the share of the true nearest vectors that hits should have on
	// average, in 0..1. 1 compares all. 0 means DefaultRecall, unless EF is set.
	Recall float64
	// EF sets the number of candidates directly, 0..MaxEF, instead of Recall.
	EF     int
	Filter Filter
}

const (
	// DefaultRecall is what a search without Recall and EF aims at.
	DefaultRecall = 0.95
	// MaxEF is the largest number of candidates that a walk of the graph keeps.
	// Searches that would need more compare all vectors.
	MaxEF = 4096
)

// Search returns the K stored vectors most similar to query among those that
// the filter lets through, best first. It returns ErrK, ErrOptions,
// ErrDimension, ErrNotFinite, ErrZeroVector (under Cosine) or ErrClosed.
func (x *Index) Search(query []float32, o Options) ([]Hit, error) {
	if o.K < 1 {
		return nil, fmt.Errorf("%w: got %d", ErrK, o.K)
	}
	if !(o.Recall >= 0 && o.Recall <= 1) {
		return nil, fmt.Errorf("%w: recall %v is not in 0..1", ErrOptions, o.Recall)
	}
	if o.EF < 0 || o.EF > MaxEF {
		return nil, fmt.Errorf("%w: EF %d is not in 0..%d", ErrOptions, o.EF, MaxEF)
	}
	v := x.pin()
	defer runtime.KeepAlive(x) // whose cleanup releases what v shows
	defer v.release()
	if v.closed {
		return nil, ErrClosed
	}
	m, err := v.match(o.Filter)
	if err != nil {
		return nil, err
	}
	s := x.borrow(v)
	defer x.scratch.Put(s)
	unit, err := x.prepare(s.unit, query)
	if err != nil {
		return nil, err
	}
	if x.cfg.Metric == Cosine {
		s.unit = unit
	}
	s.query.ask(v, unit)
	if !v.walk(s, &m, o) {
		v.scan(s, &m, o.K)
	}
	return s.hits(v), nil
}

// hits are the best that a search found, best first.
func (s *scratch) hits(v *view) []Hit {
	s.best.sort(v)
	hits := make([]Hit, len(s.best))
	length := 0
	for _, b := range s.best {
		length += len(v.name(b.row))
	}
	var ids strings.Builder // one string for all ids: one allocation
	ids.Grow(length)
	for _, b := range s.best {
		ids.Write(v.name(b.row))
	}
	rest := ids.String()
	for i, b := range s.best {
		n := len(v.name(b.row))
		hits[i] = Hit{ID: rest[:n], Score: b.score}
		rest = rest[n:]
	}
	return hits
}

// scanAdvantage is how many rows a scan compares in the time in which a walk
// handles one of its candidates with all its neighbours: some 50 at 100 dimensions,
// 18 at 1536, where it sifts them. In tier Bits a scan reads floats.
const (
	scanAdvantage       = 50
	scanAdvantageSifted = 18
	scanAdvantageBits   = 8
)

// walk searches the graph. It reports false if a scan is quicker, or if the
// graph did not show enough rows that match: then nothing is decided.
func (v *view) walk(s *scratch, m *matcher, o Options) bool {
	if v.top < 0 {
		return false
	}
	ef := o.EF
	if ef == 0 {
		if ef = v.effort.ef(o.Recall, o.K, v.live); ef == 0 {
			return false
		}
	}
	ef = max(ef, o.K)
	// Where one row in n matches, ef matching candidates take n*ef candidates.
	width := max(ef, int(float64(ef)*float64(v.used)/float64(max(m.most, 1))))
	enough := max(o.K, ef/2)
	most := min(ef, max(enough, v.compared(o.K, ef)))
	for width <= MaxEF && width*v.advantage <= m.most {
		entry := v.greedy(s, &s.query, v.entry, v.top, 0)
		v.beam(s, &s.query, entry, 0, width)
		found := v.gather(s, m, most)
		if found >= enough || found >= o.K && len(s.pool) < width {
			return v.rerank(s, o.K, ef)
		}
		// The filter is stricter, here at least, than its lists told.
		width *= max(2, min(8, ef/max(found, 1)))
	}
	return false
}

// gather puts at most so many rows of s.pool that match into s.maybe, nearest first.
func (v *view) gather(s *scratch, m *matcher, most int) int {
	s.maybe = s.maybe[:0]
	for i := range s.pool {
		row, key := s.pool.row(i), s.pool.key(i)
		for ok := true; ok; row, ok = v.twin(row) {
			if m.admits(row) && m.accepts(row) {
				if s.maybe = append(s.maybe, candidate{row: row, key: key}); len(s.maybe) == most {
					return most
				}
			}
		}
	}
	return len(s.maybe)
}
