package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"tamv.internal/tamv/bench/server"
	"tamv.internal/tamv/cmd/tamvbench/load"
)

// peer is a system beside ours.
type peer struct {
	name    string
	setting string // what one operation is and what its answer promises
	sizes   []int  // cluster sizes that are measured
	// locate says which version is installed.
	locate func() (version string, err error)
	// start runs the processes and returns once they answer.
	start func(ctx context.Context, g *group, nodes int) error
	// connect opens a connection to one node (number counts the clients) and
	// returns the write of one record under a key that is new each time.
	connect func(ctx context.Context, g *group, number int) (client, error)
	// leader is the process that leads the cluster; nil when the peer has no
	// failover of its own. The clients of connect must then go on at another
	// node by themselves.
	leader func(ctx context.Context, g *group) (*server.Process, error)
}

// client is one connection.
type client struct {
	write func(ctx context.Context, key string, record []byte) error
	close func()
}

// group is a running peer and the clients connected to it, in a temporary folder.
type group struct {
	*server.Group
	closers []func() // close the clients
}

func newGroup(dir string) (*group, error) {
	folder, err := os.MkdirTemp(dir, "tamv-peer-")
	if err != nil {
		return nil, err
	}
	g, err := server.NewGroup(folder)
	return &group{Group: g}, err
}

// stop ends everything and removes the folder.
func (g *group) stop() error {
	for _, closeClient := range g.closers {
		closeClient()
	}
	g.Stop()
	return os.RemoveAll(g.Folder)
}

// all is every peer, in the order of the table.
var all = []peer{postgres, redisServer, etcd, rqlite}

func find(name string) (peer, error) {
	for _, p := range all {
		if p.name == name {
			return p, nil
		}
	}
	return peer{}, fmt.Errorf("no peer is called %q; peers list names them", name)
}

// listing is one element of `peers list`.
type listing struct {
	Name     string `json:"name"`
	Setting  string `json:"setting"`
	Nodes    []int  `json:"nodes"`
	Failover bool   `json:"failover"`
	Version  string `json:"version,omitempty"`
	Missing  string `json:"missing,omitempty"` // why it cannot run here
}

func inventory() []listing {
	var found []listing
	for _, p := range all {
		l := listing{Name: p.name, Setting: p.setting, Nodes: p.sizes, Failover: p.leader != nil}
		version, err := p.locate()
		if l.Version = version; err != nil {
			l.Missing = err.Error()
		}
		found = append(found, l)
	}
	return found
}

func measure(ctx context.Context, p peer, s settings) (_ load.Result, err error) {
	r := load.Result{System: p.name, Setting: p.setting, Nodes: s.nodes, Clients: s.clients, Record: s.record}
	if r.Version, err = p.locate(); err != nil {
		return r, err
	}
	g, workers, err := prepare(ctx, p, s)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, g.stop()) }()
	if s.warmup > 0 {
		load.Run(ctx, workers, s.warmup)
	}
	before, err := load.TreeCPU(g.PIDs()...)
	if err != nil {
		return r, err
	}
	own := load.OwnCPU()
	r.Figures = load.Run(ctx, workers, s.duration)
	r.ClientCPU = load.Round(load.OwnCPU() - own)
	after, err := load.TreeCPU(g.PIDs()...)
	r.ServerCPU = load.Round(after - before)
	return r, errors.Join(err, ctx.Err())
}

// failoverResult is what `peers failover` prints.
type failoverResult struct {
	System  string `json:"system"`
	Version string `json:"version"`
	Nodes   int    `json:"nodes"`
	Writers int    `json:"writers"`
	load.Failover
}

// failover kills the leader once.
func failover(ctx context.Context, p peer, s settings) (_ failoverResult, err error) {
	r := failoverResult{System: p.name, Nodes: s.nodes, Writers: s.clients}
	if p.leader == nil {
		return r, errors.New("it has no failover of its own here")
	}
	if r.Version, err = p.locate(); err != nil {
		return r, err
	}
	g, workers, err := prepare(ctx, p, s)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, g.stop()) }()
	r.Failover, err = load.MeasureFailover(ctx, workers, func() error {
		leader, err := p.leader(ctx, g)
		if err != nil {
			return err
		}
		return leader.Kill()
	})
	return r, err
}

// startLimit is how long a peer may take from its start to its first answer.
const startLimit = time.Minute

// prepare starts the peer and connects the clients. The group must be stopped
// when there is no error.
func prepare(ctx context.Context, p peer, s settings) (*group, []load.Worker, error) {
	g, err := newGroup(s.dir)
	if err != nil {
		return nil, nil, err
	}
	starting, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := p.start(starting, g, s.nodes); err != nil {
		return nil, nil, errors.Join(err, g.stop())
	}
	var workers []load.Worker
	for i := range s.clients {
		c, err := p.connect(starting, g, i)
		if err != nil {
			return nil, nil, errors.Join(err, g.stop())
		}
		g.closers = append(g.closers, c.close)
		workers = append(workers, writer(c, s.record))
	}
	return g, workers, nil
}

// writer writes records that differ in their first bytes, each under a random
// key of 256 bits in hexadecimal, as long as the hash that names a record of
// evidence.
func writer(c client, size int) load.Worker {
	record := make([]byte, size)
	for i := range record {
		record[i] = 'a' + byte(i%26)
	}
	var key [32]byte
	return func(ctx context.Context) error {
		rand.Read(key[:]) // never fails
		name := hex.EncodeToString(key[:])
		copy(record, name)
		return c.write(ctx, name, record)
	}
}
