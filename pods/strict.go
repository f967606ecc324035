package pods

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

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

// DecodeStrict parses exactly one JSON value and refuses what encoding/json
// lets pass: bad UTF-8, duplicate keys, nesting beyond MaxDepth, more values
// than MaxValues and trailing bytes. Numbers stay [json.Number], so that nothing is rounded.
func DecodeStrict(body []byte) (any, error) {
	if _, err := Members(body); err != nil {
		return nil, err
	}
	return decode(body)
}

// decode parses a body that was found strict.
func decode(body []byte) (value any, err error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	err = d.Decode(&value)
	return value, err
}

// Member is a member of an object as it was sent.
type Member struct {
	Name  []byte // without escapes
	Value []byte // JSON, part of the body
}

// Text is the value of a member that is a string.
func (m *Member) Text() (text string, ok bool) {
	if m.Value[0] != '"' {
		return "", false
	}
	return string(unquote(m.Value)), true
}

// unquote is the text of a string, which is well formed. It is part of the
// string unless there are escapes.
func unquote(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var text string
	_ = json.Unmarshal(quoted, &text)
	return []byte(text)
}

// Members checks a body like [DecodeStrict] and returns the members of its
// object, in their order; none when it is another value. It makes no values of
// them: that is what a busy route saves.
func Members(body []byte) ([]Member, error) {
	if !utf8.Valid(body) {
		return nil, tap.E("pods.json", tap.Invalid, "the body is not valid UTF-8").WithCode("utf8")
	}
	s := scanner{body: body, members: make([]Member, 0, 8)}
	err := s.value(0)
	if err == nil && s.skip() {
		err = errTrailing
	}
	if err != nil { // its text does not repeat the body
		return nil, tap.Wrap("pods.json", tap.Invalid, err, "the body is not one strict JSON value: %s", err).WithCode("json")
	}
	return s.members, nil
}
