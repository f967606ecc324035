package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"tamv.internal/tamv/cmd/tamvbench/load"
)

// group is a running peer: its processes, one per node, and its folder.
type group struct {
	folder    string
	processes []*process
	closers   []func() // close the clients
}

func newGroup(dir string) (*group, error) {
	folder, err := os.MkdirTemp(dir, "tamv-peer-")
	if err != nil {
		return nil, err
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return nil, err
	}
	return &group{folder: folder}, nil
}

// process is one node of a peer.
type process struct {
	address string // HOST:PORT for clients
	command *exec.Cmd
	log     string
	ended   chan struct{} // closed when it has ended
	err     error         // valid then
	quit    os.Signal     // asks it to stop at once, cleanly
}

// launch starts a command whose output goes to a file in the group's folder.
func (g *group) launch(address string, quit os.Signal, command *exec.Cmd) (*process, error) {
	p := &process{
		address: address, command: command, quit: quit, ended: make(chan struct{}),
		log: filepath.Join(g.folder, fmt.Sprintf("node-%d.log", len(g.processes))),
	}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the process has its own descriptor
	command.Stdout, command.Stderr = out, out
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	command.SysProcAttr.Setpgid = true // Ctrl-C is for us; we stop the peer
	if err := command.Start(); err != nil {
		return nil, err
	}
	g.processes = append(g.processes, p)
	go func() {
		p.err = command.Wait()
		close(p.ended)
	}()
	return p, nil
}

// await calls ready until it succeeds. It fails when the process ends or the
// context does, with the last lines of the process's log.
func (p *process) await(ctx context.Context, ready func(ctx context.Context) error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		one, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := ready(one)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended with %w: %s", filepath.Base(p.command.Path), p.err, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w: %s", filepath.Base(p.command.Path), err, p.tail())
		case <-tick.C:
		}
	}
}

// tail is the end of the log.
func (p *process) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return strings.ToValidUTF8(string(bytes.TrimSpace(b[max(0, len(b)-600):])), "?")
}

// kill ends the process with SIGKILL and waits for its end.
func (p *process) kill() error {
	err := p.command.Process.Kill()
	<-p.ended
	return err
}

// stopLimit is how long a process may take to stop when it is asked to.
const stopLimit = 10 * time.Second

func (p *process) stop() {
	if p.command.Process.Signal(p.quit) == nil {
		t := time.NewTimer(stopLimit)
		defer t.Stop()
		select {
		case <-p.ended:
			return
		case <-t.C:
		}
	}
	// Its children too; the group may be gone already.
	_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
	<-p.ended
}

// stop ends everything and removes the folder.
func (g *group) stop() error {
	for _, closeClient := range g.closers {
		closeClient()
	}
	for _, p := range g.processes {
		p.stop()
	}
	return os.RemoveAll(g.folder)
}

// cpu is what all nodes have used, in seconds.
func (g *group) cpu() (float64, error) {
	var pids []int
	for _, p := range g.processes {
		pids = append(pids, p.command.Process.Pid)
	}
	return load.TreeCPU(pids...)
}

// addresses of all nodes, for clients that choose themselves.
func (g *group) addresses() []string {
	var a []string
	for _, p := range g.processes {
		a = append(a, p.address)
	}
	return a
}

// node is the process that client number uses.
func (g *group) node(number int) *process { return g.processes[number%len(g.processes)] }

// freeAddresses finds n loopback addresses with free ports. Another process
// could take one before the peer does; the peer then says so and ends.
func freeAddresses(n int) ([]string, error) {
	var found []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(errors.New("no free port"), err)
		}
		defer l.Close() // only at the end, or the same port comes twice
		found = append(found, l.Addr().String())
	}
	return found, nil
}

// programOutput is the first line that a program prints, for its version.
func programOutput(program string, args ...string) (string, error) {
	out, err := exec.Command(program, args...).Output()
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line), err
}
