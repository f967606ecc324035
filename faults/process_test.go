package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Puppets are processes that are no nodes; their Spec's Node says what they do.
const (
	puppetServes   = "puppet-serves"
	puppetStubborn = "puppet-stubborn" // does not end when asked
	puppetFails    = "puppet-fails"    // before it serves
)

// runPuppet is what a puppet does; ok is false for a node.
func runPuppet(ctx context.Context, s Spec, ready func()) (ok bool, err error) {
	switch s.Node {
	case puppetServes:
		fmt.Fprintln(os.Stderr, s.Action, s.Token)
		ready()
		<-ctx.Done()
		return true, nil
	case puppetStubborn:
		ready()
		select {}
	case puppetFails:
		return true, errors.New("no strings")
	}
	return false, nil
}

func puppet(t *testing.T, does string) *Process {
	t.Helper()
	dir := t.TempDir()
	p := &Process{Log: filepath.Join(dir, "log"), Spec: Spec{Node: does, Data: filepath.Join(dir, "data"), Token: "secret"}}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// state is the kernel's letter for what the process does.
func state(t *testing.T, p *Process) string {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	return rest[:1]
}

func TestProcessLives(t *testing.T) {
	p := puppet(t, puppetServes)
	if err := p.Ready(t.Context()); err == nil || p.Running() || p.Pause() == nil || p.Kill() != nil || p.Stop(t.Context()) != nil {
		t.Fatalf("a process that was never started: %v", err)
	}
	if err := errors.Join(p.Start(Join), p.Ready(within(t, patience))); err != nil {
		t.Fatal(err)
	}
	if p.Start(Run) == nil {
		t.Error("started twice")
	}
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	stopped := until(t.Context(), patience, func() error {
		if s := state(t, p); s != "T" {
			return errors.New(s)
		}
		return nil
	})
	if err := errors.Join(stopped, p.Resume(), p.Stop(within(t, patience))); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Start(Run), p.Ready(within(t, patience)), p.Kill()); err != nil || p.Running() || p.Died() != nil {
		t.Fatalf("a second life: %v", err)
	}
	if got, want := p.Tail(), "join secret\nrun \n"; got != want {
		t.Errorf("the log is %q, want %q", got, want)
	}
}

func TestProcessThatEnds(t *testing.T) {
	p := puppet(t, puppetFails)
	if err := p.Start(Found); err != nil {
		t.Fatal(err)
	}
	if err := p.Ready(within(t, patience)); err == nil || !strings.Contains(err.Error(), "no strings") {
		t.Errorf("a process that failed: %v", err)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Errorf("it is gone: %v", err)
	}
	if err := p.Died(); err == nil || !strings.Contains(err.Error(), "no strings") {
		t.Errorf("it ended by itself: %v", err)
	}
}

func TestProcessThatDoesNotEnd(t *testing.T) {
	p := puppet(t, puppetStubborn)
	if err := errors.Join(p.Start(Run), p.Ready(within(t, patience))); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(within(t, quiet)); err == nil || p.Running() {
		t.Errorf("stopped: %v", err)
	}
	p.Log = filepath.Join(p.Log, "no folder")
	if err := p.Start(Run); err == nil {
		t.Error("started without a log")
	}
	if got := p.Tail(); !strings.Contains(got, "no folder") {
		t.Errorf("the tail of no log: %q", got)
	}
}

func TestSkewedClock(t *testing.T) {
	c := skewedClock{file: filepath.Join(t.TempDir(), "clock")}
	c.read() // no file yet
	near := func(offset time.Duration) error {
		if d := time.Until(c.now()) - offset; d.Abs() > time.Minute {
			return fmt.Errorf("the clock is %s beside %s", d, offset)
		}
		return nil
	}
	if err := near(0); err != nil {
		t.Error(err)
	}
	go c.follow(within(t, patience))
	for _, offset := range []time.Duration{day, -day, 0} {
		if err := writeClock(c.file, offset); err != nil {
			t.Fatal(err)
		}
		if err := until(t.Context(), patience, func() error { return near(offset) }); err != nil {
			t.Error(err)
		}
	}
	if err := os.WriteFile(c.file, []byte("noon"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.read()
	if err := near(0); err != nil {
		t.Error(err)
	}
	if err := writeClock(filepath.Join(c.file, "x"), 0); err == nil {
		t.Error("written into a file")
	}
}
