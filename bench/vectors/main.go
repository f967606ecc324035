// Command vectors runs those of the vector indexes beside the appliance's, in
// `tamvbench vector`, that take Go libraries: it lives in a module of its own, so
// that those never enter the appliance's.
//
//	vectors list
//	vectors run PEER --base B.fbin --query Q.fbin --truth T.ibin [--metric cosine|ip|l2] [--m 16] [--ef-construction 200] [--threads 2]
//
// list prints what is here, and what to install otherwise. run follows the
// protocol of package cmd/tamvbench/vectors (Peer): it prints how building went,
// then for each line of its input, which holds an ef, how all queries went.
//
// pgvector runs in the Postgres that the PG* environment variables name, in a
// transaction that is rolled back; coder is a Go library.
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

	"tamv.internal/tamv/cmd/tamvbench/vectors"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "vectors: %v\n", err)
		os.Exit(1)
	}
}

// peer is an index beside ours.
type peer struct {
	name string
	// locate says which version is installed, or what is missing.
	locate func(ctx context.Context) (version string, err error)
	// serve speaks the protocol.
	serve func(ctx context.Context, p vectors.Parameters, in io.Reader, out io.Writer) error
}

// all is every peer, in the order in which they are measured.
var all = []peer{pgvector, coder}

var errUsage = errors.New("usage: vectors list | vectors run PEER --base FILE --query FILE --truth FILE [flags]")

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) == 1 && args[0] == "list" {
		return json.NewEncoder(out).Encode(inventory(ctx))
	}
	if len(args) < 2 || args[0] != "run" {
		return errUsage
	}
	i := slices.IndexFunc(all, func(p peer) bool { return p.name == args[1] })
	if i < 0 {
		return fmt.Errorf("no peer is called %q; vectors list names them", args[1])
	}
	var p vectors.Parameters
	f := flag.NewFlagSet("vectors run", flag.ContinueOnError)
	f.StringVar(&p.Base, "base", "", ".fbin of the vectors to search")
	f.StringVar(&p.Query, "query", "", ".fbin of the queries")
	f.StringVar(&p.Truth, "truth", "", ".ibin of the true neighbours")
	f.StringVar(&p.Metric, "metric", "cosine", "cosine, ip or l2")
	f.IntVar(&p.M, "m", 16, "links of a node")
	f.IntVar(&p.EfConstruction, "ef-construction", 200, "candidates for them")
	f.IntVar(&p.Threads, "threads", 2, "threads that build")
	if err := f.Parse(args[2:]); err != nil {
		return err
	}
	if f.NArg() > 0 || p.Base == "" || p.Query == "" || p.Truth == "" {
		return errUsage
	}
	if _, err := vectors.ParseMetric(p.Metric); err != nil {
		return err
	}
	if err := all[i].serve(ctx, p, in, out); err != nil {
		return fmt.Errorf("%s: %w", all[i].name, err)
	}
	return nil
}

func inventory(ctx context.Context) []vectors.Listing {
	var found []vectors.Listing
	for _, p := range all {
		l := vectors.Listing{Name: p.name}
		version, err := p.locate(ctx)
		if l.Version = version; err != nil {
			l.Missing = err.Error()
		}
		found = append(found, l)
	}
	return found
}
