package main

import (
	"context"
	"io"
	"strings"
	"syscall"
	"testing"

	"tamv.internal/tamv/cmd/cli"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// fullDisk is a standard output that takes nothing.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func environment(name string) string {
	return map[string]string{client.ContextVariable: contextFile}[name]
}

func TestSignalWhileAPersonIsWaitedFor(t *testing.T) {
	silent, writer := io.Pipe() // nobody ever types
	defer writer.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errOut strings.Builder
	code := run(ctx, []string{"api", "POST", "/v1/memory/search", "--data", "@-"}, console{in: silent, out: &out, errOut: &errOut, getenv: environment})
	if code != cli.Interrupted || !strings.Contains(errOut.String(), "interrupted") || out.String() != "" {
		t.Errorf("exit code %d: %s%s", code, out.String(), errOut.String())
	}
}

func TestAnswerThatNobodyGot(t *testing.T) {
	for _, line := range []string{"status", "status -o json", "version", "--help"} {
		var errOut strings.Builder
		code := run(t.Context(), strings.Fields(line), console{in: strings.NewReader(""), out: fullDisk{}, errOut: &errOut, getenv: environment})
		if code != tap.Unavailable.Traits().ExitCode || !strings.Contains(errOut.String(), "standard output cannot be written: no space is left on the disk") {
			t.Errorf("%s: exit code %d: %s", line, code, errOut.String())
		}
	}
}
