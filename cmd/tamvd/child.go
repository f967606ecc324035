package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"tamv.internal/tamv/tap"
)

const (
	startTimeout = 60 * time.Second // of a node, and of a site
	stopTimeout  = 20 * time.Second // before a node is killed
	restartPause = time.Second      // before a node that died is started again
)

// child is one node of a development site: a process that is started again
// whenever it dies.
type child struct {
	name    string
	folder  string
	address string
	flags   []string // of the development site, for each of its nodes

	mu      sync.Mutex
	process *os.Process // guarded by mu; the present one
	spoke   int64       // guarded by mu; length of the log when it began
	stopped bool        // guarded by mu
	ended   chan struct{}
}

// run starts the process and keeps it running until the stop; with a token it
// joins the site first. changed is called whenever there is another process. One
// that ends before it ever served fails with what it said: it would again.
func (c *child) run(ctx context.Context, fail context.CancelCauseFunc, token string, changed func() error) error {
	if err := os.MkdirAll(c.folder, 0o700); err != nil {
		return tap.Wrap("tamvd.dev", tap.Unavailable, err, "the node's folder cannot be made")
	}
	// What an earlier run left would look like this one's.
	_ = os.Remove(filepath.Join(c.folder, "context.json"))
	rest := append([]string{"--data", c.folder, "--listen", c.address}, c.flags...)
	args := append([]string{"run"}, rest...)
	if token != "" {
		args = append([]string{"join", "-", "--node", c.name}, rest...)
	}
	cmd, err := c.start(args, token)
	if err != nil {
		return err
	}
	c.ended = make(chan struct{})
	served := false
	go func() {
		defer close(c.ended)
		for {
			_ = cmd.Wait()
			c.mu.Lock()
			stopped := c.stopped
			c.mu.Unlock()
			if stopped {
				return
			}
			if !served && !c.ready() {
				fail(tap.E("tamvd.dev", tap.Unavailable, "node %s did not start: %s; its log is %s", c.name, c.lastWords(), c.log()))
				return
			}
			served = true
			select {
			case <-ctx.Done():
				return
			case <-time.After(restartPause):
			}
			if cmd, err = c.start(append([]string{"run"}, rest...), ""); err != nil {
				fail(err)
				return
			}
			if err := changed(); err != nil {
				fail(err)
			}
		}
	}()
	return changed()
}

// start starts one process; its output goes to a file in its folder.
func (c *child) start(args []string, input string) (*exec.Cmd, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	self, err := os.Executable()
	if err != nil {
		return nil, tap.Wrap("tamvd.dev", tap.Internal, err, "this program does not find itself")
	}
	log, err := os.OpenFile(c.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, tap.Wrap("tamvd.dev", tap.Unavailable, err, "the node's log cannot be written")
	}
	defer log.Close()
	if before, err := log.Stat(); err == nil {
		c.spoke = before.Size()
	}
	cmd := exec.Command(self, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), log, log
	cmd.SysProcAttr = detached()
	if err := cmd.Start(); err != nil {
		return nil, tap.Wrap("tamvd.dev", tap.Unavailable, err, "node %s cannot be started", c.name)
	}
	c.process = cmd.Process
	if c.stopped { // while it was being started again
		_ = c.process.Kill()
	}
	return cmd, nil
}

func (c *child) pid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		return 0
	}
	return c.process.Pid
}

// log is the file with what the processes of this node said.
func (c *child) log() string { return filepath.Join(c.folder, "tamvd.log") }

// lastWords are the error that the process ended with, if it said one.
func (c *child) lastWords() string {
	c.mu.Lock()
	spoke := c.spoke
	c.mu.Unlock()
	said, err := os.ReadFile(c.log())
	if err != nil || int64(len(said)) < spoke {
		return "its log cannot be read"
	}
	for _, line := range slices.Backward(strings.Split(string(said[spoke:]), "\n")) {
		if words, found := strings.CutPrefix(line, "tamvd: "); found {
			return words
		}
	}
	return "it was ended"
}

// ready says whether the node has written its context file.
func (c *child) ready() bool {
	_, err := os.Stat(filepath.Join(c.folder, "context.json"))
	return err == nil
}

// awaitReady waits until the node is ready; the error is the cause of ctx's end,
// or Unavailable when it takes too long.
func (c *child) awaitReady(ctx context.Context) error {
	late, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !c.ready() {
		select {
		case <-ticker.C:
		case <-late.Done():
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return tap.E("tamvd.dev", tap.Unavailable, "node %s did not start within %s; its log is %s", c.name, startTimeout, c.log())
		}
	}
	return nil
}

// stop ends the process in good order, or kills it when it takes too long.
func (c *child) stop() error {
	c.mu.Lock()
	c.stopped = true
	process := c.process
	c.mu.Unlock()
	if process == nil || c.ended == nil {
		return nil
	}
	_ = process.Signal(syscall.SIGTERM) // it may have ended by itself
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-c.ended:
		return nil
	case <-timer.C:
	}
	_ = process.Kill()
	<-c.ended
	return tap.E("tamvd.dev", tap.Timeout, "node %s did not stop and was killed; its log is %s", c.name, c.log())
}

// writeJSON replaces a small file in one step.
func writeJSON(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		err = os.WriteFile(path+".incoming", append(raw, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(path+".incoming", path)
	}
	if err != nil {
		return tap.Wrap("tamvd.dev", tap.Unavailable, err, "%s cannot be written", path)
	}
	return nil
}
