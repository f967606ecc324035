// Command tamvd is the appliance: one process that is a whole backend.
//
//	tamvd dev [--nodes N] [--data DIR] [--listen HOST:PORT]
//	tamvd init, run, join TOKEN, recover
//	tamvd version
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// gcPercent trades memory for time: with a live heap of a few megabytes, Go's
// default of 100 would collect many times a second under load. GOGC overrides it.
const gcPercent = 300

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
