package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tamv.internal/tamv/tap"
)

// daemon is an appliance that was started for a measurement: `tamvd dev`, with a
// temporary folder.
type daemon struct {
	folder  string
	context string // its context file
	command *exec.Cmd
	ended   chan struct{} // closed when it has ended
	output  *bytes.Buffer // valid then
}

const (
	startLimit = time.Minute
	stopLimit  = 20 * time.Second
)

// startDaemon runs `tamvd dev` with the given number of nodes in a folder
// below dir and returns once it has written its context.
func startDaemon(ctx context.Context, tamvd, dir string, nodes int) (*daemon, error) {
	folder, err := os.MkdirTemp(dir, "tamvbench-")
	if err != nil {
		return nil, tap.Wrap("bench.start", tap.Invalid, err, "no folder for the appliance")
	}
	args := []string{"dev", "--data", folder, "--listen", "127.0.0.1:0"}
	if nodes > 1 {
		args = append(args, "--nodes", strconv.Itoa(nodes))
	}
	d := &daemon{
		folder: folder, context: filepath.Join(folder, "context.json"),
		command: exec.Command(tamvd, args...), ended: make(chan struct{}), output: &bytes.Buffer{},
	}
	d.command.Stdout, d.command.Stderr = d.output, d.output
	// Ctrl-C is for tamvbench, which then stops the appliance; and what must be
	// killed is killed with its children.
	d.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	d.command.WaitDelay = stopLimit
	if err := d.command.Start(); err != nil {
		return nil, errors.Join(tap.Wrap("bench.start", tap.NotFound, err, "%s does not start", tamvd), os.RemoveAll(folder))
	}
	go func() {
		_ = d.command.Wait() // how it ended is told by its output
		close(d.ended)
	}()
	if err := d.await(ctx); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

func (d *daemon) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(d.context); err == nil {
			return nil
		}
		select {
		case <-d.ended:
			return tap.E("bench.start", tap.Unavailable, "the appliance ended: %s", bytes.TrimSpace(d.output.Bytes()))
		case <-ctx.Done():
			return tap.Wrap("bench.start", tap.Unavailable, ctx.Err(), "the appliance does not become ready")
		case <-tick.C:
		}
	}
}

// stop ends the appliance and removes its folder.
func (d *daemon) stop() error {
	if d.command.Process.Signal(syscall.SIGTERM) == nil {
		t := time.NewTimer(stopLimit)
		defer t.Stop()
		select {
		case <-d.ended:
		case <-t.C:
		}
	}
	// Whatever is left of its process group; usually nothing.
	_ = syscall.Kill(-d.command.Process.Pid, syscall.SIGKILL)
	<-d.ended
	return os.RemoveAll(d.folder)
}

// devNode is a node as `tamvd dev --nodes N` describes it in dev.json.
type devNode struct {
	Node    string `json:"node"`
	PID     int    `json:"pid"`
	Address string `json:"address"`
}

// nodes reads dev.json, which lies beside the context.
func (d *daemon) nodes() ([]devNode, error) {
	path := filepath.Join(filepath.Dir(d.context), "dev.json")
	raw, err := os.ReadFile(path)
	var file struct {
		Nodes []devNode `json:"nodes"`
	}
	if err == nil {
		err = json.Unmarshal(raw, &file)
	}
	if err != nil {
		return nil, tap.Wrap("bench.nodes", tap.Internal, err, "%s does not name the nodes", path)
	}
	return file.Nodes, nil
}

// runPeers calls the program beside us that runs the peers and decodes what it
// prints.
func runPeers(ctx context.Context, program string, into any, args ...string) error {
	c := exec.CommandContext(ctx, program, args...)
	// It must stop its servers itself.
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = stopLimit
	out, err := c.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return tap.E("bench.peers", tap.Unavailable, "%s", strings.TrimSpace(string(exit.Stderr)))
	}
	if err == nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		return tap.Wrap("bench.peers", tap.Unavailable, err, "%s does not answer", program)
	}
	return nil
}

// beside is a program in the folder of this one.
func beside(name string) string {
	own, err := os.Executable()
	if err != nil {
		return name // the path will be searched for it
	}
	return filepath.Join(filepath.Dir(own), name)
}
