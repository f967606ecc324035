package quality

import (
	"cmp"
	"math"
	"slices"
)

// Spearman returns the rank correlation of two series of the same length, equal
// values sharing their mean rank. It is 0 if a series is constant.
func Spearman(a, b []float64) float64 { return pearson(ranks(a), ranks(b)) }

// ranks gives each value its rank from 1 on, ties their mean.
func ranks(values []float64) []float64 {
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(values[i], values[j]) })
	out := make([]float64, len(values))
	for i := 0; i < len(order); {
		j := i
		for j < len(order) && values[order[j]] == values[order[i]] {
			j++
		}
		for _, k := range order[i:j] {
			out[k] = float64(i+j+1) / 2
		}
		i = j
	}
	return out
}

func pearson(a, b []float64) float64 {
	n := float64(len(a))
	var ma, mb float64
	for i := range a {
		ma += a[i] / n
		mb += b[i] / n
	}
	var ab, aa, bb float64
	for i := range a {
		ab += (a[i] - ma) * (b[i] - mb)
		aa += (a[i] - ma) * (a[i] - ma)
		bb += (b[i] - mb) * (b[i] - mb)
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}

// Detection says how well scores separate positives from negatives.
type Detection struct {
	Positives int     `json:"positives"`
	Negatives int     `json:"negatives"`
	AUROC     float64 `json:"auroc"`     // chance that a positive outscores a negative, ties half
	AUPRC     float64 `json:"auprc"`     // average precision
	F1        float64 `json:"f1"`        // at a score of 0.5
	Precision float64 `json:"precision"` // at 0.5
	Recall    float64 `json:"recall"`    // at 0.5
}

// detect computes a Detection. Of equal scores negatives are taken to rank
// first, so that ties never flatter the average precision.
func detect(scores []float64, positive []bool) Detection {
	var d Detection
	rank := ranks(scores)
	var rankSum float64
	var truePositive, falsePositive int
	for i, yes := range positive {
		if yes {
			d.Positives++
			rankSum += rank[i]
		} else {
			d.Negatives++
		}
		if scores[i] >= 0.5 {
			if yes {
				truePositive++
			} else {
				falsePositive++
			}
		}
	}
	if d.Positives == 0 || d.Negatives == 0 {
		return d
	}
	p, n := float64(d.Positives), float64(d.Negatives)
	d.AUROC = (rankSum - p*(p+1)/2) / (p * n)
	d.AUPRC = averagePrecision(scores, positive, p)
	d.Recall = float64(truePositive) / p
	if truePositive > 0 {
		d.Precision = float64(truePositive) / float64(truePositive+falsePositive)
		d.F1 = 2 * d.Precision * d.Recall / (d.Precision + d.Recall)
	}
	return d
}

func averagePrecision(scores []float64, positive []bool, positives float64) float64 {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		if c := cmp.Compare(scores[j], scores[i]); c != 0 {
			return c
		}
		switch {
		case positive[i] == positive[j]:
			return 0
		case positive[j]:
			return -1
		}
		return 1
	})
	found, sum := 0.0, 0.0
	for i, k := range order {
		if positive[k] {
			found++
			sum += found / float64(i+1)
		}
	}
	return sum / positives
}
