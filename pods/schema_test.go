package pods

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
)

var sample = MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["name", "amount"],
	"properties": {
		"name": {"type": "string", "minLength": 1, "maxLength": 8},
		"amount": {"type": "number", "minimum": -10, "maximum": 10},
		"tags": {"type": "array", "maxItems": 3, "items": {"enum": ["a", "b"]}}
	}
}`)

// Feature: tamv-hardened-backend, Property 12: Schema Validation Enforcement
func TestSchemaAcceptsExactlyWhatItSays(t *testing.T) {
	run := 0
	b := newBench(t, pod{Name: "p", Routes: []Route{{
		Method: "POST", Pattern: "/p", Roles: []tap.Role{tap.Citizen}, Body: sample,
		Run: func(_ context.Context, c *Call) (*Result, error) { run++; return &Result{Body: c.Body}, nil },
	}}})
	rapid.Check(t, func(t *rapid.T) {
		body := object{
			"name":   rapid.StringN(1, 8, -1).Draw(t, "name"),
			"amount": rapid.Float64Range(-10, 10).Draw(t, "amount"),
			"tags":   rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b"}), 0, 3).Draw(t, "tags"),
		}
		spoil := rapid.SampledFrom([]string{"no", "type", "missing", "extra", "range", "length", "enum", "items", "root"}).Draw(t, "spoil")
		var sent any = body
		switch spoil {
		case "type":
			body["name"] = rapid.SampledFrom([]any{1, true, nil, []int{}, object{}}).Draw(t, "wrong type")
		case "missing":
			delete(body, rapid.SampledFrom([]string{"name", "amount"}).Draw(t, "missing"))
		case "extra":
			body[rapid.StringMatching(`x[a-z]{0,8}`).Draw(t, "extra")] = 1
		case "range":
			body["amount"] = rapid.SampledFrom([]any{10.5, -1e300, json.Number("1e99"), json.Number("-11")}).Draw(t, "out of range")
		case "length":
			body["name"] = rapid.SampledFrom([]string{"", "ninechars"}).Draw(t, "wrong length")
		case "enum":
			body["tags"] = []string{"c"}
		case "items":
			body["tags"] = []string{"a", "a", "a", "a"}
		case "root":
			sent = rapid.SampledFrom([]any{nil, 1, "x", []any{body}}).Draw(t, "root")
		}
		raw, err := json.Marshal(sent)
		if err != nil {
			t.Fatal(err)
		}
		before := run
		response, err := b.Serve(t.Context(), request("POST", "/p", "", string(raw)))
		if spoil == "no" {
			if err != nil || !bytes.Equal(response.Body, raw) {
				t.Fatalf("%s is refused or changed: %v", raw, err)
			}
			return
		}
		if !tap.IsKind(err, tap.Invalid) || codeOf(err) != "schema" || run != before {
			t.Fatalf("%s: %v, the pod ran %d times", raw, err, run-before)
		}
	})
}

func TestViolationsNameTheirPlace(t *testing.T) {
	err := sample.Validate([]byte(`{"name": 5, "tags": ["a", "z"]}`))
	var e *tap.Error
	if !errors.As(err, &e) || e.Code != "schema" {
		t.Fatalf("got %v", err)
	}
	listed := e.Details["violations"].([]violation)
	places := map[string]bool{}
	for _, v := range listed {
		places[v.Path] = true
		if v.Message == "" {
			t.Errorf("%q has no message", v.Path)
		}
	}
	if !places["/name"] || !places["/tags/1"] {
		t.Errorf("violations %v", listed)
	}
}

// An error does not send a large body back.
func TestViolationsAreBounded(t *testing.T) {
	s := MustSchema(`{"type": "object", "additionalProperties": {"type": "array", "items": {"const": 1}}, "propertyNames": {"maxLength": 4}}`)
	long := strings.Repeat("ñ", 100_000)
	var many strings.Builder
	for range 5000 {
		many.WriteString(`"x",`)
	}
	for _, body := range []string{`{"` + long + `": [2]}`, `{"a": [` + many.String() + `2]}`, `{"a": "` + long + `"}`} {
		err := s.Validate([]byte(body))
		if codeOf(err) != "schema" {
			t.Fatalf("got %v", err)
		}
		out, err := json.Marshal(tap.AsError(err).Details)
		if err != nil || len(out) > 10_000 || !utf8.Valid(out) {
			t.Errorf("%d bytes of violations, %v", len(out), err)
		}
	}
}

func TestDecodeStrictRefuses(t *testing.T) {
	nested := func(n int, open, value, end string) string {
		return strings.Repeat(open, n) + value + strings.Repeat(end, n)
	}
	for name, c := range map[string]struct{ body, code string }{
		"nothing":                  {"", "json"},
		"spaces":                   {"  ", "json"},
		"cut short":                {`{"a":`, "json"},
		"cut in a string":          {`{"a":"x`, "json"},
		"two values":               {`{} {}`, "json"},
		"trailing bytes":           {`{}x`, "json"},
		"trailing comma":           {`[1,]`, "json"},
		"NaN":                      {`{"amount": NaN}`, "json"},
		"infinity":                 {`{"amount": Infinity}`, "json"},
		"minus infinity":           {`[-Infinity]`, "json"},
		"hexadecimal":              {`[0x10]`, "json"},
		"leading zero":             {`[01]`, "json"},
		"comment":                  {`{} // x`, "json"},
		"single quotes":            {`{'a':1}`, "json"},
		"control byte in a string": {"\"a\nb\"", "json"},
		"byte order mark":          {"\ufeff{}", "json"},
		"duplicate key":            {`{"a":1,"a":2}`, "json"},
		"duplicate key, escaped":   {`{"a":1,"\u0061":2}`, "json"},
		"duplicate key, deep":      {`[{"x":{"a":1,"b":2,"a":1}}]`, "json"},
		"deep arrays":              {nested(MaxDepth+1, "[", "1", "]"), "json"},
		"deep objects":             {nested(MaxDepth+1, `{"a":`, "1", "}"), "json"},
		"a million brackets":       {strings.Repeat("[", 1_000_000), "json"},
		"too many values":          {"[" + strings.Repeat("0,", MaxValues-1) + "0]", "json"},
		"too many members":         {manyMembers(MaxValues), "json"},
		"too many, in rows":        {"[" + strings.Repeat("[0,0,0,0,0,0,0],", MaxValues/8-1) + "[0,0,0,0,0,0,0]]", "json"},
		"a million zeros":          {"[" + strings.Repeat("0,", 1_000_000), "json"},
		"bad UTF-8":                {"\"\xff\"", "utf8"},
		"surrogate in UTF-8":       {"\"\xed\xa0\x80\"", "utf8"},
		"overlong":                 {"\"\xc0\xaf\"", "utf8"},
		"Latin-1":                  {"\"\xf1\"", "utf8"},
	} {
		v, err := DecodeStrict([]byte(c.body))
		if v != nil || !tap.IsKind(err, tap.Invalid) || codeOf(err) != c.code {
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
}

// manyMembers is an object of n members.
func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"%x":0`, i)
	}
	return "{" + b.String()[1:] + "}"
}

func TestValuesUpToTheMaximum(t *testing.T) {
	document := `{"id":"a","documentType":"NOTE","content":"x","metadata":` + manyMembers(16) + `}`
	for name, body := range map[string]string{
		"array":                      "[" + strings.Repeat("0,", MaxValues-2) + "0]",
		"object":                     manyMembers(MaxValues - 1),
		"the most that memory takes": `{"documents":[` + strings.Repeat(document+",", 99) + document + `]}`,
	} {
		if _, err := DecodeStrict([]byte(body)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := DecodeStrict([]byte(manyMembers(MaxValues)))
	if message := tap.AsError(err).Message; !strings.Contains(message, "more than 16384 values") {
		t.Errorf("the message is %q", message)
	}
}

// documents is a schema of the kind that a list of objects has.
var documents = MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["documents"],
	"properties": {"documents": {"type": "array", "maxItems": 100, "items": {
		"type": "object", "additionalProperties": false, "required": ["text"],
		"properties": {"text": {"type": "string"}, "n": {"type": "integer", "minimum": 1}}}}}}`)

// A body of 2 MiB, of which every value is wrong, used to cost 1.3 GiB.
func TestWrongBodiesAreCheap(t *testing.T) {
	const size = 2 << 20
	fill := func(head, unit, tail string, n int) []byte {
		return []byte(head + strings.Repeat(unit+",", n-1) + unit + tail)
	}
	for name, c := range map[string]struct {
		body []byte
		code string
	}{
		"a million numbers":      {fill(`{"documents":[`, "0", "]}", size/2), "json"},
		"a million arrays":       {fill(`{"documents":[`, "[]", "]}", size/3), "json"},
		"as many as may be":      {fill(`{"documents":[`, "0", "]}", MaxValues-2), "schema"},
		"objects":                {fill(`{"documents":[`, "{}", "]}", MaxValues-2), "schema"},
		"two errors per object":  {fill(`{"documents":[`, `{"n":0}`, "]}", MaxValues/2-1), "schema"},
		"unknown members":        {[]byte(manyMembers(MaxValues - 1)), "schema"},
		"one number, many bytes": {fill(`{"documents":`, strings.Repeat("9", size), "}", 1), "json"},
		"one string, many bytes": {fill(`{"documents":"`, strings.Repeat("x", size), `"}`, 1), "schema"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := documents.Validate(c.body)
		runtime.ReadMemStats(&after)
		if codeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
		if spent := after.TotalAlloc - before.TotalAlloc; spent > 32<<20 {
			t.Errorf("%s: %d MiB allocated for %d KiB", name, spent>>20, len(c.body)>>10)
		}
	}
}

func TestViolationsSayWhatIsWrong(t *testing.T) {
	s := MustSchema(`{"$defs": {"p": {"type": "object", "required": ["x", "y"], "properties": {"x": {"type": "number"}}}},
		"type": "object", "properties": {
			"at": {"$ref": "#/$defs/p"}, "either": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "a/b~c": {"const": 1}}}`)
	for body, want := range map[string][]violation{
		`{"at": {"x": "1"}}`: {
			{"/at", "missing property 'y'"},
			{"/at/x", "got string, want number"},
		},
		`{"either": 5}`: {
			{"/either", "'anyOf' failed"},
			{"/either", "got number, want string"},
			{"/either", "got number, want null"},
		},
		`{"a/b~c": 2}`: {{"/a~1b~0c", "value must be 1"}},
		`[]`:           {{"", "got array, want object"}},
	} {
		if got := tap.AsError(s.Validate([]byte(body))).Details["violations"]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q", body, got)
		}
	}
	many := tap.AsError(documents.Validate([]byte(`{"documents":[` + strings.Repeat("0,", 99) + "0]}"))).Details["violations"].([]violation)
	if len(many) != maxViolations || many[9] != (violation{"/documents/9", "got number, want object"}) {
		t.Errorf("of a hundred: %q", many)
	}
}

// Large bodies wait for one another, small ones for nobody.
func TestLargeBodiesTakeTurns(t *testing.T) {
	defer func(all chan struct{}) { turns = all }(turns)
	synctest.Test(t, func(t *testing.T) {
		turns = make(chan struct{}, 1)
		turns <- struct{}{}
		if err := sample.Validate([]byte(`{"name": "ana", "amount": 7}`)); err != nil {
			t.Error(err)
		}
		var err error
		done := false
		go func() {
			err = sample.Validate([]byte(`{"name": "ana", "amount": 70` + strings.Repeat(" ", largeBody) + `}`))
			done = true
		}()
		synctest.Wait()
		if done {
			t.Error("a large body did not wait")
		}
		<-turns
		synctest.Wait()
		if !done || codeOf(err) != "schema" || len(turns) != 0 {
			t.Errorf("done %t, %v, %d turns kept", done, err, len(turns))
		}
	})
}

func TestDecodeStrictKeepsWhatWasSent(t *testing.T) {
	v, err := DecodeStrict([]byte(` {"n": 12345678901234567890.123456789, "e": 1e400, "l": [true, null, "\u00f1"]} `))
	want := object{
		"n": json.Number("12345678901234567890.123456789"), "e": json.Number("1e400"), "l": []any{true, nil, "ñ"},
	}
	if err != nil || !reflect.DeepEqual(v, any(want)) {
		t.Errorf("got %v, %v", v, err)
	}
	if _, err := DecodeStrict([]byte(strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth))); err != nil {
		t.Errorf("depth %d: %v", MaxDepth, err)
	}
}

// An error about a body does not quote it: bodies hold personal text.
func TestJSONErrorsDoNotQuoteTheBody(t *testing.T) {
	_, err := DecodeStrict([]byte(`{"diagnosis": secret}`))
	if body := tap.AsError(err).Body("", time.Now(), tap.English); strings.Contains(body.Error.Message, "secret") {
		t.Errorf("the message is %q", body.Error.Message)
	}
}

func TestMustSchemaRefusesWrongSchemas(t *testing.T) {
	for _, source := range []string{``, `{`, `{"type": "thing"}`, `{"$ref": "https://example.com/x.json"}`, `{"pattern": "("}`} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q compiles", source)
				}
			}()
			MustSchema(source)
		}()
	}
	if string(sample.Source()[:1]) != "{" {
		t.Error("the source is lost")
	}
}

// FuzzDecodeStrict compares with encoding/json, which is laxer in known ways
// only: it reads more deeply and more values, keeps the last of two keys, takes
// any number and forgives UTF-8.
func FuzzDecodeStrict(f *testing.F) {
	for _, seed := range []string{`{}`, `[1, 2.5e-3, "x", null]`, `{"a":{"b":[true]}}`, `{"a":1,"a":2}`, `[1,]`, "\"\xff\"", `"\ud800"`, strings.Repeat("[", 40)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		strict, err := DecodeStrict(body)
		if err != nil {
			if !tap.IsKind(err, tap.Invalid) {
				t.Fatalf("kind of %v", err)
			}
			lax := errors.Is(err, errDepth) || errors.Is(err, errDuplicate) || errors.Is(err, errValues) || errors.Is(err, errNumber) || !utf8.Valid(body)
			if json.Valid(body) && !lax {
				t.Fatalf("%q is refused: %v", body, err)
			}
			return
		}
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		var plain any
		if err := d.Decode(&plain); err != nil || !json.Valid(body) {
			t.Fatalf("%q is accepted, encoding/json says %v", body, err)
		}
		if !reflect.DeepEqual(strict, plain) {
			t.Fatalf("%q reads as %v, encoding/json reads %v", body, strict, plain)
		}
	})
}

func BenchmarkValidate(b *testing.B) {
	body := []byte(`{"name": "ana", "amount": 7, "tags": ["a", "b"]}`)
	b.ReportAllocs()
	for b.Loop() {
		if err := sample.Validate(body); err != nil {
			b.Fatal(err)
		}
	}
}

// A number that no float64 holds is refused before a schema compares it, which
// would cost seconds.
func TestNumbersAreBounded(t *testing.T) {
	s := MustSchema(`{"type": "object", "properties": {"n": {"type": "number", "minimum": 0, "maximum": 10}}}`)
	for _, n := range []string{"1e-9999999", "1e999999", "1E+401", "0." + strings.Repeat("0", 100) + "1", strings.Repeat("9", 65)} {
		if err := s.Validate([]byte(`{"n": ` + n + `}`)); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%.20s...: %v", n, err)
		}
	}
	for _, n := range []string{"1e-300", "3.25", "1E0", "0.000000000000000000000000001"} {
		if err := s.Validate([]byte(`{"n": ` + n + `}`)); err != nil {
			t.Errorf("%s: %v", n, err)
		}
	}
}
