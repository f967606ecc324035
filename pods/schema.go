package pods

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"tamv.internal/tamv/tap"
)

// MaxDepth is how deep arrays and objects of a request may nest.
const MaxDepth = 32

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

// Validate checks a body: strict JSON (see [DecodeStrict]) that the schema
// accepts. The error is Invalid and lists the violations.
func (s *Schema) Validate(body []byte) error {
	value, err := DecodeStrict(body)
	if err != nil {
		return err
	}
	err = s.compiled.Validate(value)
	var violation *jsonschema.ValidationError
	if errors.As(err, &violation) {
		return tap.E("pods.schema", tap.Invalid, "the body does not match the schema of this route").
			WithCode("schema").WithDetail("violations", violations(violation))
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

func violations(e *jsonschema.ValidationError) []violation {
	var out []violation
	for _, unit := range e.BasicOutput().Errors {
		if unit.Error != nil && len(out) < maxViolations {
			out = append(out, violation{shorten(unit.InstanceLocation), shorten(unit.Error.String())})
		}
	}
	return out
}

// shorten cuts a text that may quote a large body, between characters.
func shorten(s string) string {
	if len(s) <= maxViolationText {
		return s
	}
	return strings.ToValidUTF8(s[:maxViolationText], "") + "..."
}

// DecodeStrict parses exactly one JSON value and refuses what encoding/json
// lets pass: bad UTF-8, duplicate keys, nesting beyond MaxDepth and trailing
// bytes. Numbers stay [json.Number], so that nothing is rounded.
func DecodeStrict(body []byte) (any, error) {
	if !utf8.Valid(body) {
		return nil, tap.E("pods.json", tap.Invalid, "the body is not valid UTF-8").WithCode("utf8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	value, err := strictValue(d, 0)
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
	errDuplicate = errors.New("a key appears twice in one object")
	errNumber    = errors.New("a number with too many digits or too large an exponent")
)

// jsonReason says why in words that do not repeat the input.
func jsonReason(err error) string {
	switch {
	case errors.Is(err, errTrailing), errors.Is(err, errDepth), errors.Is(err, errDuplicate), errors.Is(err, errNumber):
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

func strictValue(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
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
			v, err := strictValue(d, depth)
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
		if object[name], err = strictValue(d, depth); err != nil {
			return nil, err
		}
	}
	_, err = d.Token()
	return object, err
}
