package pods

import (
	"bytes"
	"encoding/json"
	"errors"
	"runtime"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"tamv.internal/tamv/tap"
)

// Schema is a compiled JSON Schema (draft 2020-12) with its source.
type Schema struct {
	source   json.RawMessage
	compiled *jsonschema.Schema
	shape    *shape // nil when the schema is not that simple
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
	return &Schema{json.RawMessage(source), compiled, shapeOf([]byte(source))}
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
	members, err := Members(body)
	if err != nil || s.shape.accepts(members) {
		return err
	}
	value, err := decode(body)
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
