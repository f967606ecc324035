package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"tamv.internal/tamv/cmd/tamvbench/load"
)

// system is what every contestant says of itself.
type system struct {
	name    string
	setting string // what one operation is, and what its end promises
	version func() (string, error)
}

func (s system) String() string { return s.name }

// writer is a ledger that keeps records.
type writer struct {
	system
	server bool // a process of its own, whose clients talk to it over loopback
	// open makes an empty ledger in a folder, for so many writers.
	open func(ctx context.Context, folder string, writers int) (*openLedger, error)
}

// openLedger is one that is ready for records.
type openLedger struct {
	// write returns once the record is durable. Writers are numbered; one number
	// is used by one goroutine at a time.
	write func(ctx context.Context, writer int, record []byte) error
	pids  []int // of processes that work for it
	close func() error
}

// The contestants, ours first; of the writers and the judges the last one is no
// ledger, but the limit that this machine sets.
var (
	writers = []writer{ourWriter, tesseraWriter, immudbWriter, postgresWriter, fileWriter}
	judges  = []judge{ourJudge, tesseraJudge, hashJudge}
	provers = []prover{ourProver, tlogProver, tesseraProver}
)

func find[T fmt.Stringer](all []T, name string) (T, error) {
	for _, one := range all {
		if one.String() == name {
			return one, nil
		}
	}
	var none T
	return none, errors.New("no such system here; ledger list names them")
}

// listing is one element of `ledger list`.
type listing struct {
	Name    string `json:"name"`
	Test    string `json:"test"` // append, verify or prove
	Server  bool   `json:"server,omitempty"`
	Setting string `json:"setting"`
	Version string `json:"version,omitempty"`
	Missing string `json:"missing,omitempty"` // why it cannot run here
}

func inventory() []listing {
	var found []listing
	add := func(s system, test string, server bool) {
		l := listing{Name: s.name, Test: test, Server: server, Setting: s.setting}
		version, err := s.version()
		if l.Version = version; err != nil {
			l.Missing = err.Error()
		}
		found = append(found, l)
	}
	for _, w := range writers {
		add(w.system, "append", w.server)
	}
	for _, j := range judges {
		add(j.system, "verify", false)
	}
	for _, p := range provers {
		add(p.system, "prove", false)
	}
	return found
}

// moduleVersion is the version of a module in this program.
func moduleVersion(path string) func() (string, error) {
	return func() (string, error) {
		info, ok := debug.ReadBuildInfo()
		if !ok {
			return "", errors.New("the program does not say what it was built from")
		}
		for _, m := range info.Deps {
			if m.Path == path {
				return m.Version, nil
			}
		}
		return "", fmt.Errorf("%s is not in this program", path)
	}
}

// measureAppend is `ledger append`. CPU seconds of systems in this process stand
// under server; they contain those of the writers, which do little.
func measureAppend(ctx context.Context, w writer, s settings) (_ load.Result, err error) {
	r := load.Result{System: w.name, Setting: w.setting, Nodes: 1, Clients: s.clients, Record: s.record}
	if r.Version, err = w.version(); err != nil {
		return r, err
	}
	folder, err := os.MkdirTemp(s.dir, "tamv-ledger-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	l, err := w.open(ctx, folder, s.clients)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	workers := make([]load.Worker, s.clients)
	for i := range workers {
		next := records(i, s.record)
		workers[i] = func(ctx context.Context) error { return l.write(ctx, i, next()) }
	}
	if s.warmup > 0 {
		load.Run(ctx, workers, s.warmup)
	}
	own, served, err := l.cpu()
	if err != nil {
		return r, err
	}
	r.Figures = load.Run(ctx, workers, s.duration)
	ownAfter, servedAfter, err := l.cpu()
	r.ServerCPU, r.ClientCPU = load.Round(servedAfter-served), load.Round(ownAfter-own)
	if !w.server {
		r.ServerCPU, r.ClientCPU = r.ClientCPU, 0
	}
	return r, errors.Join(err, ctx.Err())
}

// cpu is what this process and those that work for the ledger have used.
func (l *openLedger) cpu() (own, served float64, err error) {
	if len(l.pids) > 0 {
		served, err = load.TreeCPU(l.pids...)
	}
	return load.OwnCPU(), served, err
}

// records makes the records of one writer: each one different, and of exactly size
// bytes, at least 32.
func records(writer, size int) func() []byte {
	const text = `capability spatial.join, room plaza, score 0.8125, tags xr audit ok, fused true; `
	pattern := []byte(strings.Repeat(text, size/len(text)+1))[:size]
	number := 0
	return func() []byte {
		number++
		record := bytes.Clone(pattern) // the ledger may keep it
		copy(record, fmt.Appendf(nil, "%08d %012d ", writer, number))
		return record
	}
}
