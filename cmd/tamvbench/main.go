// Command tamvbench measures a running appliance over its real, signed
// interface, the appliance beside other systems, and the quality of the models
// inside it.
//
//	tamvbench intent   --context FILE --clients N --duration D [-o json]
//	tamvbench evidence --context FILE --clients N --duration D [-o json]
//	tamvbench cluster  [--nodes 1,3] [--rounds N] [-o json]
//	tamvbench failover [--rounds N] [-o json]
//	tamvbench ledger   [--tests append,site,verify,prove] [--rounds N] [-o json]
//	tamvbench vector   --base B.fbin --query Q.fbin --truth T.ibin [--peers all] [--picture P.svg] [-o json]
//	tamvbench vector data --out DIR
//	tamvbench quality  --data DIR [-o json]
//
// A load is a closed loop: every client waits for its answer before it asks
// again, so the rate is what the appliance gives, not what it is offered. Beside
// every figure stands the machine's own fsync rate, because that is the limit.
//
// cluster and failover start the appliance themselves (`tamvd dev`), and the
// peers by the program tamvpeers, which is a module of its own (bench/). Each
// peer is measured between two measurements of the appliance, because machines
// are noisy; its ratios are to these two. Peers that are not installed are named
// as skipped.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
