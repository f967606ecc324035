package vectors

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"tamv.internal/tamv/cmd/tamvbench/load"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/vector"
)

// Ours is the name of the appliance's index.
const Ours = "tamv"

// buildBatch is how many rows are added at once, as a bulk import does.
const buildBatch = 4096

// ours is package vector, in this process.
type ours struct {
	p       Parameters
	tier    vector.Tier
	index   *vector.Index
	queries [][]float32
	truth   [][]int32
	found   [][]int32
}

// NewOurs returns the appliance's index as a contestant.
func NewOurs(p Parameters, tier vector.Tier) Contestant { return &ours{p: p, tier: tier} }

func (o *ours) Name() string {
	if o.tier != vector.Full {
		return Ours + "-" + o.tier.String()
	}
	return Ours
}

func (o *ours) Build(ctx context.Context) (Built, error) {
	base, err := OpenRows(o.p.Base)
	if err != nil {
		return Built{}, err
	}
	defer base.Close() // it was only read
	if err := o.readQuestions(base); err != nil {
		return Built{}, err
	}
	metric, err := ParseMetric(o.p.Metric)
	if err != nil {
		return Built{}, err
	}
	o.index, err = vector.New(vector.Config{
		Dim: base.Dim, Metric: metric, Tier: o.tier, M: o.p.M, EfConstruction: o.p.EfConstruction, Threads: o.p.Threads, Capacity: base.N,
	})
	if err != nil {
		return Built{}, tap.Wrap(opMeasure, tap.Invalid, err, "the index cannot be made")
	}
	b := Built{Version: tap.Release, Rows: base.N, Dim: base.Dim}
	items := make([]vector.Item, 0, buildBatch)
	for row := uint32(0); ; {
		block, err := base.Next(buildBatch)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return b, err
		}
		items = items[:0]
		for _, v := range block {
			items = append(items, vector.Item{ID: rowID(row), Vector: v})
			row++
		}
		began := load.OwnCPU()
		if err := o.index.AddBatch(items); err != nil {
			return b, tap.Wrap(opMeasure, tap.Invalid, err, "rows before %d of %s are refused", row, o.p.Base)
		}
		b.CPU += load.OwnCPU() - began
		if ctx.Err() != nil {
			return b, tap.AsError(ctx.Err())
		}
	}
	stats := o.index.Stats()
	b.Bytes = float64(stats.Memory.Total()) / float64(base.N)
	b.Setting = fmt.Sprintf("%s tier, kernels %s", o.tier, stats.Kernels)
	return b, nil
}

func (o *ours) readQuestions(base *Rows) (err error) {
	if o.queries, err = ReadRows(o.p.Query); err != nil {
		return err
	}
	if len(o.queries[0]) != base.Dim {
		return tap.E(opMeasure, tap.Invalid, "%s has %d dimensions, the base %d: they do not belong together", o.p.Query, len(o.queries[0]), base.Dim)
	}
	if o.truth, err = ReadTruth(o.p.Truth, len(o.queries), base.N); err != nil {
		return err
	}
	o.found = make([][]int32, len(o.queries))
	for i := range o.found {
		o.found[i] = make([]int32, 0, K)
	}
	return nil
}

func (o *ours) Pass(_ context.Context, ef int) (Pass, error) {
	began := load.OwnCPU()
	for i, q := range o.queries {
		hits, err := o.index.Search(q, vector.Options{K: K, EF: ef})
		if err != nil {
			return Pass{}, tap.Wrap(opMeasure, tap.Invalid, err, "query %d is refused", i)
		}
		o.found[i] = o.found[i][:0]
		for _, h := range hits {
			o.found[i] = append(o.found[i], idRow(h.ID))
		}
	}
	return Pass{EF: ef, CPU: load.OwnCPU() - began, Recall: Recall(o.found, o.truth)}, nil
}

func (o *ours) Close() error {
	if o.index != nil {
		o.index.Close()
	}
	return nil
}

// rowID is a row's number as an id of four bytes.
func rowID(row uint32) string {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], row)
	return string(b[:])
}

func idRow(id string) int32 { return int32(binary.LittleEndian.Uint32([]byte(id))) }

// ParseMetric returns the metric of a name of [Metrics].
func ParseMetric(name string) (vector.Metric, error) {
	switch name {
	case "cosine":
		return vector.Cosine, nil
	case "ip":
		return vector.InnerProduct, nil
	case "l2":
		return vector.L2, nil
	}
	return 0, tap.E(opMeasure, tap.Invalid, "--metric must be one of %v", Metrics)
}

const opMeasure = "bench.vector"
