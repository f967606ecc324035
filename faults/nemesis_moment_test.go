package faults

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A node's writing is seen when a file appears, grows or goes; the files of others
// are not.
func TestTouched(t *testing.T) {
	data := t.TempDir()
	file := filepath.Join(data, "a.segment")
	write := func(text string) func() error {
		return func() error { return os.WriteFile(file, []byte(text), 0o600) }
	}
	n := &Node{Process: &Process{Spec: Spec{Data: data}}}
	for _, step := range []struct {
		name string
		do   func() error
	}{{"appears", write("a")}, {"grows", write("ab")}, {"goes", func() error { return os.Remove(file) }}} {
		seen := make(chan bool)
		go func() {
			ok, err := n.touched(t.Context(), "*.segment", time.Minute)
			seen <- ok && err == nil
		}()
		// It may look for the first time only after the step: take it again and
		// again until it is seen.
		for done := false; !done; {
			if err := step.do(); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			select {
			case ok := <-seen:
				if done = ok; !ok {
					t.Fatalf("a file that %s is not seen", step.name)
				}
			case <-time.After(5 * momentPoll):
				if step.name == "goes" {
					_ = write("again")()
				}
			}
		}
	}
	if err := os.WriteFile(filepath.Join(data, "other"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if ok, err := n.touched(t.Context(), "*.segment", 5*momentPoll); ok || err != nil {
		t.Errorf("nothing happened: %t, %v", ok, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if ok, _ := n.touched(ended, "*.segment", time.Minute); ok {
		t.Error("it was seen after the end")
	}
	if _, err := n.touched(t.Context(), "[", time.Minute); err == nil {
		t.Error("a bad pattern is no error")
	}
}

func TestNewestSnapshot(t *testing.T) {
	dir := t.TempDir()
	pattern := filepath.Join(dir, "*", "meta.json")
	if last, err := newest(pattern); last != "" || err != nil {
		t.Errorf("of none: %q, %v", last, err)
	}
	for i, name := range []string{"1-9-1", "1-10-2", "1-20-3.tmp"} {
		file := filepath.Join(dir, name, "meta.json")
		when := time.Unix(int64(1000+i), 0)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, when, when); err != nil {
			t.Fatal(err)
		}
	}
	if last, err := newest(pattern); last != filepath.Join(dir, "1-10-2", "meta.json") || err != nil {
		t.Errorf("%q, %v", last, err)
	}
}

// Every node is some client's home, and half of the clients leave theirs.
func TestHome(t *testing.T) {
	const nodes = 3
	first, roam := map[int]bool{}, 0
	for client := range evidenceClients {
		first[home(client, 0)%nodes] = true
		if home(client, 1) != home(client, 0) {
			roam++
		}
	}
	if len(first) != nodes || roam != evidenceClients/2 {
		t.Errorf("first %v, %d of %d clients go round", first, roam, evidenceClients)
	}
}
