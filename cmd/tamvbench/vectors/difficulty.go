package vectors

import (
	"errors"
	"io"
	"math"
)

// LocalDimension says how hard a set is: the mean over the queries of the local
// intrinsic dimension of their true neighbours, estimated from how fast these
// grow in number with the distance (Levina and Bickel, NIPS 2004; maximum
// likelihood). An index has to look the further the larger it is. Under cosine
// the distance is that of the vectors brought to length 1. Inner products are no
// distances: under ip it is 0.
func LocalDimension(p Parameters) (dimension float64, err error) {
	if p.Metric == "ip" {
		return 0, nil
	}
	queries, err := ReadRows(p.Query)
	if err != nil {
		return 0, err
	}
	base, err := OpenRows(p.Base)
	if err != nil {
		return 0, err
	}
	defer base.Close() // it was only read
	truth, err := ReadTruth(p.Truth, len(queries), base.N)
	if err != nil {
		return 0, err
	}
	if p.Metric == "cosine" {
		for _, q := range queries {
			normalise(q)
		}
	}
	distances, err := truthDistances(base, queries, truth, p.Metric == "cosine")
	if err != nil {
		return 0, err
	}
	known := 0
	for _, d := range distances {
		if local := levinaBickel(d); local > 0 {
			dimension += local
			known++
		}
	}
	return dimension / float64(max(known, 1)), nil
}

// truthDistances returns the Euclidean distances of each query's neighbours, as
// they are listed. The base is read once.
func truthDistances(base *Rows, queries [][]float32, truth [][]int32, unit bool) ([][]float64, error) {
	type place struct{ query, rank int }
	asked := make(map[int32][]place)
	distances := make([][]float64, len(truth))
	for q, rows := range truth {
		distances[q] = make([]float64, len(rows))
		for rank, row := range rows {
			asked[row] = append(asked[row], place{q, rank})
		}
	}
	for first := int32(0); ; {
		block, err := base.Next(max(1, blockBytes/(4*base.Dim)))
		if errors.Is(err, io.EOF) {
			return distances, nil
		}
		if err != nil {
			return nil, err
		}
		for i, vec := range block {
			places := asked[first+int32(i)]
			if len(places) > 0 && unit {
				normalise(vec)
			}
			for _, at := range places {
				var square float64
				for j, c := range queries[at.query] {
					apart := float64(c) - float64(vec[j])
					square += apart * apart
				}
				distances[at.query][at.rank] = math.Sqrt(square)
			}
		}
		first += int32(len(block))
	}
}

// levinaBickel estimates the dimension around a point from the distances of its
// nearest neighbours, the farthest last. It is 0 if they do not tell.
func levinaBickel(distances []float64) float64 {
	farthest := distances[len(distances)-1]
	var sum float64
	n := 0
	for _, d := range distances {
		if d > 0 && d < farthest { // equal vectors have no logarithm, equally far ones say nothing
			sum += math.Log(farthest / d)
			n++
		}
	}
	if n == 0 {
		return 0
	}
	return float64(n) / sum
}
