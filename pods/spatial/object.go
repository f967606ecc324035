package spatial

import (
	"bytes"
	"encoding/json"
	"math"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/tap"
)

const (
	// MaxMetadata is the longest metadata of an object, in bytes of compact JSON.
	MaxMetadata = 4 << 10
	// MaxCoordinate bounds every coordinate, rotation and scale factor.
	MaxCoordinate = 1e6
	// maxNumber is the longest spelling of a number. 17 digits say all that a
	// float64 can.
	maxNumber = 32
)

// Vector is three numbers with the digits that were sent.
type Vector struct {
	X json.Number `json:"x"`
	Y json.Number `json:"y"`
	Z json.Number `json:"z"`
}

// Object is a thing in a room.
type Object struct {
	ID       string          `json:"id"`   // a valid name, unique in its room
	Type     string          `json:"type"` // free text of at most 64 bytes; "object" when none is given
	Position Vector          `json:"position"`
	Rotation Vector          `json:"rotation"`           // 0, 0, 0 when none is given
	Scale    Vector          `json:"scale"`              // 1, 1, 1 when none is given
	Metadata json.RawMessage `json:"metadata,omitempty"` // a JSON object
}

// Actions.
const (
	Put    = "put"    // the object replaces the one with its id, or is new
	Remove = "remove" // the object with this id goes; only the id counts
)

// parseObject reads an object that shall be put: strict JSON, complete after
// defaults, within the limits.
func parseObject(raw json.RawMessage) (Object, error) {
	if err := objectSchema.Validate(raw); err != nil {
		return Object{}, err
	}
	o := Object{
		Type:     "object",
		Rotation: Vector{"0", "0", "0"},
		Scale:    Vector{"1", "1", "1"},
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return Object{}, tap.Wrap("spatial.object", tap.Invalid, err, "the object does not parse").WithCode("object")
	}
	return o, o.validate()
}

// validate checks what the schema leaves open: it only says "number", because a
// schema's bounds are compared in exact arithmetic, which 1e-99999999 makes dear.
func (o *Object) validate() error {
	if !tap.ValidName(o.ID) {
		return bad("an object id is 1 to 64 lower-case letters, digits, '-', '_' or '.'")
	}
	for _, v := range []Vector{o.Position, o.Rotation, o.Scale} {
		for _, n := range []json.Number{v.X, v.Y, v.Z} {
			if f, err := n.Float64(); err != nil || len(n) > maxNumber || !(math.Abs(f) <= MaxCoordinate) {
				return bad("coordinates are finite numbers within ±1e6")
			}
		}
	}
	if len(o.Metadata) == 0 {
		return nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, o.Metadata); err != nil || compact.Len() > MaxMetadata {
		return bad("the metadata is a JSON object of at most 4 KiB")
	}
	o.Metadata = compact.Bytes()
	return nil
}

func bad(why string) *tap.Error {
	return tap.E("spatial.object", tap.Invalid, "%s", why).WithCode("object")
}

// parseTarget reads the id of an object that shall be removed.
func parseTarget(raw json.RawMessage) (string, error) {
	if err := targetSchema.Validate(raw); err != nil {
		return "", err
	}
	var target struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(raw, &target); err != nil || !tap.ValidName(target.ID) {
		return "", bad("the object to remove is named by its id")
	}
	return target.ID, nil
}

const vectorShape = `{"type": "object", "additionalProperties": false, "required": ["x", "y", "z"], "properties": {
	"x": {"type": "number"}, "y": {"type": "number"}, "z": {"type": "number"}}}`

const objectShape = `{
	"type": "object", "additionalProperties": false, "required": ["id", "position"],
	"properties": {
		"id": {"type": "string", "minLength": 1, "maxLength": 64},
		"type": {"type": "string", "minLength": 1, "maxLength": 64},
		"position": ` + vectorShape + `, "rotation": ` + vectorShape + `, "scale": ` + vectorShape + `,
		"metadata": {"type": "object", "maxProperties": 256, "additionalProperties": true}}}`

var (
	objectSchema = pods.MustSchema(objectShape)
	targetSchema = pods.MustSchema(`{
		"type": "object", "required": ["id"], "maxProperties": 8, "additionalProperties": true,
		"properties": {"id": {"type": "string", "minLength": 1, "maxLength": 64}}}`)
)
