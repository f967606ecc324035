package vector

import (
	"errors"
	"fmt"
	"runtime"
)

// Limits of an Index.
const (
	// MaxDim is the largest number of dimensions.
	MaxDim = 4096
	// MaxComponent bounds the magnitude of a component, so that no score of
	// MaxDim dimensions overflows a float32.
	MaxComponent = 1e17
	// MaxID is the longest id, in bytes.
	MaxID = 1<<16 - 1
	// MaxRows is the largest number of slots: a search keeps a slot number and
	// one flag in 32 bits.
	MaxRows = 1<<31 - 1
)

// Errors, to be tested with errors.Is.
var (
	ErrConfig     = errors.New("vector: bad configuration")
	ErrID         = errors.New("vector: id is empty or longer than MaxID")
	ErrDimension  = errors.New("vector: wrong number of dimensions")
	ErrNotFinite  = errors.New("vector: component is NaN, infinite or beyond MaxComponent")
	ErrZeroVector = errors.New("vector: zero vector has no direction")
	ErrK          = errors.New("vector: k must be positive")
	ErrOptions    = errors.New("vector: bad search options")
	ErrFull       = errors.New("vector: no memory for another row")
	ErrClosed     = errors.New("vector: index is closed")
	ErrNoSnapshot = errors.New("vector: no snapshot")
	ErrDamaged    = errors.New("vector: damaged snapshot")
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

// Tier says what is kept of a vector.
type Tier uint8

const (
	// Full keeps 8-bit codes for finding and float32 rows for the final order:
	// five bytes a dimension, of which a search touches little more than one.
	// Under Cosine, from 512 dimensions on, there are 1-bit codes as well.
	Full Tier = iota
	// Codes keeps 8-bit codes alone: one byte a dimension, scores within about a
	// hundredth.
	Codes
	// Bits finds by 1-bit codes and orders by float32 rows. It pays from some 768
	// dimensions on, with the rows in a file (Config.RowsDir), and is for Cosine.
	Bits
)

// String returns the tier's name.
func (t Tier) String() string {
	switch t {
	case Full:
		return "full"
	case Codes:
		return "codes"
	case Bits:
		return "bits"
	}
	return fmt.Sprintf("Tier(%d)", uint8(t))
}

// Config describes an Index. Replicas that are to agree bit for bit share all of
// it but Capacity, Threads and RowsDir.
type Config struct {
	Dim    int // 1..MaxDim
	Metric Metric
	Tier   Tier

	// M is the number of links a node is given on each level, 4..64; up to twice
	// as many may gather on the ground level. 0 means 16.
	M int
	// EfConstruction is how many candidates are weighed for those links, M..1024.
	// 0 means 200. Unlinked makes no graph.
	EfConstruction int
	// Seed decides, with an id, the level of its node. Keep it secret: who knows
	// it can choose ids that all get the same level.
	Seed [32]byte
	// Range is the largest magnitude of a component that codes distinguish (of
	// unit vectors under Cosine, where at most 1 makes sense). Components beyond
	// are clamped in codes, not in rows. 0 learns it from the first sampleRows
	// vectors.
	Range float32

	// Capacity is how many vectors are expected. It reserves address space, not
	// memory; an index may grow beyond it.
	Capacity int
	// Threads bounds how many goroutines AddBatch and Consolidate use. 0 means
	// GOMAXPROCS. The outcome does not depend on it.
	Threads int
	// RowsDir, if set, keeps the float32 rows in an unnamed file in that
	// directory, so that the kernel may evict them from memory.
	RowsDir string
}

// Unlinked, as Config.EfConstruction, is for an index that stands in for another
// while that is made: adding a vector costs a hundredth, searches compare all.
const Unlinked = -1

const (
	defaultM    = 16
	minM        = 4
	maxM        = 64
	defaultEf   = 200
	maxBuildEf  = 1024
	minGraphDim = 8
)

// complete checks a configuration and fills in what is left to choose.
func (c Config) complete() (Config, error) {
	bad := func(format string, args ...any) (Config, error) {
		return c, fmt.Errorf("%w: %s", ErrConfig, fmt.Sprintf(format, args...))
	}
	if c.M == 0 {
		c.M = defaultM
	}
	if c.EfConstruction == 0 {
		c.EfConstruction = max(defaultEf, c.M)
	}
	if c.Threads == 0 {
		c.Threads = runtime.GOMAXPROCS(0)
	}
	switch {
	case c.Dim < 1 || c.Dim > MaxDim:
		return bad("dimension %d is not in 1..%d", c.Dim, MaxDim)
	case c.Metric > L2:
		return bad("unknown metric %d", c.Metric)
	case c.Tier > Bits:
		return bad("unknown tier %d", c.Tier)
	case c.Tier == Bits && c.Metric != Cosine:
		return bad("1-bit codes know directions only: they need the cosine metric")
	case c.M < minM || c.M > maxM:
		return bad("M %d is not in %d..%d", c.M, minM, maxM)
	case c.EfConstruction != Unlinked && (c.EfConstruction < c.M || c.EfConstruction > maxBuildEf):
		return bad("EfConstruction %d is not in %d..%d", c.EfConstruction, c.M, maxBuildEf)
	case c.Range != 0 && !(c.Range >= smallestRange && c.Range <= MaxComponent):
		return bad("range %v is not in %v..%v", c.Range, float32(smallestRange), float32(MaxComponent))
	case c.Capacity < 0 || c.Capacity > MaxRows:
		return bad("capacity %d is not in 0..%d", c.Capacity, MaxRows)
	case c.Threads < 0:
		return bad("%d threads", c.Threads)
	}
	return c, nil
}
