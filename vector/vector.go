// Package vector finds the nearest vectors to a query.
//
// An [Index] holds vectors of one length under string ids and answers "which k
// are most similar", optionally among those that a filter lets through. The
// answer is exact: every stored vector is compared. At 128 dimensions and a few
// thousand rows that takes tens of microseconds and needs no build step; a graph
// index for larger collections fits behind the same methods.
//
// # Guarantees
//
// A vector is findable as soon as Add returns. Search returns min(k, matches)
// hits, best first, equal scores by ascending id. Every product is rounded
// before it is summed and sums run in a fixed order, so scores are the same
// bits on every architecture. No stored or returned score is ever NaN or
// infinite: components are bounded by [MaxComponent].
//
// One writer and many readers may use an Index at once. Stored vectors are
// copies; the caller may reuse its slices.
//
// # Scores
//
// Higher is always better: the cosine in [-1,1] under [Cosine], the dot product
// under [InnerProduct], minus the squared Euclidean distance under [L2].
package vector

import (
	"errors"
	"fmt"
	"math"
	"sync"
)

// Limits of an Index.
const (
	// MaxDim is the largest number of dimensions.
	MaxDim = 4096
	// MaxComponent bounds the magnitude of a component, so that no score of
	// MaxDim dimensions overflows a float32.
	MaxComponent = 1e17
)

// Errors, to be tested with errors.Is.
var (
	ErrConfig     = errors.New("vector: bad configuration")
	ErrID         = errors.New("vector: empty id")
	ErrDimension  = errors.New("vector: wrong number of dimensions")
	ErrNotFinite  = errors.New("vector: component is NaN, infinite or beyond MaxComponent")
	ErrZeroVector = errors.New("vector: zero vector has no direction")
	ErrK          = errors.New("vector: k must be positive")
)

// Metric says how similarity is measured.
type Metric uint8

// The metrics. The zero value is Cosine.
const (
	Cosine Metric = iota
	InnerProduct
	L2
)

// String returns the metric's name.
func (m Metric) String() string {
	switch m {
	case Cosine:
		return "cosine"
	case InnerProduct:
		return "inner_product"
	case L2:
		return "l2"
	}
	return fmt.Sprintf("Metric(%d)", uint8(m))
}

// Config describes an Index.
type Config struct {
	Dim    int // 1..MaxDim
	Metric Metric
}

// Hit is one search result.
type Hit struct {
	ID    string
	Score float32 // higher is better, see the package comment
}

// Index is a set of vectors of one length. Create it with New.
type Index struct {
	dim    int
	metric Metric

	mu   sync.RWMutex   // guards all below
	rows []float32      // row i is rows[i*dim : (i+1)*dim]; unit length under Cosine
	ids  []string       // id of row i
	row  map[string]int // id -> row
}

// New returns an empty index, or ErrConfig.
func New(cfg Config) (*Index, error) {
	if cfg.Dim < 1 || cfg.Dim > MaxDim {
		return nil, fmt.Errorf("%w: dimension %d is not in 1..%d", ErrConfig, cfg.Dim, MaxDim)
	}
	if cfg.Metric > L2 {
		return nil, fmt.Errorf("%w: unknown metric %d", ErrConfig, cfg.Metric)
	}
	return &Index{dim: cfg.Dim, metric: cfg.Metric, row: make(map[string]int)}, nil
}

// Dim returns the number of dimensions of every vector in the index.
func (x *Index) Dim() int { return x.dim }

// Len returns the number of stored vectors.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.ids)
}

// Add stores a copy of vec under id, replacing what was there. It returns
// ErrID, ErrDimension, ErrNotFinite, or ErrZeroVector (under Cosine only), and
// then changes nothing.
func (x *Index) Add(id string, vec []float32) error {
	if id == "" {
		return ErrID
	}
	v, err := x.prepare(vec)
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if i, ok := x.row[id]; ok {
		copy(x.rows[i*x.dim:], v)
		return nil
	}
	x.row[id] = len(x.ids)
	x.ids = append(x.ids, id)
	x.rows = append(x.rows, v...)
	return nil
}

// Delete removes id and reports whether it was there.
func (x *Index) Delete(id string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	i, ok := x.row[id]
	if !ok {
		return false
	}
	last := len(x.ids) - 1
	if i != last { // keep the rows contiguous: the last one moves into the gap
		copy(x.rows[i*x.dim:(i+1)*x.dim], x.rows[last*x.dim:])
		x.ids[i] = x.ids[last]
		x.row[x.ids[i]] = i
	}
	x.ids[last] = ""
	x.ids = x.ids[:last]
	x.rows = x.rows[:last*x.dim]
	delete(x.row, id)
	return true
}

// Search returns the k stored vectors most similar to query among those whose
// id the filter accepts (nil accepts all), fewer if there are fewer. An empty
// index gives an empty result. It returns ErrK, ErrDimension, ErrNotFinite, or
// ErrZeroVector (under Cosine only). The filter must not use the index.
func (x *Index) Search(query []float32, k int, filter func(id string) bool) ([]Hit, error) {
	if k < 1 {
		return nil, fmt.Errorf("%w: got %d", ErrK, k)
	}
	q, err := x.prepare(query)
	if err != nil {
		return nil, err
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	best := make(topK, 0, min(k, len(x.ids)))
	for i, id := range x.ids {
		row := x.rows[i*x.dim : (i+1)*x.dim]
		var score float32
		if x.metric == L2 {
			score = -squaredDistance(q, row)
		} else {
			score = dot(q, row)
		}
		// The score is cheaper than the filter, so most rows never reach it.
		if len(best) == k && !better(score, id, best[0]) {
			continue
		}
		if filter == nil || filter(id) {
			best.offer(Hit{ID: id, Score: score}, k)
		}
	}
	best.sort()
	return best, nil
}

// prepare checks a vector and, under Cosine, returns a copy of length 1.
func (x *Index) prepare(vec []float32) ([]float32, error) {
	if len(vec) != x.dim {
		return nil, fmt.Errorf("%w: got %d, want %d", ErrDimension, len(vec), x.dim)
	}
	var sum float64
	for _, c := range vec {
		// Written so that NaN fails it too.
		if !(c >= -MaxComponent && c <= MaxComponent) {
			return nil, ErrNotFinite
		}
		sum += float64(float64(c) * float64(c))
	}
	if x.metric != Cosine {
		return vec, nil
	}
	if sum == 0 {
		return nil, ErrZeroVector
	}
	unit, scale := make([]float32, x.dim), 1/math.Sqrt(sum)
	for i, c := range vec {
		unit[i] = float32(float64(c) * scale)
	}
	return unit, nil
}
