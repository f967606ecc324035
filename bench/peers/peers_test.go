package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"

	"tamv.internal/tamv/bench/server"
	"tamv.internal/tamv/cmd/tamvbench/load"
)

// Every installed peer answers a short load at every size, and leaves nothing
// behind.
func TestLoad(t *testing.T) {
	for _, p := range all {
		if _, err := p.locate(); err != nil {
			t.Log(err)
			continue
		}
		for _, nodes := range p.sizes {
			dir := folder(t)
			var out bytes.Buffer
			err := run(t.Context(), []string{"load", p.name, "--nodes", strconv.Itoa(nodes), "--clients", "4", "--warmup", "50ms", "--duration", "200ms", "--dir", dir}, &out)
			if err != nil {
				t.Error(err)
				continue
			}
			var r load.Result
			if err := json.Unmarshal(out.Bytes(), &r); err != nil {
				t.Fatalf("%v: %s", err, out.String())
			}
			if r.System != p.name || r.Nodes != nodes || r.Operations == 0 || r.Errors != 0 || r.P50 <= 0 || r.Version == "" || r.Record != 512 {
				t.Errorf("%+v", r)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Errorf("%s left %v, %v", p.name, left, err)
			}
		}
	}
}

// folder is a temporary one that the user postgres may enter too.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "peers-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestFailoverOfEtcd(t *testing.T) {
	if _, err := etcd.locate(); err != nil {
		t.Skip(err)
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"failover", "etcd", "--nodes", "3", "--writers", "2"}, &out); err != nil {
		t.Fatal(err)
	}
	var r failoverResult
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || !r.Resumed || r.Gap <= 0 || r.Writes == 0 || r.Nodes != 3 {
		t.Errorf("%s, %v", out.String(), err)
	}
}

func TestList(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"list"}, &out); err != nil {
		t.Fatal(err)
	}
	var found []listing
	if err := json.Unmarshal(out.Bytes(), &found); err != nil || len(found) != len(all) {
		t.Fatalf("%s, %v", out.String(), err)
	}
	for _, l := range found {
		if (l.Version == "") == (l.Missing == "") {
			t.Errorf("%s: version %q, missing %q", l.Name, l.Version, l.Missing)
		}
	}
	t.Setenv("PATH", t.TempDir())
	for _, l := range inventory() {
		if l.Name != postgres.name && l.Missing == "" { // Debian's Postgres is not in the path
			t.Errorf("%s was found in an empty path", l.Name)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	for _, args := range [][]string{
		nil,
		{"load"},
		{"store", "etcd"},
		{"list", "etcd"},
		{"load", "oracle"},
		{"load", "etcd", "extra"},
		{"load", "etcd", "--nodes", "2"},
		{"load", "postgres", "--nodes", "3"},
		{"load", "etcd", "--clients", "0"},
		{"load", "etcd", "--record", "0"},
		{"load", "etcd", "--duration", "2h"},
		{"load", "etcd", "--warmup", "-1s"},
		{"failover", "etcd", "--duration", "1s"},
		{"failover", "redis"},
		{"load", "redis", "--dir", "/nowhere/at/all"},
	} {
		var out bytes.Buffer
		if err := run(t.Context(), args, &out); err == nil || out.Len() != 0 {
			t.Errorf("%v: %v %s", args, err, out.String())
		}
	}
}

func TestWriterNamesEachRecordAnew(t *testing.T) {
	seen := map[string]bool{}
	w := writer(client{write: func(_ context.Context, key string, record []byte) error {
		if len(key) != 64 || len(record) != 100 || !strings.HasPrefix(string(record), key) {
			t.Errorf("%s: %s", key, record)
		}
		seen[key] = true
		return nil
	}}, 100)
	for range 100 {
		if err := w(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 100 {
		t.Errorf("%d keys", len(seen))
	}
}

// rqlite's API as its documentation describes it.
func TestRqliteExecute(t *testing.T) {
	var answer string
	status := http.StatusOK
	var got []byte
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, _ = io.ReadAll(r.Body)
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}))
	defer web.Close()
	g := &group{Group: &server.Group{Processes: []*server.Process{{Address: strings.TrimPrefix(web.URL, "http://")}}}}
	c, err := connectRqlite(t.Context(), g, 5)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	answer = `{"results":[{"last_insert_id":1,"rows_affected":1}]}`
	if err := c.write(t.Context(), "ab", []byte("text")); err != nil {
		t.Error(err)
	}
	if want := `[["INSERT INTO evidence (hash, record) VALUES (?, ?)","ab","text"]]`; string(got) != want {
		t.Errorf("sent %s", got)
	}
	for _, bad := range []string{"", "[]", `{"results":[]}`, `{"results":[{"error":"UNIQUE constraint failed"}]}`} {
		answer = bad
		if err := c.write(t.Context(), "ab", nil); err == nil {
			t.Errorf("%s is taken for success", bad)
		}
	}
	status = http.StatusServiceUnavailable
	answer = "leader not found"
	if err := c.write(t.Context(), "ab", nil); err == nil || !strings.Contains(err.Error(), answer) {
		t.Errorf("got %v", err)
	}
	if err := rqliteReady(t.Context(), g.Processes[0]); err == nil {
		t.Error("a node that is not ready is taken for one that is")
	}
	status = http.StatusOK
	if err := rqliteReady(t.Context(), g.Processes[0]); err != nil {
		t.Error(err)
	}
}
