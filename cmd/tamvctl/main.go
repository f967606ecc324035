// Command tamvctl operates an appliance: identities, intents, memory, money,
// evidence, erasure, alerts, guardians and rooms, and a demonstration of all of them.
// It is also the tool of those who watch a site from outside: auditors, who verify
// bundles and whole logs, and witnesses, who cosign checkpoints; these need no
// appliance and no network.
//
// A context file (--context, or the variable TAMV_CONTEXT) says which appliance
// and as whom; `tamvd dev` writes one. Every verb prints a table for people, or
// the appliance's own fields as JSON or YAML (-o), in English or Spanish
// (--lang). Errors go to standard error in the same form, with what to do next;
// the exit code is that of the error's kind (0 ok, 1 internal, 2 invalid, 3
// unauthenticated, 4 forbidden, 5 not found, 6 conflict, 7 refused, 8 held, 9
// limited, 10 unavailable, 11 timeout), or 130 when a signal ended it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], console{
		in: os.Stdin, out: os.Stdout, errOut: os.Stderr, getenv: os.Getenv,
		terminal: term.IsTerminal(int(os.Stderr.Fd())),
	})
	stop()
	os.Exit(code)
}
