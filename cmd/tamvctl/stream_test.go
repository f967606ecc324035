package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

func FuzzEvents(f *testing.F) {
	for _, seed := range []string{
		": following from 7\n\n", "id: 7\nevent: evidence\ndata: {\"position\":7}\n\n", ": heartbeat\nid: 9\n\n",
		"data:a\ndata: b\r\n\r\n", "id: -1\n\n", "id: 18446744073709551615\n\n", "data", "\n\n\n", "data\n\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var whole, slow []event
		for into, r := range map[*[]event]io.Reader{&whole: bytes.NewReader(raw), &slow: iotest.OneByteReader(bytes.NewReader(raw))} {
			if err := readEvents(r, func(e event) error { *into = append(*into, e); return nil }); err == nil {
				t.Error("the end of a stream is a break")
			}
		}
		if len(whole) != len(slow) {
			t.Errorf("%d events, or %d byte by byte", len(whole), len(slow))
		}
		for _, e := range whole {
			if e.data == nil && !e.hasNext {
				t.Error("an event of nothing")
			}
		}
	})
}

// breaking serves the lines of an export, or the events of a stream, up to a position at
// each connection, and then breaks it.
func breaking(t *testing.T, connections *atomic.Int64, write func(w io.Writer, position uint64)) string {
	return strangeServer(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/checkpoint") {
			fmt.Fprint(w, "plaza.test/log\n9\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— plaza.test/log AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n")
			return
		}
		n := connections.Add(1)
		if n == 2 { // not now
			fails(tap.Unavailable)(w, r)
			return
		}
		from, err := strconv.ParseUint(r.URL.Query().Get("from"), 10, 64)
		if err != nil && strings.HasSuffix(r.URL.Path, "/export") {
			t.Errorf("from %q", r.URL.Query().Get("from"))
		}
		w.WriteHeader(http.StatusOK)
		if strings.HasSuffix(r.URL.Path, "/stream") {
			fmt.Fprintf(w, ": following from %d\n\n", from)
		}
		for position := from; position < 9 && position < from+3; position++ {
			write(w, position)
		}
		if from+3 < 9 || strings.HasSuffix(r.URL.Path, "/stream") {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	})
}

// Every entry is printed once, over as many connections as it takes.
func TestTailGoesOnAfterBreaks(t *testing.T) {
	var connections atomic.Int64
	file := breaking(t, &connections, func(w io.Writer, position uint64) {
		fmt.Fprintf(w, "id: %d\nevent: evidence\ndata: {\"position\":%d}\n\n", position, position)
	})
	r := tamvctl(t, "evidence", "tail", "--context", file, "--limit", "9", "-o", "json")
	var want strings.Builder
	for i := range 9 {
		fmt.Fprintf(&want, "{\"position\":%d}\n", i)
	}
	if r.code != 0 || r.out != want.String() || connections.Load() < 4 {
		t.Errorf("exit code %d after %d connections\n%s%s", r.code, connections.Load(), r.out, r.errOut)
	}
}

func TestExportGoesOnAfterBreaks(t *testing.T) {
	var connections atomic.Int64
	context := breaking(t, &connections, func(w io.Writer, position uint64) { fmt.Fprintf(w, "{\"position\":%d}\n", position) })
	file := filepath.Join(t.TempDir(), "all.jsonl")
	r := tamvctl(t, "evidence", "export", file, "--context", context, "-o", "json")
	raw, err := os.ReadFile(file)
	if r.code != 0 || err != nil || bytes.Count(raw, []byte("\n")) != 9 || connections.Load() < 4 {
		t.Errorf("exit code %d after %d connections, %v\n%s%s", r.code, connections.Load(), err, raw, r.errOut)
	}
	var done exportedLines
	if err := json.Unmarshal([]byte(r.out), &done); err != nil || done.Entries != 9 {
		t.Errorf("%+v, %v", done, err)
	}
}

// A server that says what it should not ends it.
func TestStreamsOfStrangers(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		verb   []string
		code   string
	}{
		"a page":               {"<html>\n", []string{"export", "-", "--to", "9"}, client.CodeReply},
		"an entry of before":   {"{\"position\":3}\n{\"position\":3}\n", []string{"export", "-", "--to", "9"}, client.CodeReply},
		"a line without end":   {strings.Repeat("x", maxEntryLine+1), []string{"export", "-", "--to", "9"}, client.CodeReply},
		"an event of nonsense": {"id: 1\ndata: nonsense\n\n", []string{"tail"}, client.CodeReply},
		"an event without end": {"data: " + strings.Repeat("x", maxEntryLine+1), []string{"tail"}, client.CodeReply},
	} {
		file := strangeServer(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, c.answer) })
		r := tamvctl(t, append([]string{"evidence"}, append(c.verb, "--context", file)...)...)
		if r.code == 0 || !strings.Contains(r.errOut, c.code) {
			t.Errorf("%s: exit code %d, %s", name, r.code, r.errOut)
		}
	}
	file := strangeServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	if r := tamvctl(t, "evidence", "tail", "--context", file); !strings.Contains(r.errOut, client.CodeReply) {
		t.Errorf("%+v", r)
	}
}

// An interrupt is how one stops to follow.
func TestTailIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	file := strangeServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	})
	var out, errOut bytes.Buffer
	code := run(ctx, []string{"evidence", "tail", "--context", file}, console{out: &out, errOut: &errOut, getenv: func(string) string { return "" }})
	if code != 0 || errOut.Len() > 0 {
		t.Errorf("exit code %d: %s", code, errOut.String())
	}
}

func TestStreamPrintingFails(t *testing.T) {
	a := &app{console: console{out: failingWriter{}}, output: asTable}
	for _, form := range outputs {
		a.output = form
		if err := a.printEvent([]byte(`{"position":1}`)); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%s: %v", form, err)
		}
	}
}
