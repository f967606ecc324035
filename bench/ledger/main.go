// Command ledger measures the appliance's evidence ledger and those that could
// stand in its place, one at a time: `tamvbench ledger` calls it. It lives in a
// module of its own, so that other ledgers' code never enters the appliance's.
//
//	ledger list
//	ledger append SYSTEM [--clients N] [--record BYTES] [--warmup D] [--duration D] [--dir DIR]
//	ledger verify SYSTEM [--entries N] [--duration D]
//	ledger prove  SYSTEM [--entries N] [--duration D] [--dir DIR]
//
// Every command prints one line of JSON: list an array of [listing], append a
// [load.Result], verify and prove a [workResult].
//
// append is a closed loop of writers that wait until their record is durable.
// All systems run in this process, except Postgres, which is a server on
// loopback. Each gets the same bytes; ours keeps them as the payload of an entry
// with tenant, actor, action, outcome, time and request id around it, the others
// keep them alone.
//
// verify checks a whole log of entries of 281 bytes that lies in memory as C2SP
// tiles, with one processor: each judge reads the same bytes. prove makes proofs
// of inclusion for entries all over a log of that size.
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
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "ledger: %v\n", err)
		os.Exit(1)
	}
}

// settings is what the command line says.
type settings struct {
	clients  int
	record   int
	entries  int
	warmup   time.Duration
	duration time.Duration
	dir      string
}

var errUsage = errors.New("usage: ledger list | ledger append|verify|prove SYSTEM [flags]")

func run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) == 1 && args[0] == "list" {
		return json.NewEncoder(stdout).Encode(inventory())
	}
	if len(args) < 2 {
		return errUsage
	}
	var s settings
	f := flag.NewFlagSet("ledger "+args[0], flag.ContinueOnError)
	f.IntVar(&s.clients, "clients", 64, "writers")
	f.IntVar(&s.record, "record", 281, "bytes of a record")
	f.IntVar(&s.entries, "entries", 1<<20, "entries of the log that is verified or proves")
	f.DurationVar(&s.warmup, "warmup", time.Second, "load before the measurement begins")
	f.DurationVar(&s.duration, "duration", 5*time.Second, "length of the measurement")
	f.StringVar(&s.dir, "dir", "", "folder for the system's own; empty = the temporary folder")
	if err := f.Parse(args[2:]); err != nil {
		return err
	}
	if err := s.validate(f.NArg()); err != nil {
		return err
	}
	result, err := perform(ctx, args[0], args[1], s)
	if err != nil {
		return fmt.Errorf("%s: %w", args[1], err)
	}
	return json.NewEncoder(stdout).Encode(result)
}

func (s settings) validate(extra int) error {
	switch {
	case extra > 0:
		return errUsage
	case s.clients < 1 || s.clients > 256:
		return errors.New("--clients must be 1 to 256")
	case s.record < 32 || s.record > 4096:
		return errors.New("--record must be 32 to 4096 bytes")
	case s.entries < 1024 || s.entries > 1<<24:
		return errors.New("--entries must be 1024 to 16777216")
	case s.warmup < 0 || s.warmup > time.Minute || s.duration < 0 || s.duration > time.Hour:
		return errors.New("--warmup is at most 1m, --duration at most 1h")
	}
	return nil
}

func perform(ctx context.Context, test, name string, s settings) (any, error) {
	switch test {
	case "append":
		w, err := find(writers, name)
		if err != nil {
			return nil, err
		}
		return measureAppend(ctx, w, s)
	case "verify":
		j, err := find(judges, name)
		if err != nil {
			return nil, err
		}
		return measureVerify(ctx, j, s)
	case "prove":
		p, err := find(provers, name)
		if err != nil {
			return nil, err
		}
		return measureProve(ctx, p, s)
	}
	return nil, errUsage
}
