// Command peers starts a system that a site might use instead of the appliance,
// puts the appliance's load on it, and stops it: `tamvbench cluster` calls it.
// It lives in a module of its own, so that other systems' client libraries never
// enter the appliance's.
//
//	peers list
//	peers load PEER     [--nodes N] [--clients N] [--record BYTES] [--warmup D] [--duration D] [--dir DIR]
//	peers failover PEER [--nodes N] [--writers N] [--record BYTES] [--dir DIR]
//
// Every command prints one line of JSON: list an array of what is here, load a
// [load.Result], failover a [failoverResult]. A peer runs in a temporary folder on
// loopback and is gone, folder and all, when the command ends. Each client has
// one connection of its own and waits for each answer; peers with several nodes
// get the clients spread over all of them. The settings are the durable ones of
// [all]; no peer is asked for TLS, signatures, a hash chain or idempotency, which
// the appliance has on, so the comparison leans towards the peers.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "peers: %v\n", err)
		os.Exit(1)
	}
}

// settings is what the command line says.
type settings struct {
	nodes    int
	clients  int
	record   int
	warmup   time.Duration
	duration time.Duration
	dir      string
}

var errUsage = errors.New("usage: peers list | peers load PEER [flags] | peers failover PEER [flags]")

func run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) == 1 && args[0] == "list" {
		return json.NewEncoder(stdout).Encode(inventory())
	}
	if len(args) < 2 || args[0] != "load" && args[0] != "failover" {
		return errUsage
	}
	p, err := find(args[1])
	if err != nil {
		return err
	}
	var s settings
	f := flag.NewFlagSet("peers "+args[0], flag.ContinueOnError)
	f.IntVar(&s.nodes, "nodes", 1, "processes that form the cluster")
	f.IntVar(&s.record, "record", 512, "bytes of a record")
	f.StringVar(&s.dir, "dir", "", "folder for the peer's own; empty = the temporary folder")
	if args[0] == "load" {
		f.IntVar(&s.clients, "clients", 64, "clients, each with a connection")
		f.DurationVar(&s.warmup, "warmup", 2*time.Second, "load before the measurement begins")
		f.DurationVar(&s.duration, "duration", 5*time.Second, "length of the measurement")
	} else {
		f.IntVar(&s.clients, "writers", 16, "writers, each with a connection")
	}
	if err := f.Parse(args[2:]); err != nil {
		return err
	}
	if err := s.validate(p, f.NArg()); err != nil {
		return err
	}
	var result any
	if args[0] == "load" {
		result, err = measure(ctx, p, s)
	} else {
		result, err = failover(ctx, p, s)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return json.NewEncoder(stdout).Encode(result)
}

func (s settings) validate(p peer, extra int) error {
	switch {
	case extra > 0:
		return errUsage
	case !slices.Contains(p.sizes, s.nodes):
		return fmt.Errorf("%s runs here with %v nodes", p.name, p.sizes)
	case s.clients < 1 || s.clients > 256:
		return errors.New("clients must be 1 to 256")
	case s.record < 1 || s.record > 1<<20:
		return errors.New("--record must be 1 to 1048576 bytes")
	case s.warmup < 0 || s.warmup > time.Minute || s.duration < 0 || s.duration > time.Hour:
		return errors.New("--warmup is at most 1m, --duration at most 1h")
	}
	return nil
}
