package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"tamv.internal/tamv/appliance"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"tamvbench": func() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) },
		"tamvd":     func() { standIn(os.Args[1:]) },
		"tamvpeers": func() { fmt.Println(os.Getenv("PEERS_" + os.Args[1])) },
	})
}

// standIn is `tamvd dev` for the scripts. A site of several nodes is one node
// under the addresses of all, and it starts again when it is killed: what
// tamvbench needs of a site that survives the loss of its leader.
func standIn(args []string) {
	flags := map[string]string{}
	for i := 1; i+1 < len(args); i += 2 {
		flags[args[i]] = args[i+1]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := errors.New("no --data")
	switch {
	case os.Getenv("TAMVD_BROKEN") != "":
		err = errors.New("this daemon does not start")
	case flags["--nodes"] != "":
		err = standInSite(ctx, flags["--data"])
	case flags["--data"] != "":
		err = appliance.Run(ctx, appliance.Config{Data: flags["--data"], Listen: flags["--listen"], Logger: slog.New(slog.DiscardHandler)})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func standInSite(ctx context.Context, folder string) error {
	data, listen := filepath.Join(folder, "n1"), "127.0.0.1:0"
	for ctx.Err() == nil {
		node := exec.CommandContext(ctx, "tamvd", "dev", "--data", data, "--listen", listen)
		node.Cancel = func() error { return node.Process.Signal(syscall.SIGTERM) }
		node.Stderr = os.Stderr
		if err := node.Start(); err != nil {
			return err
		}
		if listen == "127.0.0.1:0" {
			address, err := describeSite(ctx, folder, data, node.Process.Pid)
			if err != nil {
				return err
			}
			listen = address
		}
		_ = node.Wait() // killed, which is what this is for
	}
	return nil
}

// describeSite writes context.json and dev.json once the node is ready.
func describeSite(ctx context.Context, folder, data string, pid int) (listen string, err error) {
	d := &daemon{context: filepath.Join(data, "context.json"), ended: make(chan struct{})}
	if err := d.await(ctx); err != nil {
		return "", err
	}
	raw, err := os.ReadFile(d.context)
	if err != nil {
		return "", err
	}
	var c map[string]any
	if err := json.Unmarshal(raw, &c); err != nil {
		return "", err
	}
	address := c["address"].(string)
	c["addresses"] = []string{address, address, address}
	for _, name := range []string{"ca", "key"} {
		if path := c[name].(string); !filepath.IsAbs(path) {
			c[name] = filepath.Join(data, path)
		}
	}
	if raw, err = json.Marshal(c); err != nil {
		return "", err
	}
	dev := fmt.Sprintf(`{"nodes":[{"node":"n1","pid":%d,"address":%q,"data":%q}]}`, pid, address, data)
	if err := os.WriteFile(filepath.Join(folder, "dev.json"), []byte(dev), 0o600); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(folder, "new"), raw, 0o600); err != nil {
		return "", err
	}
	return strings.TrimPrefix(address, "https://"), os.Rename(filepath.Join(folder, "new"), filepath.Join(folder, "context.json"))
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
