package pods

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
)

// oracle reads a body with encoding/json's tokens, several times slower. What
// it says of a body is what the scanner must say.
type oracle struct {
	*json.Decoder
	values int
}

func readByTokens(body []byte) (any, error) {
	o := oracle{Decoder: json.NewDecoder(bytes.NewReader(body))}
	o.UseNumber()
	v, err := o.value(0)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return nil, errSyntax
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errEnd
	case err != nil:
		return nil, err
	}
	if _, more := o.Token(); more != io.EOF {
		return nil, errTrailing
	}
	return v, nil
}

func (o *oracle) value(depth int) (any, error) {
	t, err := o.Token()
	if err != nil {
		return nil, err
	}
	if o.values++; o.values > MaxValues {
		return nil, errValues
	}
	delim, nested := t.(json.Delim)
	if !nested {
		if n, number := t.(json.Number); number && !plain([]byte(n)) {
			return nil, errNumber
		}
		return t, nil
	}
	if depth++; depth > MaxDepth {
		return nil, errDepth
	}
	list, object := []any{}, map[string]any{}
	for o.More() {
		if delim == '[' {
			v, err := o.value(depth)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
			continue
		}
		key, err := o.Token()
		if err != nil {
			return nil, err
		}
		name, _ := key.(string)
		if _, twice := object[name]; twice {
			return nil, errDuplicate
		}
		if object[name], err = o.value(depth); err != nil {
			return nil, err
		}
	}
	_, err = o.Token()
	if delim == '[' {
		return list, err
	}
	return object, err
}

// fataler is a test or one run of a property.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// compareWithTokens checks that a body is read as by tokens, for the same
// reason if it is refused.
func compareWithTokens(t fataler, body []byte) {
	t.Helper()
	got, err := DecodeStrict(body)
	members, memberErr := Members(body)
	if !reflect.DeepEqual(err, memberErr) {
		t.Fatalf("%q: %v, but its members %v", body, err, memberErr)
	}
	if !utf8.Valid(body) {
		if codeOf(err) != "utf8" {
			t.Fatalf("%q: %v", body, err)
		}
		return
	}
	want, reason := readByTokens(body)
	if reason != nil {
		const before = "the body is not one strict JSON value: "
		if !errors.Is(err, reason) || codeOf(err) != "json" || tap.AsError(err).Message != before+reason.Error() {
			t.Fatalf("%q: %v, want %v", body, err, reason)
		}
		return
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%q reads as %v, %v; want %v", body, got, err, want)
	}
	object, _ := want.(map[string]any)
	if len(members) != len(object) {
		t.Fatalf("%q has %d members, want %d", body, len(members), len(object))
	}
	for i := range members {
		m := &members[i]
		value, err := decode(m.Value)
		if err != nil || !bytes.Contains(body, m.Value) || !reflect.DeepEqual(value, object[string(m.Name)]) {
			t.Fatalf("%q: member %q is %s, %v", body, m.Name, m.Value, err)
		}
		text, isText := value.(string)
		if got, ok := m.Text(); ok != isText || got != text {
			t.Fatalf("%q: the text of %q is %q, %t", body, m.Name, got, ok)
		}
	}
}

// tricky are bodies on which two readers of JSON may differ.
var tricky = []string{
	``, ` `, `{}`, `[]`, `{}x`, `{} {}`, `"x`, `"x"y`, `tru`, `trux`, `truex`, `nul`, `[true false]`, `[,1]`, `[1,,2]`, `[1,]`, `[1`, `[1,`, `[1}`, `{"a":1]`,
	`{"a"`, `{"a":`, `{"a" 1}`, `{"a",1}`, `{"a":}`, `{,"a":1}`, `{"a":1,}`, `{"a":1 "b":2}`, `{"a":1,"a"`, `{"a":1,"a":`, `{1:2}`, `{true:1}`, `{"a":1:2}`, `[1:2]`, `}`, `]`, `:`, `,`,
	`-`, `-x`, `--1`, `+1`, `.5`, `01`, `[01]`, `-0`, `-01`, `1.`, `1.x`, `1.5.5`, `1e`, `1e+`, `1ex`, `1E-5x`, `[1e400, 1e401]`, `1e99999999999999999999`, `0x10`,
	`"\`, `"\x"`, `"\u12`, `"\u12"`, `"\u00g0"`, `"\ud800"`, `"\ud83d\ude00"`, `"\ud83d\u0041"`, `"\/\b\f\n\r\t\"\\"`, "\"a\tb\"", "\"\x7f\"", `"ñ€😀"`,
	`{"\ud800":1,"\udfff":2}`, `{"a":1,"\u0061":2}`, `{"":1,"":2}`, `{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}`, "\ufeff{}", "\u00a0{}", "\v1", " \t\r\n1 \t\r\n", "1\x00", "\x00",
}

func TestTheScannerAgreesWithTokens(t *testing.T) {
	for _, body := range tricky {
		compareWithTokens(t, []byte(body))
	}
	for _, body := range []string{
		strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth), strings.Repeat("[", MaxDepth+1), strings.Repeat(`{"a":`, MaxDepth+1),
		manyMembers(MaxValues - 1), manyMembers(MaxValues), "[" + strings.Repeat("0,", MaxValues-2) + "0]", "[" + strings.Repeat("0,", MaxValues) + "x]",
		manyMembers(100)[:600] + `":1,"5":1}`, `[{"x":` + manyMembers(fewMembers) + `,"y":` + manyMembers(fewMembers+1) + `}]`,
		strings.Replace(manyMembers(fewMembers), "}", `,"f":1}`, 1), strings.Replace(manyMembers(fewMembers+1), "}", `,"10":1}`, 1),
		strings.Replace(manyMembers(fewMembers+1), "}", `,"\u0030":1}`, 1), "[" + strings.Repeat("9", maxNumberBytes) + "," + strings.Repeat("9", maxNumberBytes+1) + "]",
	} {
		compareWithTokens(t, []byte(body))
	}
}

// A body that is cut, or in which one byte is another, is read alike.
func TestTheScannerAgreesWithTokensOnDamage(t *testing.T) {
	value := rapid.Deferred(func() *rapid.Generator[any] { return jsonValue(4) })
	rapid.Check(t, func(t *rapid.T) {
		body, err := json.Marshal(value.Draw(t, "value"))
		if err != nil {
			t.Fatal(err)
		}
		compareWithTokens(t, body)
		at := rapid.IntRange(0, len(body)-1).Draw(t, "at")
		compareWithTokens(t, body[:at])
		body[at] = rapid.SampledFrom([]byte("{}[]:,\"\\0123456789.eE+- \n\x00xtnfu\xff")).Draw(t, "byte")
		compareWithTokens(t, body)
	})
}

func jsonValue(depth int) *rapid.Generator[any] {
	leaf := rapid.OneOf(
		rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.String().AsAny(), rapid.Float64().AsAny(), rapid.Int64().AsAny())
	if depth == 0 {
		return leaf
	}
	inner := jsonValue(depth - 1)
	return rapid.OneOf(leaf, rapid.SliceOfN(inner, 0, 4).AsAny(), rapid.MapOfN(rapid.StringN(0, 2, -1), inner, 0, 20).AsAny())
}

func FuzzMembers(f *testing.F) {
	for _, body := range tricky {
		f.Add([]byte(body))
	}
	f.Add([]byte(manyMembers(fewMembers + 2)))
	f.Fuzz(func(t *testing.T, body []byte) { compareWithTokens(t, body) })
}

// record is what a busy route gets: 512 bytes.
var record = []byte(`{"action":"sensor.reading","outcome":"ok","data":{"sensor":12,"reading":3456,"value":4012345678,"note":"` +
	strings.Repeat("the door of the north hall was opened; ", 11)[:406] + `"}}`)

func BenchmarkMembers(b *testing.B) {
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Members(record); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeStrict(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeStrict(record); err != nil {
			b.Fatal(err)
		}
	}
}
