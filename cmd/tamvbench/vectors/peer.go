package vectors

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tamv.internal/tamv/tap"
)

// Listing says of a peer whether it can run here.
type Listing struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Missing string `json:"missing,omitempty"` // why it cannot run here, and what to install
}

// ListPeers returns the peers that are known: those in other languages, which are
// part of this package, and those that the program lists, which has them as its
// libraries. With an error of kind NotFound, because the program does not do so,
// come the former.
func ListPeers(ctx context.Context, program string) ([]Listing, error) {
	var all []Listing
	for _, n := range natives {
		l := Listing{Name: n.name}
		var err error
		if l.Version, err = n.locate(ctx); err != nil {
			l.Missing = err.Error()
		}
		all = append(all, l)
	}
	var complaint bytes.Buffer
	c := exec.CommandContext(ctx, program, "list")
	c.Stderr = &complaint
	out, err := c.Output()
	var others []Listing
	if err == nil {
		err = json.Unmarshal(out, &others)
	}
	if err != nil {
		return all, tap.Wrap(opPeer, tap.NotFound, err, "%s does not list peers%s", program, because(complaint.String()))
	}
	return append(all, others...), nil
}

// because puts what a program complained of behind a sentence, if it did.
func because(complaint string) string {
	if complaint = strings.TrimSpace(complaint); complaint != "" {
		return " (" + complaint + ")"
	}
	return ""
}

// Peer is an index in a process of its own, which reads the files of its
// [Parameters], builds, and prints a [Built] as one line of JSON. For each line it
// then reads, which holds an ef, it answers all queries and prints a [Pass]. At
// the end of its input it ends.
//
// The programs of this package take the parameters in their order; others are
// started as `PROGRAM run NAME` with the parameters as flags.
type Peer struct {
	name       string
	program    string
	parameters Parameters
	command    *exec.Cmd
	folder     string // of a program of this package while it runs
	stdin      io.WriteCloser
	stdout     *bufio.Reader
	stderr     bytes.Buffer
	ended      bool
}

const (
	opPeer = "bench.vector.peer"
	// maxLine bounds what a peer may print in a line.
	maxLine = 1 << 16
	// goodbye is how long a peer may take to end once its input has ended.
	goodbye = 10 * time.Second
)

// NewPeer returns the peer of a name, which the program has if this package does
// not. Its process runs from Build to Close.
func NewPeer(program, name string, p Parameters) *Peer {
	return &Peer{name: name, program: program, parameters: p}
}

// prepare makes the command.
func (p *Peer) prepare(ctx context.Context) (err error) {
	if n, ok := findNative(p.name); ok {
		p.command, p.folder, err = n.unpacked(ctx, p.parameters)
		if err != nil {
			p.remove()
			return tap.Wrap(opPeer, tap.NotFound, err, "the program cannot be made")
		}
	} else {
		q := p.parameters
		p.command = exec.Command(p.program, "run", p.name, "--base", q.Base, "--query", q.Query, "--truth", q.Truth, "--metric", q.Metric,
			"--m", strconv.Itoa(q.M), "--ef-construction", strconv.Itoa(q.EfConstruction), "--threads", strconv.Itoa(q.Threads))
	}
	// Ctrl-C is for tamvbench, which then ends the peer with its children.
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.command.WaitDelay = goodbye
	p.command.Stderr = &p.stderr
	return nil
}

// remove deletes what was unpacked; what cannot be deleted is in the system's
// folder for such things.
func (p *Peer) remove() {
	if p.folder != "" {
		_ = os.RemoveAll(p.folder)
	}
}

// Name returns the peer's name.
func (p *Peer) Name() string { return p.name }

// Build starts the process and waits until it has built.
func (p *Peer) Build(ctx context.Context) (Built, error) {
	var b Built
	if err := p.prepare(ctx); err != nil {
		return b, err
	}
	in, err := p.command.StdinPipe()
	if err != nil {
		return b, err
	}
	out, err := p.command.StdoutPipe()
	if err != nil {
		return b, err
	}
	if err := p.command.Start(); err != nil {
		p.remove()
		return b, tap.Wrap(opPeer, tap.NotFound, err, "the program does not start")
	}
	p.stdin, p.stdout = in, bufio.NewReaderSize(out, maxLine)
	if err := p.answer(ctx, &b); err != nil {
		return b, err
	}
	if b.Rows < 1 || !(b.CPU > 0) || !(b.Bytes >= 0) {
		return b, p.failed(fmt.Errorf("it claims %+v", b))
	}
	return b, nil
}

// Pass asks for a pass.
func (p *Peer) Pass(ctx context.Context, ef int) (Pass, error) {
	var one Pass
	if _, err := fmt.Fprintln(p.stdin, ef); err != nil {
		return one, p.failed(err)
	}
	if err := p.answer(ctx, &one); err != nil {
		return one, err
	}
	if one.EF != ef || !(one.Recall >= 0 && one.Recall <= 1) || !(one.CPU > 0) {
		return one, p.failed(fmt.Errorf("it claims %+v", one))
	}
	return one, nil
}

// answer reads one line. When ctx ends, the process is killed.
func (p *Peer) answer(ctx context.Context, into any) error {
	stop := context.AfterFunc(ctx, p.kill)
	defer stop()
	line, err := p.stdout.ReadSlice('\n')
	if ctx.Err() != nil {
		return tap.AsError(ctx.Err())
	}
	if err == nil {
		err = json.Unmarshal(line, into)
	}
	if err != nil {
		return p.failed(err)
	}
	return nil
}

// failed ends the process and tells what it said.
func (p *Peer) failed(err error) error {
	p.end()
	said := strings.ToValidUTF8(strings.TrimSpace(p.stderr.String()), "?")
	return tap.Wrap(opPeer, tap.Unavailable, err, "it stopped answering: %s", said[:min(len(said), 600)])
}

// Close ends the process.
func (p *Peer) Close() error {
	if p.stdin != nil && !p.ended {
		_ = p.stdin.Close() // it may have ended already
		late := time.AfterFunc(goodbye, p.kill)
		defer late.Stop()
		p.ended = true
		_ = p.command.Wait() // how it ended changes no measurement
		p.remove()
	}
	return nil
}

func (p *Peer) end() {
	if !p.ended {
		p.kill()
		p.ended = true
		_ = p.command.Wait() // it was killed
		p.remove()
	}
}

// kill ends the process and its children; it may run beside the other methods.
func (p *Peer) kill() { _ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL) }
