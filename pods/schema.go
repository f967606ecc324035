package pods

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"tamv.internal/tamv/tap"
)

// Bounds of the JSON in a request, against bodies that are small as bytes and
// large as anything else.
const (
	// MaxDepth is how deep arrays and objects may nest.
	MaxDepth = 32
	// MaxValues is how many values a body may hold: strings, numbers, true,
	// false and null, arrays and objects. A schema may complain of each.
	MaxValues = 16_384
)

// Schema is a compiled JSON Schema (draft 2020-12) with its source.
type Schema struct {
	source   json.RawMessage
	compiled *jsonschema.Schema
}

// MustSchema compiles a schema that is part of the program; a wrong one is a
// defect, found by the first test that loads the pod.
func MustSchema(source string) *Schema {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(source)))
	if err != nil {
		panic("pods: schema is no JSON: " + err.Error())
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		panic("pods: schema: " + err.Error())
	}
	compiled, err := c.Compile("schema.json")
	if err != nil {
		panic("pods: schema: " + err.Error())
	}
	return &Schema{json.RawMessage(source), compiled}
}

// Source is the schema as written.
func (s *Schema) Source() json.RawMessage { return s.source }

// largeBody is the length, in bytes, from which a body waits for its turn.
const largeBody = 64 << 10

// turns bounds how many large bodies are validated at once, in all schemas: the
// work needs a processor and several times the body's memory, so that more at
// once would take more memory and no less time.
var turns = make(chan struct{}, 2*runtime.GOMAXPROCS(0))

// Validate checks a body: strict JSON (see [DecodeStrict]) that the schema
// accepts. The error is Invalid and lists the first violations.
func (s *Schema) Validate(body []byte) error {
	if len(body) >= largeBody {
		turns <- struct{}{}
		defer func() { <-turns }()
	}
	value, err := DecodeStrict(body)
	if err != nil {
		return err
	}
	err = s.compiled.Validate(value)
	var violation *jsonschema.ValidationError
	if errors.As(err, &violation) {
		return tap.E("pods.schema", tap.Invalid, "the body does not match the schema of this route").
			WithCode("schema").WithDetail("violations", violations(nil, violation.Causes))
	}
	return err
}

// violation is one way in which a body breaks its schema.
type violation struct {
	Path    string `json:"path"` // JSON pointer into the body
	Message string `json:"message"`
}

// Bounds of what an error repeats of a body.
const (
	maxViolations    = 10
	maxViolationText = 200 // bytes
)

// violations appends what the causes say, outer ones first, and stops at the
// maximum: the library keeps one cause for each wrong value of the body.
func violations(out []violation, causes []*jsonschema.ValidationError) []violation {
	for _, cause := range causes {
		if len(out) == maxViolations {
			break
		}
		if !groups(cause) {
			out = append(out, describe(cause))
		}
		out = violations(out, cause.Causes)
	}
	return out
}

// groups says whether a cause only holds others together.
func groups(e *jsonschema.ValidationError) bool {
	switch e.ErrorKind.(type) {
	case *kind.Group, *kind.Reference:
		return len(e.Causes) > 0
	}
	return false
}

// describe has the library render one cause without those below it.
func describe(e *jsonschema.ValidationError) violation {
	alone := jsonschema.ValidationError{SchemaURL: e.SchemaURL, InstanceLocation: e.InstanceLocation, ErrorKind: e.ErrorKind}
	unit := alone.BasicOutput()
	return violation{shorten(unit.InstanceLocation), shorten(unit.Error.String())}
}

// shorten cuts a text that may quote a large body, between characters.
func shorten(s string) string {
	if len(s) <= maxViolationText {
		return s
	}
	return strings.ToValidUTF8(s[:maxViolationText], "") + "..."
}

// DecodeStrict parses exactly one JSON value and refuses what encoding/json
// lets pass: bad UTF-8, duplicate keys, nesting beyond MaxDepth, more values
// than MaxValues and trailing bytes. Numbers stay [json.Number], so that nothing is rounded.
func DecodeStrict(body []byte) (any, error) {
	if !utf8.Valid(body) {
		return nil, tap.E("pods.json", tap.Invalid, "the body is not valid UTF-8").WithCode("utf8")
	}
	d := strict{Decoder: json.NewDecoder(bytes.NewReader(body))}
	d.UseNumber()
	value, err := d.value(0)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errTrailing
		}
	}
	if err != nil {
		return nil, tap.Wrap("pods.json", tap.Invalid, err, "the body is not one strict JSON value: %s", jsonReason(err)).WithCode("json")
	}
	return value, nil
}

var (
	errTrailing  = errors.New("bytes after the value")
	errDepth     = errors.New("nested too deeply")
	errValues    = fmt.Errorf("more than %d values", MaxValues)
	errDuplicate = errors.New("a key appears twice in one object")
	errNumber    = errors.New("a number with too many digits or too large an exponent")
)

// jsonReason says why in words that do not repeat the input.
func jsonReason(err error) string {
	switch {
	case errors.Is(err, errTrailing), errors.Is(err, errDepth), errors.Is(err, errValues), errors.Is(err, errDuplicate), errors.Is(err, errNumber):
		return err.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it ends too early"
	}
	return "syntax error"
}

// Bounds of a number: what a float64 can hold, and no more digits than anybody
// means. Comparing 1e-9999999 exactly, as a schema does, costs seconds.
const (
	maxNumberBytes = 64
	maxExponent    = 400
)

// plain says whether a JSON number keeps to the bounds.
func plain(n string) bool {
	if len(n) > maxNumberBytes {
		return false
	}
	i := strings.IndexAny(n, "eE")
	if i < 0 {
		return true
	}
	exponent, err := strconv.Atoi(n[i+1:])
	return err == nil && exponent >= -maxExponent && exponent <= maxExponent
}

// strict decodes one body.
type strict struct {
	*json.Decoder
	values int // read so far
}

// value reads the next value, depth levels down.
func (d *strict) value(depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	if d.values++; d.values > MaxValues {
		return nil, errValues
	}
	delim, nested := t.(json.Delim)
	if !nested {
		if n, number := t.(json.Number); number && !plain(string(n)) {
			return nil, errNumber
		}
		return t, nil
	}
	if depth++; depth > MaxDepth {
		return nil, errDepth
	}
	if delim == '[' {
		list := []any{}
		for d.More() {
			v, err := d.value(depth)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.Token()
		return list, err
	}
	object := map[string]any{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := key.(string)
		if _, twice := object[name]; twice {
			return nil, errDuplicate
		}
		if object[name], err = d.value(depth); err != nil {
			return nil, err
		}
	}
	_, err = d.Token()
	return object, err
}
