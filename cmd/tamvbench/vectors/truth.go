package vectors

import (
	"cmp"
	"errors"
	"io"
	"math"
	"slices"
	"sync"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/vector"
	"tamv.internal/tamv/vector/simd"
)

// TruthDepth is how many neighbours of a query a truth file gets.
const TruthDepth = 100

// blockBytes is how much of the base is held against all queries before the next
// part is read; it fits a core's own cache.
const blockBytes = 256 << 10

// near is a row and how similar it is to a query; more is nearer.
type near struct {
	score float64
	row   int32
}

// before orders by score, equal scores by row.
func before(a, b near) int { return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.row, b.row)) }

// Truth finds the depth nearest rows of each query by comparing all, float32
// against float32. The base is read once and never held as a whole.
func Truth(base *Rows, queries [][]float32, metric vector.Metric, depth, threads int) ([][]int32, error) {
	if len(queries) == 0 || len(queries[0]) != base.Dim {
		return nil, tap.E("bench.vector.truth", tap.Invalid, "queries must have the base's %d dimensions", base.Dim)
	}
	best := make([][]near, len(queries)) // sorted, at most depth
	share := (len(queries) + threads - 1) / threads
	blockRows := max(1, blockBytes/(4*len(queries[0])))
	for first := int32(0); ; {
		block, err := base.Next(blockRows)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		scale, offset := affine(block, metric)
		var workers sync.WaitGroup
		for from := 0; from < len(queries); from += share {
			workers.Go(func() {
				for q := from; q < min(from+share, len(queries)); q++ {
					best[q] = merge(best[q], queries[q], block, scale, offset, first, depth)
				}
			})
		}
		workers.Wait()
		first += int32(len(block))
	}
	truth := make([][]int32, len(queries))
	for q := range best {
		for _, b := range best[q] {
			truth[q] = append(truth[q], b.row)
		}
	}
	return truth, nil
}

// affine returns the numbers with which scale*dot+offset orders the rows of a
// block as the metric does, whatever the length of the query.
func affine(block [][]float32, metric vector.Metric) (scale, offset []float64) {
	scale, offset = make([]float64, len(block)), make([]float64, len(block))
	for i, row := range block {
		var square float64
		for _, c := range row {
			square += float64(c) * float64(c)
		}
		switch metric {
		case vector.Cosine:
			scale[i] = 1 / max(math.Sqrt(square), math.SmallestNonzeroFloat32)
		case vector.InnerProduct:
			scale[i] = 1
		case vector.L2:
			scale[i], offset[i] = 2, -square
		}
	}
	return scale, offset
}

// merge puts the rows of a block that are among the depth best into best.
func merge(best []near, query []float32, block [][]float32, scale, offset []float64, first int32, depth int) []near {
	for i, row := range block {
		n := near{scale[i]*float64(simd.Dot(query, row)) + offset[i], first + int32(i)}
		if len(best) == depth && before(best[depth-1], n) < 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, n, before)
		best = slices.Insert(best, at, n)
		best = best[:min(len(best), depth)]
	}
	return best
}
