package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"tamv.internal/tamv/tap"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"tamvd": func() { os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}

// stopper ends a running command as soon as it has said that it is ready.
type stopper struct {
	bytes.Buffer
	stop context.CancelFunc
}

func (s *stopper) Write(p []byte) (int, error) {
	if strings.Contains(s.String()+string(p), "Ctrl-C") {
		s.stop()
	}
	return s.Buffer.Write(p)
}

func TestDevSaysWhereItIsAndStops(t *testing.T) {
	for lang, next := range map[string]string{"en_GB.UTF-8": "Next", "es_MX.UTF-8": "Ahora"} {
		t.Setenv("LC_ALL", lang)
		t.Setenv("TMPDIR", t.TempDir())
		ctx, cancel := context.WithCancel(t.Context())
		out := &stopper{stop: cancel}
		var complaints bytes.Buffer
		if code := run(ctx, []string{"dev", "--listen", "127.0.0.1:0"}, nil, out, &complaints); code != 0 {
			t.Fatalf("exit status %d: %s", code, complaints.String())
		}
		for _, want := range []string{"tamvd " + tap.Release, "https://127.0.0.1:", "quic://127.0.0.1:", "context.json demo", next} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: the banner lacks %q:\n%s", lang, want, out.String())
			}
		}
		left, err := os.ReadDir(os.TempDir())
		if err != nil || len(left) != 0 {
			t.Errorf("the temporary folder is left behind: %v %v", left, err)
		}
	}
}
