package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"tamv.internal/tamv/appliance"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap/client"
)

// contextFile is the operator's context of the one appliance that all tests of
// this package talk to.
var contextFile string

func TestMain(m *testing.M) {
	data, err := os.MkdirTemp("", "tamvctl-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan appliance.Running, 1), make(chan error, 1)
	go func() {
		ended <- appliance.Run(ctx, appliance.Config{
			Data: data, Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler),
			Ready: func(r appliance.Running) { ready <- r },
		})
	}()
	code := 1
	select {
	case r := <-ready:
		contextFile = r.Context
		if awaitHistory() {
			code = m.Run()
		}
		cancel()
		err = <-ended
	case err = <-ended:
	}
	cancel()
	os.RemoveAll(data)
	if err != nil {
		fmt.Fprintln(os.Stderr, "appliance:", err)
		code = 1
	}
	os.Exit(code)
}

// awaitHistory returns when the leader has written down the log's first keys, which it
// does within the first second of a log.
func awaitHistory() bool {
	again, limit := time.NewTicker(20*time.Millisecond), time.After(20*time.Second)
	defer again.Stop()
	for {
		var out bytes.Buffer
		run(context.Background(), []string{"evidence", "key", "--history"}, console{
			in: strings.NewReader(""), out: &out, errOut: io.Discard, getenv: func(name string) string { return map[string]string{client.ContextVariable: contextFile}[name] },
		})
		if strings.Contains(out.String(), "record 0") {
			return true
		}
		select {
		case <-again.C:
		case <-limit:
			fmt.Fprintln(os.Stderr, "the log has no key history")
			return false
		}
	}
}

// TestScripts runs every verb against the appliance. In a script,
//
//	tamvctl ARGS            must succeed (with "!" must fail)
//	exits CODE ARGS         must end with this exit code
//	feed FILE ARGS          is tamvctl with standard input
//	take NAME PATH          puts a field of the JSON just printed into a variable
//	flip FILE TEXT          changes a byte behind the first TEXT in a file
//	cut FILE N              removes the last N bytes of a file
//	static NAME DIR         serves a folder over HTTP and puts its URL into a variable
//	spoil DIR               changes an entry and the tile of a small mirror
//	later FILE              moves the visit in a file to a size that no ledger has
//	fork                    writes two requests of one log with two histories, and its key
//	context FILE NAME=VALUE writes the operator's context with other values
//
// The files pixel.png and noise.bin (neither text nor a medium) are there; $OTHERKEY is the key of another log; $CONTEXT is the operator's context, which $TAMV_CONTEXT names too,
// and $ADDRESS the appliance's address.
func TestScripts(t *testing.T) { scripts(t, "testdata") }

// TestRotation is apart from the others, to which the log's keys must stay what they
// were.
func TestRotation(t *testing.T) { scripts(t, "testdata/rotation") }

func scripts(t *testing.T, folder string) {
	c, err := client.Load(contextFile)
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: folder,
		Setup: func(e *testscript.Env) error {
			e.Setenv("TAMV_CONTEXT", contextFile)
			e.Setenv("CONTEXT", contextFile)
			e.Setenv("ADDRESS", c.Address)
			e.Setenv("LC_ALL", "C")
			other, err := bookpi.GenerateSigningKey(rand.Reader, "tamv/other", bookpi.AlgorithmEd25519)
			if err != nil {
				return err
			}
			e.Setenv("OTHERKEY", other.Verifier().String())
			noise := []byte{0x00, 0xff, 0xfe, 0x80, 0x01, 0xc3, 0x28}
			return errors.Join(writePixel(filepath.Join(e.WorkDir, "pixel.png")), os.WriteFile(filepath.Join(e.WorkDir, "noise.bin"), noise, 0o600))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"tamvctl": must, "exits": exits,
			"feed": func(ts *testscript.TestScript, neg bool, args []string) {
				if code := script(ts, ts.ReadFile(args[0]), args[1:]); (code != 0) != neg {
					ts.Fatalf("exit code %d", code)
				}
			},
			"take":   take,
			"flip":   flip,
			"cut":    cut,
			"static": static,
			"spoil":  spoil,
			"later":  later,
			"fork":   fork,
			"grow":   grow,
			"context": func(ts *testscript.TestScript, _ bool, args []string) {
				other := *c
				for _, pair := range args[1:] {
					name, value, _ := strings.Cut(pair, "=")
					*map[string]*string{"address": &other.Address, "ca": &other.CA, "identity": &other.Identity, "key": &other.Key}[name] = value
				}
				ts.Check(other.Save(ts.MkAbs(args[0])))
			},
		},
	})
}

// writePixel writes the smallest image.
func writePixel(file string) error {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 1, 1))); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o600)
}

// must runs a command line that must succeed, or must fail.
func must(ts *testscript.TestScript, neg bool, args []string) {
	if code := script(ts, "", args); (code != 0) != neg {
		ts.Fatalf("exit code %d", code)
	}
}

// exits runs a command line that must end with an exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if code := script(ts, "", args[1:]); code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// script runs one command line of a script in this process.
func script(ts *testscript.TestScript, input string, args []string) int {
	return run(context.Background(), args, console{
		in: strings.NewReader(input), out: ts.Stdout(), errOut: ts.Stderr(), getenv: ts.Getenv, dir: ts.MkAbs("."),
	})
}

// take reads a field by its dotted path; numbers index arrays.
func take(ts *testscript.TestScript, _ bool, args []string) {
	d := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	d.UseNumber()
	var v any
	ts.Check(d.Decode(&v))
	for name := range strings.SplitSeq(args[1], ".") {
		switch inside := v.(type) {
		case map[string]any:
			v = inside[name]
		case []any:
			i, err := strconv.Atoi(name)
			ts.Check(err)
			if i >= len(inside) {
				ts.Fatalf("%s: %d elements", args[1], len(inside))
			}
			v = inside[i]
		}
	}
	if v == nil {
		ts.Fatalf("%s is not there", args[1])
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}

// flip changes one byte of a file.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	file := ts.MkAbs(args[0])
	raw, err := os.ReadFile(file)
	ts.Check(err)
	at := bytes.Index(raw, []byte(args[1]))
	if at < 0 {
		ts.Fatalf("%s has no %q", args[0], args[1])
	}
	raw[at+len(args[1])+8] ^= 1
	ts.Check(os.WriteFile(file, raw, 0o600))
}

// outcomeOf is what one command line came to.
type outcomeOf struct {
	code        int
	out, errOut string
}

// tamvctl runs a command line as the operator.
func tamvctl(t *testing.T, args ...string) outcomeOf {
	t.Helper()
	return tamvctlIn(t, map[string]string{client.ContextVariable: contextFile}, "", args...)
}

func tamvctlIn(t *testing.T, env map[string]string, input string, args ...string) outcomeOf {
	t.Helper()
	var out, errOut bytes.Buffer
	code := run(t.Context(), args, console{
		in: strings.NewReader(input), out: &out, errOut: &errOut, dir: t.TempDir(),
		getenv: func(name string) string { return env[name] },
	})
	return outcomeOf{code, out.String(), errOut.String()}
}

// deadContext is a context whose appliance does not answer.
func deadContext(t *testing.T) string {
	t.Helper()
	c, err := client.Load(contextFile)
	if err != nil {
		t.Fatal(err)
	}
	c.Address = "https://127.0.0.1:1"
	file := filepath.Join(t.TempDir(), "dead.json")
	if err := c.Save(file); err != nil {
		t.Fatal(err)
	}
	return file
}

// failingWriter is a full disk, or a reader that went away.
type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
