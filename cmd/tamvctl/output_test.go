package main

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
)

// sameInYAML says whether a JSON document has the same value as YAML.
func sameInYAML(t interface{ Fatalf(string, ...any) }, document []byte) {
	var b bytes.Buffer
	if err := encodeYAML(&b, document); err != nil {
		t.Fatalf("%s: %v", document, err)
	}
	var got any
	if err := yaml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatalf("%s gives YAML that does not parse: %v\n%s", document, err, b.String())
	}
	var want any
	if err := json.Unmarshal(document, &want); err != nil {
		t.Fatalf("%v", err)
	}
	back, err := json.Marshal(got)
	if err != nil {
		t.Fatalf("%v", err)
	}
	var again any
	if err := json.Unmarshal(back, &again); err != nil || !reflect.DeepEqual(want, again) {
		t.Fatalf("%s became\n%s", document, b.String())
	}
}

func TestYAMLKeepsValues(t *testing.T) {
	for _, document := range []string{
		`{"amount":"100.00","yes":"no","n":null,"list":[],"map":{},"big":9007199254740991,"text":"a\nb\n","flag":true}`,
		`"2026-01-01"`, `"true"`, `"~"`, `"- x: [y"`, `""`, `"  padded "`, `"\u0007 bell"`, `"😀 ñ"`, `[1,[2,[3]],{"a":[{"b":1.5}]}]`, `-0.25`,
	} {
		sameInYAML(t, []byte(document))
	}
}

func TestYAMLKeepsAnyValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "object")
		document, err := json.Marshal(map[string]any{"object": v, "list": []any{v, rapid.Int32().Draw(t, "n")}})
		if err != nil {
			t.Fatal(err)
		}
		sameInYAML(t, document)
	})
}

func TestYAMLKeepsOrder(t *testing.T) {
	var b bytes.Buffer
	if err := encodeYAML(&b, []byte(`{"z":1,"a":{"y":2,"b":3}}`)); err != nil {
		t.Fatal(err)
	}
	if got, want := b.String(), "z: 1\na:\n  y: 2\n  b: 3\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func FuzzYAML(f *testing.F) {
	for _, seed := range []string{`{}`, `[`, `{"a":`, `"x"`, `{"a":[1,2,{"b":null}]}`, "\xff", ``} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		var b bytes.Buffer
		err := encodeYAML(&b, document)
		if json.Valid(document) && err != nil {
			t.Errorf("valid JSON is refused: %v", err)
		}
	})
}

// A terminal must not obey what somebody else wrote.
func TestTableShowsNoControlCharacters(t *testing.T) {
	var b bytes.Buffer
	table := newTable(&b, tap.English)
	hostile := "a\x1b[31m\tb\r\n\u009bc\u202ed"
	table.head(textName, textState)
	table.row(hostile, "")
	table.field(textName, hostile)
	table.field(textState, "")
	table.line(hostile)
	table.paragraph("one\x07\ntwo\n")
	if err := table.flush(); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); strings.ContainsAny(got, "\x1b\x07\r\t\u009b\u202e") || strings.Count(got, "\n") != 6 {
		t.Errorf("%q", got)
	}
	if !strings.Contains(b.String(), "-\n") {
		t.Error("an empty cell shows as nothing")
	}
}

func TestTableReportsWriteErrors(t *testing.T) {
	table := newTable(failingWriter{}, tap.English)
	table.line("x")
	if table.flush() == nil {
		t.Error("no error")
	}
	a := &app{console: console{out: failingWriter{}}, output: asJSON}
	if a.print([]byte(`{}`), nil) == nil {
		t.Error("no error for JSON")
	}
	a.output = asYAML
	if a.print([]byte(`{}`), nil) == nil {
		t.Error("no error for YAML")
	}
	if a.print([]byte(`{`), nil) == nil {
		t.Error("broken JSON is printed")
	}
	a.output = asJSON
	if a.print([]byte(`{`), nil) == nil {
		t.Error("broken JSON is printed")
	}
}

func TestShort(t *testing.T) {
	for given, want := range map[string]string{"": "", "ñandú": "ñandú", "ñandúes": "ñand…", "a\nb": "a b"} {
		if got := short(given, 5); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
}

func TestProgressIsForPeople(t *testing.T) {
	var b bytes.Buffer
	a := &app{console: console{errOut: &b}}
	a.progress("%d", 7)
	if b.Len() > 0 {
		t.Errorf("%q without a terminal", b.String())
	}
	a.terminal = true
	a.progress("%d", 7)
	if !strings.HasSuffix(b.String(), "7") {
		t.Errorf("%q on a terminal", b.String())
	}
}
