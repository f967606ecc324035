package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tamvd": main})
}

// TestScripts runs the command. In a script,
//
//	await FILE          waits until the file is there
//	address NAME FILE   puts the HOST:PORT of a context file into a variable
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", Cmds: map[string]func(*testscript.TestScript, bool, []string){
		"await": func(ts *testscript.TestScript, _ bool, args []string) {
			again, limit := time.NewTicker(20*time.Millisecond), time.After(time.Minute)
			defer again.Stop()
			for {
				if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
					return
				}
				select {
				case <-again.C:
				case <-limit:
					ts.Fatalf("%s does not come", args[0])
				}
			}
		},
		"address": func(ts *testscript.TestScript, _ bool, args []string) {
			c, err := client.Load(ts.MkAbs(args[1]))
			ts.Check(err)
			ts.Setenv(args[0], strings.TrimPrefix(c.Address, "https://"))
		},
	}})
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

// nobody is a standard output whose disk is full.
type nobody struct{}

func (nobody) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestRecoveryCodeThatNobodySaw(t *testing.T) {
	t.Setenv("LC_ALL", "C")
	var complaints bytes.Buffer
	code := run(t.Context(), []string{"init", "--data", filepath.Join(t.TempDir(), "site")}, nil, nobody{}, &complaints)
	if code == 0 || !strings.Contains(complaints.String(), "could not be shown") || !strings.Contains(complaints.String(), "Remove the data folder") {
		t.Errorf("exit status %d: %s", code, complaints.String())
	}
	if code := run(t.Context(), []string{"version"}, nil, nobody{}, &complaints); code == 0 {
		t.Error("an answer that nobody got counts as one")
	}
}

func TestHintsFitWhoStartsANode(t *testing.T) {
	for _, k := range tap.Kinds() {
		for _, e := range []*tap.Error{tap.E("", k, "x").WithCode("x"), tap.E("x", k, "x")} {
			h := hint(e)
			if k != tap.Refused && k != tap.Held && h == (tap.Text{}) || strings.Contains(h.EN, "openapi") {
				t.Errorf("%s: %q", k, h.EN)
			}
		}
	}
	if h := hint(tap.E("", tap.Conflict, "x").WithCode("member_exists")); h != joinHint {
		t.Errorf("what the site answered: %q", h.EN)
	}
	if h := hint(tap.E("x", tap.Invalid, "x").WithCode("usage")); h != (tap.Text{}) {
		t.Errorf("a mistake in the command line: %q", h.EN)
	}
}
