// Package server runs the systems that are measured beside the appliance and that
// are servers: it starts their processes on loopback, waits until they answer, and
// stops them, children and all. [StartPostgres] is here because two programs need
// the same Postgres, with the same settings.
//
// Everything a server says goes to a file in its group's folder; the end of it is
// part of the error when the server does not come up. Nothing survives Stop but
// that folder, which belongs to the caller.
package server

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
)

// Group is a running system: its processes, one per node, in the order in which
// they were launched. It is used by one goroutine at a time.
type Group struct {
	Folder    string // absolute; for the data and the logs of all
	Processes []*Process
}

// NewGroup is a group without processes in a folder that exists.
func NewGroup(folder string) (*Group, error) {
	folder, err := filepath.Abs(folder)
	return &Group{Folder: folder}, err
}

// Process is one node.
type Process struct {
	Address string // HOST:PORT for clients
	command *exec.Cmd
	log     string
	ended   chan struct{} // closed when it has ended
	err     error         // valid then
	quit    os.Signal     // asks it to stop at once, cleanly
}

// Launch starts a command whose output goes to a file in the group's folder. The
// signal quit asks it to stop at once, cleanly.
func (g *Group) Launch(address string, quit os.Signal, command *exec.Cmd) (*Process, error) {
	p := &Process{
		Address: address, command: command, quit: quit, ended: make(chan struct{}),
		log: filepath.Join(g.Folder, fmt.Sprintf("node-%d.log", len(g.Processes))),
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
	g.Processes = append(g.Processes, p)
	go func() {
		p.err = command.Wait()
		close(p.ended)
	}()
	return p, nil
}

// Await calls ready until it succeeds. It fails when the process ends or the
// context does, with the last lines of the process's log.
func (p *Process) Await(ctx context.Context, ready func(ctx context.Context) error) error {
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
func (p *Process) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return strings.ToValidUTF8(string(bytes.TrimSpace(b[max(0, len(b)-600):])), "?")
}

// Kill ends the process with SIGKILL and waits for its end.
func (p *Process) Kill() error {
	err := p.command.Process.Kill()
	<-p.ended
	return err
}

// stopLimit is how long a process may take to stop when it is asked to.
const stopLimit = 10 * time.Second

func (p *Process) stop() {
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

// Stop ends every process and its children. It may be called more than once.
func (g *Group) Stop() {
	for _, p := range g.Processes {
		p.stop()
	}
}

// PIDs of all nodes.
func (g *Group) PIDs() []int {
	var pids []int
	for _, p := range g.Processes {
		pids = append(pids, p.command.Process.Pid)
	}
	return pids
}

// Addresses of all nodes, for clients that choose themselves.
func (g *Group) Addresses() []string {
	var a []string
	for _, p := range g.Processes {
		a = append(a, p.Address)
	}
	return a
}

// Node is the process that client number uses.
func (g *Group) Node(number int) *Process { return g.Processes[number%len(g.Processes)] }

// FreeAddresses finds n loopback addresses with free ports. Another process
// could take one before the peer does; the peer then says so and ends.
func FreeAddresses(n int) ([]string, error) {
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

// NotInstalled is the error for a program that is not on this machine.
func NotInstalled(program string) error {
	return fmt.Errorf("%s is not installed", program)
}

// Output is the first line that a program prints, for its version.
func Output(program string, args ...string) (string, error) {
	out, err := exec.Command(program, args...).Output()
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line), err
}
