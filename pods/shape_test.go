package pods

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

// simple has everything that a shape can hold.
var simple = MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["name", "any"], "description": "a sample",
	"properties": {
		"name": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-zñ]+$"},
		"kind": {"enum": ["a", "b"]}, "note": {"type": "string"}, "any": true, "free": {"description": "anything"}}}`)

func TestSchemasWithAShape(t *testing.T) {
	const head = `{"type": "object", "additionalProperties": false, "required": ["a"], "properties": {"a": `
	for source, want := range map[string]bool{
		string(simple.Source()): true,
		head + `true}}`:         true,
		head + `{}}}`:           true,
		head + `{"type": "string", "enum": ["x"]}}}`: true,
		head + `false}}`:                                                         false,
		head + `{"type": "integer"}}}`:                                           false,
		head + `{"type": ["string", "null"]}}}`:                                  false,
		head + `{"enum": ["x", null]}}}`:                                         false,
		head + `{"minLength": 1}}}`:                                              false,
		head + `{"type": "string", "minLength": 1.0}}}`:                          false,
		head + `{"type": "string", "format": "uuid"}}}`:                          false,
		head + `{"not": {"type": "null"}}}}`:                                     false,
		head + `true}, "maxProperties": 1}`:                                      false,
		`{"type": "object", "required": ["a"], "properties": {"a": true}}`:       false,
		`{"type": "object", "additionalProperties": false, "properties": {}}`:    false,
		`{"additionalProperties": false, "required": ["a"], "properties": {}}`:   false,
		`{"type": "array", "items": true}`:                                       false,
		`true`:                                                                   false,
		`{"type": "object", "additionalProperties": true, "required": ["name"]}`: false,
	} {
		if got := MustSchema(source).shape != nil; got != want {
			t.Errorf("%s: %t", source, got)
		}
	}
}

// compareWithLibrary checks that a shape accepts a body only if the library
// does, and returns what each said.
func compareWithLibrary(t fataler, s *Schema, body []byte) (shape, library bool) {
	t.Helper()
	members, err := Members(body)
	if err != nil {
		return false, false
	}
	value, err := decode(body)
	if err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	shape, library = s.shape.accepts(members), s.compiled.Validate(value) == nil
	if shape != library {
		t.Fatalf("%q: the shape says %t, the library %t", body, shape, library)
	}
	return shape, library
}

func TestShapesAgreeWithTheLibrary(t *testing.T) {
	accepted := 0
	name := rapid.OneOf(rapid.StringMatching(`[a-zñ]{1,5}`), rapid.String())
	kind := rapid.SampledFrom([]any{"a", "b", "c", 1})
	rapid.Check(t, func(t *rapid.T) {
		body := object{"name": name.Draw(t, "name"), "any": jsonValue(1).Draw(t, "any"), "kind": kind.Draw(t, "kind")}
		switch rapid.SampledFrom([]string{"no", "no", "no", "missing", "unknown", "type", "free"}).Draw(t, "spoil") {
		case "missing":
			delete(body, rapid.SampledFrom([]string{"name", "any", "kind"}).Draw(t, "missing"))
		case "unknown":
			body["other"] = 1
		case "type":
			body["note"] = jsonValue(1).Draw(t, "note")
		case "free":
			body["free"] = jsonValue(1).Draw(t, "free")
		}
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		if shape, _ := compareWithLibrary(t, simple, raw); shape {
			accepted++
		}
	})
	if accepted == 0 && !testing.Short() { // which tries too few to be sure of one
		t.Error("no body was accepted")
	}
}

func FuzzShape(f *testing.F) {
	for _, body := range []string{
		`{"name":"ana","any":1}`, `{"name":"a\u00f1a","any":null,"kind":"a"}`, `{"name":"ana"}`, `{"name":1,"any":1}`, `{"name":"ana","any":1,"x":1}`,
		`{"name":"abcde","any":1}`, `{"name":"a","any":1}`, `{"name":"A1","any":1}`, `{"any":[{"name":1}],"name":"\ud83d\ude00","kind":"c"}`, `[]`, `"name"`, `{}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) { compareWithLibrary(t, simple, body) })
}

// busy is the schema of a busy route: that of POST /v1/evidence.
var busy = MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["action", "outcome", "data"],
	"properties": {
		"action": {"type": "string", "maxLength": 100, "pattern": "^[a-z0-9][a-z0-9._-]{0,99}$"},
		"outcome": {"type": "string", "maxLength": 64, "pattern": "^[^\\p{C}]+$"},
		"data": true}}`)

func BenchmarkValidateShape(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if err := busy.Validate(record); err != nil {
			b.Fatal(err)
		}
	}
}
