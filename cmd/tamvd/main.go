// Command tamvd is the appliance: one process that is a whole backend.
//
//	tamvd dev [--nodes N]   a site to try out; without --data it is gone when it ends
//	tamvd init              found a site: its first node's folder, and the code that opens its recovery file
//	tamvd join TOKEN        become another node of a site, and serve
//	tamvd run               serve until SIGINT or SIGTERM
//	tamvd recover           go on alone after the majority was lost for good
//	tamvd version
//
// --data names the folder of the node, /var/lib/tamv unless given.
// It logs to standard error and prints the rest on standard output, in the language
// of the environment's locale, English or Spanish, and goes on when nobody reads
// them. The exit code is 0 after an orderly stop, else that of the error's kind, as
// with tamvctl. `tamvd COMMAND --help` lists the flags, `tamvd --help` the codes.
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
	// A daemon outlives the pipe that it was started with.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
