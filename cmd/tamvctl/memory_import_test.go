package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

func TestManyLinesAreImportedOnce(t *testing.T) {
	var file strings.Builder
	const lines = 700
	for i := range lines {
		fmt.Fprintf(&file, `{"id":"bulk-%03d","documentType":"BULK","content":"passage %d about the number %d and nothing else"}`+"\n", i%650, i, i*i)
	}
	env := map[string]string{client.ContextVariable: contextFile}
	var out, errOut bytes.Buffer
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bulk.jsonl"), []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	code := run(t.Context(), []string{"memory", "import", "bulk.jsonl", "-o", "json"}, console{
		in: strings.NewReader(""), out: &out, errOut: &errOut, dir: dir, terminal: true, getenv: func(name string) string { return env[name] },
	})
	var done imported
	if err := json.Unmarshal(out.Bytes(), &done); err != nil || code != 0 {
		t.Fatalf("%d %v\n%s%s", code, err, out.String(), errOut.String())
	}
	if want := (imported{Lines: lines, Created: 650, Replaced: lines - 650, Last: lines}); !reflect.DeepEqual(done, want) {
		t.Errorf("%+v, want %+v", done, want)
	}
	if !strings.Contains(errOut.String(), "] 100 %") {
		t.Errorf("no progress: %q", errOut.String())
	}
	exported := tamvctl(t, "memory", "export", "-", "--type", "BULK")
	if n := strings.Count(exported.out, "\n"); n != 650 || !strings.Contains(exported.out, `"content":"passage 649 about`) {
		t.Errorf("%d lines exported, %s", n, exported.errOut)
	}
	if !strings.Contains(exported.out, `"content":"passage 699 about`) {
		t.Error("an earlier line with the same id won")
	}
}

func TestImportsThatFail(t *testing.T) {
	env := map[string]string{client.ContextVariable: deadContext(t)}
	dead := &app{console: console{getenv: func(string) string { return env[client.ContextVariable] }, errOut: io.Discard}, timeout: 200 * time.Millisecond}
	c, err := dead.client()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	lost := &importer{
		app: dead, client: c, lines: newLineReader(strings.NewReader(`{"id":"a","content":"x"}`)), busy: map[string]bool{}, stop: stop, slots: make(chan struct{}, 1),
	}
	if err := lost.run(ctx); err == nil || !lost.interrupted || lost.result.Last != 0 {
		t.Errorf("%v, %+v", err, lost.result)
	}
	if r := tamvctlIn(t, env, "", "memory", "export", filepath.Join(t.TempDir(), "x"), "--timeout", "200ms"); r.code == 0 {
		t.Errorf("%+v", r)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	im := &importer{app: &app{}, lines: newLineReader(strings.NewReader("{}\n")), busy: map[string]bool{}, stop: cancel}
	if err := im.run(cancelled); err == nil || !im.interrupted {
		t.Errorf("a cancelled import: %v", err)
	}
	im = &importer{app: &app{}, lines: newLineReader(brokenReader{}), busy: map[string]bool{}, stop: cancel}
	if err := im.run(t.Context()); err == nil {
		t.Error("an unreadable file was read")
	}
	a := &app{console: console{getenv: func(string) string { return contextFile }}, timeout: defaultTimeout}
	if _, err := a.exportTo(cancelled, failingWriter{}, exportOptions{}); err == nil {
		t.Error("a cancelled export")
	}
	if _, err := a.exportTo(t.Context(), failingWriter{}, exportOptions{}); err == nil {
		t.Error("an export to a full disk")
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("a bad sector") }

func TestLineReader(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	r := newLineReader(strings.NewReader("\ufeffone\r\n\n  \n" + long + "x\ntwo\n" + long))
	want := []importLine{{number: 1, raw: []byte("one")}, {number: 2, blank: true}, {number: 3, blank: true}, {number: 4}, {number: 5, raw: []byte("two")}, {number: 6, raw: []byte(long)}}
	for _, w := range want {
		got, err := r.next()
		if err != nil || got.number != w.number || got.blank != w.blank || (got.fault != nil) != (w.number == 4) || w.raw != nil && !bytes.Equal(got.raw, w.raw) {
			t.Errorf("line %d: %d bytes, blank %v, fault %v, %v", w.number, len(got.raw), got.blank, got.fault, err)
		}
	}
	if _, err := r.next(); err == nil {
		t.Error("no end")
	}
}

// Where there is no terminal, an import tells from time to time how far it is.
func TestImportTellsALogHowFarItIs(t *testing.T) {
	var log bytes.Buffer
	im := &importer{app: &app{console: console{errOut: &log}, output: asTable}, lines: newLineReader(strings.NewReader("")), began: time.Now(), shown: time.Now()}
	im.show()
	if log.Len() > 0 {
		t.Errorf("told at once: %q", log.String())
	}
	im.shown = im.shown.Add(-tellEvery)
	im.result.Lines = 7
	im.show()
	im.show()
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "7 documents") {
		t.Errorf("told %q", got)
	}
}

func TestStatusTellsHowFarAnIndexIs(t *testing.T) {
	for want, v := range map[string]memoryStatus{
		"documents  9\n": {Documents: 9},
		"documents      9\nbeing indexed  [#####...............]  25 % 1/4\n": {Documents: 9, Building: 1, Made: 1, ToMake: 4},
	} {
		var out bytes.Buffer
		table := newTable(&out, tap.English)
		v.draw(table)
		if err := table.w.Flush(); err != nil || out.String() != want {
			t.Errorf("%q, want %q, %v", out.String(), want, err)
		}
	}
}

func TestBar(t *testing.T) {
	for got, want := range map[string]string{
		bar(0, 0): "", bar(5, 0): "", bar(0, 10): "[....................]   0 % ", bar(5, 10): "[##########..........]  50 % ", bar(11, 10): "[####################] 100 % ",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func FuzzImportLine(f *testing.F) {
	for _, seed := range []string{
		`{"id":"a","content":"x"}`, `{"vector":[1,2],"metadata":{"a":"b"}}`, `{"vector":[1e99]}`, `{"metadata":null}`, `{"metadata":[]}`, `null`, `[]`, "\xff", `{"id":7}`, `{"a":1}x`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		line := importLine{number: 1, raw: raw}
		line.document(&lineDefaults{kind: "NOTE", model: "m", metadata: map[string]string{"k": "v"}})
		if line.fault != nil {
			return
		}
		var d struct {
			Type     any            `json:"documentType"`
			Metadata map[string]any `json:"metadata"`
		}
		if err := json.Unmarshal(line.body, &d); err != nil || d.Type == nil && !bytes.Contains(raw, []byte("documentType")) || len(d.Metadata) == 0 {
			t.Errorf("%q became %s, %v", raw, line.body, err)
		}
	})
}
