package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"tamv.internal/tamv/appliance"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"tamvbench": func() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

func TestScripts(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- appliance.Run(ctx, appliance.Config{
			Data: t.TempDir(), Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler),
			Ready: func(r appliance.Running) { ready <- r.Context },
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the appliance stopped with %v", err)
		}
	})
	var file string
	select {
	case file = <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	sets, err := filepath.Abs("testdata/sets")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("TAMV_CONTEXT", file)
			e.Setenv("SETS", sets)
			return nil
		},
	})
}

func TestPercentile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1)*time.Millisecond)
	}
	for q, want := range map[float64]float64{.5: 50, .95: 95, .99: 99, 1: 100} {
		if got := percentile(hundred, q); got != want {
			t.Errorf("percentile %v of 1..100 ms is %v", q, got)
		}
	}
	if percentile(nil, .5) != 0 {
		t.Error("no operations have no latency")
	}
}
