package faults

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Spec is what a node process is told, on its standard input: a token is a secret
// and has no place among arguments or in the environment.
type Spec struct {
	Action    Action
	Node      string
	Data      string // the node's folder
	Listen    string // host:port
	Advertise string // host:port
	Token     string // of an invitation, for Join
}

// clockFile holds the offset of the node's clock. It is beside the node's folder,
// whose disk may be full.
func (s *Spec) clockFile() string { return s.Data + ".clock" }

// Action is how a process begins.
type Action string

// A process prepares its folder, or not, and then runs the node.
const (
	Found Action = "found" // a new site with this node
	Join  Action = "join"  // the site that the token invites to
	Run   Action = "run"   // the folder is prepared already
)

const (
	// childVariable marks a process that is a node.
	childVariable = "TAMV_FAULTS_NODE"
	readyLine     = "ready"
	clockPoll     = 20 * time.Millisecond
)

// IsChild says whether this process was started by [Start].
func IsChild() bool { return os.Getenv(childVariable) != "" }

// ServeChild is the main function of a node process. It reads its Spec, calls run
// until SIGTERM or until the harness is gone, and returns the exit status. run
// calls ready once the node serves, and takes the time from now.
func ServeChild(run func(ctx context.Context, s Spec, now func() time.Time, ready func()) error) int {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	input := bufio.NewReader(os.Stdin)
	var s Spec
	line, err := input.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults: no spec:", err)
		return 2
	}
	go func() { // the pipe ends with the harness, however that died
		_, _ = io.Copy(io.Discard, input)
		os.Exit(3)
	}()
	clock := skewedClock{file: s.clockFile()}
	clock.read()
	go clock.follow(ctx)
	if err := run(ctx, s, clock.now, func() { fmt.Println(readyLine) }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// Process is one node process, running or not. Its methods are called from one
// goroutine at a time.
type Process struct {
	Spec Spec
	Log  string // file that collects what the process writes to standard error
	// Binary is what runs; empty = this binary. Another one is the same harness
	// with nodes of another release.
	Binary string

	asked  bool // to end, by the harness
	cmd    *exec.Cmd
	stdin  io.Closer
	ready  chan struct{} // closed once the node serves
	exited chan struct{} // closed once the process is gone
	err    error         // how it ended; valid once exited is closed
}

// Start starts the process. It does not wait until the node serves; see
// [Process.Ready].
func (p *Process) Start(a Action) error {
	if p.Running() {
		return errors.New("faults: the process runs already")
	}
	spec := p.Spec
	if spec.Action = a; a != Join {
		spec.Token = ""
	}
	line, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(cmp.Or(p.Binary, os.Args[0]))
	cmd.Env = append(os.Environ(), childVariable+"=1")
	cmd.Stderr = log
	// A group of its own: when the harness dies while the process is stopped,
	// the kernel sends SIGHUP to such an orphan instead of leaving it there.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.asked = false
	p.cmd, p.stdin, p.ready, p.exited = cmd, stdin, make(chan struct{}), make(chan struct{})
	go p.watch(cmd, stdout)
	_, err = stdin.Write(append(line, '\n'))
	return err
}

// watch follows one run of the process to its end.
func (p *Process) watch(cmd *exec.Cmd, stdout io.Reader) {
	lines := bufio.NewScanner(stdout)
	for announced := false; lines.Scan(); {
		if !announced && lines.Text() == readyLine {
			announced = true
			close(p.ready)
		}
	}
	p.err = cmd.Wait()
	close(p.exited)
}

// Running says whether there is a process, stopped or not.
func (p *Process) Running() bool {
	if p.exited == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Died says how a process ended that nobody asked to; nil when it runs, or was
// killed or stopped, or never started.
func (p *Process) Died() error {
	if p.exited == nil || p.asked || p.Running() {
		return nil
	}
	return fmt.Errorf("faults: %s ended by itself: %v\n%s", p.Spec.Node, p.err, p.Tail())
}

// Ready waits until the node serves. The error says how the process ended, or
// that ctx did.
func (p *Process) Ready(ctx context.Context) error {
	if p.exited == nil {
		return fmt.Errorf("faults: %s was not started", p.Spec.Node)
	}
	select {
	case <-p.ready:
		return nil
	case <-p.exited:
		return fmt.Errorf("faults: %s ended before it served: %w\n%s", p.Spec.Node, p.err, p.Tail())
	case <-ctx.Done():
		return fmt.Errorf("faults: %s does not serve: %w\n%s", p.Spec.Node, ctx.Err(), p.Tail())
	}
}

// Kill is kill -9. A process that is gone is killed already.
func (p *Process) Kill() error {
	if !p.Running() {
		return nil
	}
	p.asked = true
	err := p.signal(syscall.SIGKILL)
	<-p.exited
	p.stdin.Close()
	return err
}

// Stop asks the process to end and waits for that, no longer than ctx lasts. A
// process that does not end, or ends with a failure, is an error; it is gone
// afterwards in any case.
func (p *Process) Stop(ctx context.Context) error {
	if !p.Running() {
		return nil
	}
	p.asked = true
	if err := p.signal(syscall.SIGTERM); err != nil {
		return errors.Join(err, p.Kill())
	}
	select {
	case <-p.exited:
		p.stdin.Close()
		return p.err
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("faults: %s does not stop", p.Spec.Node), p.Kill())
	}
}

// Pause stops the process where it stands (SIGSTOP) until [Process.Resume].
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on (SIGCONT).
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

func (p *Process) signal(s syscall.Signal) error {
	if !p.Running() {
		return fmt.Errorf("faults: %s does not run", p.Spec.Node)
	}
	return p.cmd.Process.Signal(s)
}

// SetClock moves the node's wall clock by an offset from the machine's, now and
// after every start.
func (p *Process) SetClock(offset time.Duration) error {
	return writeClock(p.Spec.clockFile(), offset)
}

// Tail is the end of the process's log.
func (p *Process) Tail() string {
	const most = 4 << 10
	raw, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return strings.ToValidUTF8(string(raw[max(0, len(raw)-most):]), "?")
}
