package isabella

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/tap"
)

// Limits of an intent's input.
const (
	maxText     = 16 << 10 // bytes of the text
	maxContext  = 4 << 10  // bytes of the context
	maxObject   = 64 << 10 // bytes of a spatial object or a payment
	maxDistance = 1e6      // metres from a room's origin, on each axis
)

// paymentType is the intent type whose text is a payment as a JSON object.
const paymentType = "payment"

// Detections that are no input type.
const (
	incomplete pods.InputType = "incomplete" // spatial data without a place
	payment    pods.InputType = "payment"    // amount and currency in an intent that is no payment
)

// input is an intent's data after reading.
type input struct {
	parsed   pods.ParsedInput
	texts    []string // everything readable in the data, for the audit
	parts    []part
	declared pods.InputType // where declaration and data disagree, the two
	detected pods.InputType // empty = they agree
}

// part is what the evidence says of one piece of the data.
type part struct {
	Type   pods.InputType `json:"type"`
	Format string         `json:"format,omitempty"`
	Bytes  int            `json:"bytes"`  // of the content, after base64
	Digest string         `json:"digest"` // SHA-256 of the content, hex
	Width  int            `json:"width,omitempty"`
	Height int            `json:"height,omitempty"`
}

// errInput is the one answer to damaged and to unsafe input: which of the two,
// and where, would help whoever is probing.
func errInput() error {
	return tap.E("isabella.input", tap.Invalid,
		"the input is damaged, unsafe or of a form that is not supported").WithCode("input")
}

// readInput reads an intent's data and context. A disagreement between the
// declared type and the data is not an error: it is in the result, and nothing
// of the disputed data is in parsed.
func readInput(in *pods.Intent) (*input, error) {
	out := &input{}
	if err := safeText(in.Input.Context, maxContext); err != nil {
		return nil, err
	}
	if err := safeText(in.Type, maxContext); err != nil {
		return nil, err
	}
	data := bytes.TrimSpace(in.Input.Data)
	var err error
	if in.Type == paymentType && in.Input.Type == pods.Text && len(data) > 0 && data[0] == '{' {
		err = out.payment(data)
	} else {
		err = out.read(in.Input.Type, data)
	}
	if err != nil {
		return nil, err
	}
	if in.Input.Context != "" {
		out.texts = append(out.texts, in.Input.Context)
	}
	return out, nil
}

// read takes data that is declared to be of a type.
func (p *input) read(declared pods.InputType, data json.RawMessage) error {
	if len(data) == 0 {
		return errInput()
	}
	switch data[0] {
	case '"':
		var s string
		if json.Unmarshal(data, &s) != nil {
			return errInput()
		}
		return p.readString(declared, s)
	case '{':
		var fields map[string]json.RawMessage
		if json.Unmarshal(data, &fields) != nil {
			return errInput()
		}
		return p.readObject(declared, data, fields)
	}
	return errInput()
}

// conflict notes that the data is not what it is declared to be; the first
// conflict is the one to ask about.
func (p *input) conflict(declared, detected pods.InputType) {
	if p.detected == "" {
		p.declared, p.detected = declared, detected
	}
}

func (p *input) readString(declared pods.InputType, s string) error {
	kind, encoded := sniff(s)
	asText := kind == pods.Text || kind == opaque && declared == pods.Text
	switch {
	case asText:
		if err := safeText(s, maxText); err != nil {
			return err
		}
		if strings.TrimSpace(s) == "" {
			return errInput()
		}
		p.texts = append(p.texts, s)
		if declared != pods.Text {
			p.conflict(declared, pods.Text)
			return nil
		}
		p.parsed.Text = s
		p.note(part{Type: pods.Text}, []byte(s))
		return nil
	case kind == opaque:
		return errInput()
	case kind != declared:
		p.conflict(declared, kind)
		return nil
	}
	content, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return errInput()
	}
	return p.readMedia(declared, content)
}

func (p *input) readMedia(kind pods.InputType, content []byte) error {
	inspect := inspectImage
	if kind == pods.Audio {
		inspect = inspectAudio
	}
	found, ok := inspect(content)
	if !ok {
		return errInput()
	}
	if kind == pods.Audio {
		p.parsed.Audio = content
	} else {
		p.parsed.Image = content
	}
	p.note(part{Type: kind, Format: found.format, Width: found.width, Height: found.height}, content)
	return nil
}

// note keeps what the evidence will say of a piece.
func (p *input) note(about part, content []byte) {
	about.Bytes, about.Digest = len(content), digest(content)
	p.parts = append(p.parts, about)
}

// digest is SHA-256 in lower-case hexadecimal digits.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// pieces is the fields of a multimodal input, in the order in which they are
// read.
var pieces = []pods.InputType{pods.Text, pods.Image, pods.Spatial, pods.Audio}

func (p *input) readObject(declared pods.InputType, data json.RawMessage, fields map[string]json.RawMessage) error {
	detected := shapeOf(fields)
	switch {
	case detected == "":
		return errInput()
	case detected == incomplete || detected != declared:
		found, ok := stringsIn(data)
		if !ok {
			return errInput()
		}
		p.texts = append(p.texts, found...)
		p.conflict(declared, detected)
		return nil
	case fields["room"] != nil:
		return p.readSpatial(data, fields)
	}
	for _, piece := range pieces {
		if raw, ok := fields[string(piece)]; ok {
			if err := p.read(piece, bytes.TrimSpace(raw)); err != nil {
				return err
			}
		}
	}
	return nil
}

// shapeOf says what an object's fields make it; empty = nothing known.
func shapeOf(fields map[string]json.RawMessage) pods.InputType {
	all := func(names ...string) bool {
		n := 0
		for _, name := range names {
			if _, ok := fields[name]; ok {
				n++
			}
		}
		return n == len(fields) && n > 0
	}
	_, place := fields["position"]
	switch {
	case all("room", "object") && len(fields) == 2:
		return pods.Spatial
	case all("room", "object") || place:
		return incomplete
	case all("amount", "currency", "source", "purpose"):
		return payment
	case !all("text", "image", "spatial", "audio"):
		return ""
	}
	shape := pods.Multimodal
	for _, piece := range pieces {
		if _, ok := fields[string(piece)]; ok && len(fields) == 1 {
			shape = piece
		}
	}
	return shape
}

// readSpatial takes {"room": name, "object": {..., "position": {x, y, z}}}.
func (p *input) readSpatial(data json.RawMessage, fields map[string]json.RawMessage) error {
	var room string
	var object, position map[string]json.RawMessage
	if json.Unmarshal(fields["room"], &room) != nil || !tap.ValidName(room) ||
		json.Unmarshal(fields["object"], &object) != nil || object == nil || len(data) > maxObject {
		return errInput()
	}
	found, ok := stringsIn(data)
	if !ok {
		return errInput()
	}
	p.texts = append(p.texts, found...)
	raw, placed := object["position"]
	if !placed {
		p.conflict(pods.Spatial, incomplete)
		return nil
	}
	if json.Unmarshal(raw, &position) != nil || position == nil {
		return errInput()
	}
	for _, axis := range []string{"x", "y", "z"} {
		v, err := strconv.ParseFloat(string(position[axis]), 64)
		if err != nil || !(v >= -maxDistance && v <= maxDistance) {
			return errInput()
		}
	}
	p.parsed.Spatial = &pods.SpatialInput{Room: room, Object: fields["object"]}
	p.note(part{Type: pods.Spatial}, data)
	return nil
}

// payment takes the structured text of a payment; the economy pod judges its
// fields.
func (p *input) payment(data json.RawMessage) error {
	found, ok := stringsIn(data)
	if !ok || len(data) > maxObject {
		return errInput()
	}
	p.texts = append(p.texts, found...)
	p.parsed.Text = string(data)
	p.note(part{Type: pods.Text, Format: "payment"}, data)
	return nil
}

// stringsIn lists the texts of a JSON value, keys included. ok is false when
// the value is not strict JSON, holds an unsafe text or a number that is out of
// a float's range.
func stringsIn(data json.RawMessage) (found []string, ok bool) {
	value, err := pods.DecodeStrict(data)
	if err != nil {
		return nil, false
	}
	ok = walk(value, func(s string) bool {
		if safeText(s, maxText) != nil {
			return false
		}
		// A text without a space between letters is a name, a number or base64.
		if strings.ContainsRune(strings.TrimSpace(s), ' ') {
			found = append(found, s)
		}
		return true
	})
	slices.Sort(found)
	return found, ok
}

// walk calls fn for every string of a decoded JSON value until it returns false.
func walk(value any, fn func(string) bool) bool {
	switch v := value.(type) {
	case string:
		if kind, _ := sniff(v); kind == pods.Image || kind == pods.Audio {
			return true
		}
		return fn(v)
	case json.Number:
		_, err := v.Float64()
		return err == nil
	case []any:
		for _, e := range v {
			if !walk(e, fn) {
				return false
			}
		}
	case map[string]any:
		for key, e := range v {
			if !fn(key) || !walk(e, fn) {
				return false
			}
		}
	}
	return true
}
