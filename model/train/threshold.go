package main

import "slices"

// highest returns the largest cosine of a unit vector with others.
func highest(v []float32, others [][]float32) float64 {
	best := -1.0
	for _, o := range others {
		best = max(best, dot(v, o))
	}
	return best
}

// quantile returns the value below which the given share of the values lies.
func quantile(values []float64, share float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}
