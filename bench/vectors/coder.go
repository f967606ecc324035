package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strconv"

	"github.com/coder/hnsw"

	"tamv.internal/tamv/cmd/tamvbench/load"
	"tamv.internal/tamv/cmd/tamvbench/vectors"
)

// coder is github.com/coder/hnsw as it is published.
var coder = peer{
	name:   "coder",
	locate: func(context.Context) (string, error) { return moduleVersion("github.com/coder/hnsw"), nil },
	serve: func(ctx context.Context, p vectors.Parameters, in io.Reader, out io.Writer) error {
		return serve(ctx, &coderIndex{}, p, in, out)
	},
}

// moduleVersion is that of a module in this program.
func moduleVersion(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == path {
				return m.Version
			}
		}
	}
	return "unknown"
}

// index is a peer that is spoken to from Go.
type index interface {
	// build makes the index of the base, row i under id i.
	build(ctx context.Context, p vectors.Parameters, base [][]float32) (vectors.Built, error)
	// answer returns the rows found for each query, and the CPU seconds it took.
	answer(ctx context.Context, queries [][]float32, ef int) (found [][]int32, cpu float64, err error)
	close(ctx context.Context) error
}

// serve speaks the protocol for an index.
func serve(ctx context.Context, x index, p vectors.Parameters, in io.Reader, out io.Writer) (err error) {
	base, err := vectors.ReadRows(p.Base)
	if err != nil {
		return err
	}
	queries, err := vectors.ReadRows(p.Query)
	if err != nil {
		return err
	}
	truth, err := vectors.ReadTruth(p.Truth, len(queries), len(base))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.close(context.WithoutCancel(ctx))) }()
	built, err := x.build(ctx, p, base)
	if err != nil {
		return err
	}
	built.Rows, built.Dim = len(base), len(base[0])
	say := json.NewEncoder(out)
	if err := say.Encode(built); err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		ef, err := strconv.Atoi(lines.Text())
		if err != nil || ef < 1 {
			return fmt.Errorf("%q is no ef", lines.Text())
		}
		found, cpu, err := x.answer(ctx, queries, ef)
		if err != nil {
			return err
		}
		if err := say.Encode(vectors.Pass{EF: ef, Recall: vectors.Recall(found, truth), CPU: cpu}); err != nil {
			return err
		}
	}
	return lines.Err()
}

type coderIndex struct{ graph *hnsw.Graph[int32] }

func (c *coderIndex) build(_ context.Context, p vectors.Parameters, base [][]float32) (vectors.Built, error) {
	b := vectors.Built{Version: moduleVersion("github.com/coder/hnsw"), Setting: "float32; its build takes EfSearch for efConstruction; one thread"}
	c.graph = hnsw.NewGraph[int32]()
	c.graph.M, c.graph.EfSearch = p.M, p.EfConstruction
	switch p.Metric {
	case "l2":
		c.graph.Distance = hnsw.EuclideanDistance
	case "ip":
		return b, errors.New("it has no inner product")
	}
	before := resident()
	began := load.OwnCPU()
	for i, v := range base {
		c.graph.Add(hnsw.MakeNode(int32(i), v))
	}
	b.CPU = load.OwnCPU() - began
	debug.FreeOSMemory()
	b.Bytes = max(0, resident()-before)/float64(len(base)) + 4*float64(len(base[0])) // it refers to our rows
	return b, nil
}

func (c *coderIndex) answer(_ context.Context, queries [][]float32, ef int) ([][]int32, float64, error) {
	c.graph.EfSearch = ef
	found := make([][]int32, len(queries))
	began := load.OwnCPU()
	for i, q := range queries {
		for _, n := range c.graph.Search(q, vectors.K) {
			found[i] = append(found[i], n.Key)
		}
	}
	return found, load.OwnCPU() - began, nil
}

func (c *coderIndex) close(context.Context) error { return nil }
