package tap

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Payload is a struct that travels in a frame: a flat map from field name to
// value. In MessagePack the values are uint, str, bin, bool, an array of str or
// a map from str to str; fields at their zero value are left out. In JSON they
// are number, string, base64 (see [Data]), boolean, array and object. Unknown
// and repeated fields, wrong types and trailing bytes are refused.
type Payload interface {
	fields() []field // *uint64, *string, *Data, *bool, *[]string or *map[string]string
	check() error
}

type field struct {
	name  string
	value any
}

// Data is bytes whose JSON form is the value itself when they are a JSON object
// or array, else a base64 string.
type Data []byte

// MarshalJSON implements json.Marshaler.
func (d Data) MarshalJSON() ([]byte, error) {
	if len(d) > 0 && (d[0] == '{' || d[0] == '[') && utf8.Valid(d) && json.Valid(d) {
		return d, nil
	}
	return json.Marshal(base64.StdEncoding.EncodeToString(d))
}

// UnmarshalJSON implements json.Unmarshaler.
func (d *Data) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && (b[0] == '{' || b[0] == '[') {
		*d = slices.Clone(b)
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	raw, err := base64.StdEncoding.DecodeString(s)
	*d = raw
	return err
}

func badPayload(format string, args ...any) error {
	return E("tap.payload", Invalid, format, args...).WithCode("malformed_payload")
}

// maxFields bounds the arrays and maps inside a payload.
const maxFields = 64

// AppendPayload adds the MessagePack form of p to dst.
func AppendPayload(dst []byte, p Payload) []byte {
	all := p.fields()
	n := 0
	for _, f := range all {
		if !f.zero() {
			n++
		}
	}
	dst = append(dst, mpFixMap|byte(n)) // every payload has fewer than 16 fields
	for _, f := range all {
		if !f.zero() {
			dst = f.append(appendStr(dst, f.name))
		}
	}
	return dst
}

// DecodePayload reads b, MessagePack or JSON, into p. Byte fields alias b. The
// error is Invalid with code malformed_payload.
func DecodePayload(b []byte, p Payload) error {
	if len(b) > 0 && b[0] == '{' {
		if err := decodeJSONFields(b, p.fields()); err != nil {
			return err
		}
		return p.check()
	}
	r := reader{b: b}
	all := p.fields()
	var seen uint32
	for range r.length(mpFixMap, mpMap16) {
		i := indexField(all, r.str())
		if r.bad {
			break
		}
		if i < 0 || seen&(1<<i) != 0 {
			return badPayload("the payload has an unknown or repeated field")
		}
		seen |= 1 << i
		all[i].read(&r)
	}
	if r.bad || len(r.b) > 0 {
		return badPayload("the payload is not a MessagePack map of the expected fields")
	}
	return p.check()
}

func indexField(all []field, name []byte) int {
	return slices.IndexFunc(all, func(f field) bool { return f.name == string(name) })
}

func (f field) zero() bool {
	switch v := f.value.(type) {
	case *uint64:
		return *v == 0
	case *string:
		return *v == ""
	case *Data:
		return len(*v) == 0
	case *bool:
		return !*v
	case *[]string:
		return len(*v) == 0
	case *map[string]string:
		return len(*v) == 0
	}
	return true
}

func (f field) append(dst []byte) []byte {
	switch v := f.value.(type) {
	case *uint64:
		return appendUint(dst, *v)
	case *string:
		return appendStr(dst, *v)
	case *Data:
		return appendBin(dst, *v)
	case *bool:
		return append(dst, mpTrue)
	case *[]string:
		dst = append(dst, mpArray16, byte(len(*v)>>8), byte(len(*v)))
		for _, s := range *v {
			dst = appendStr(dst, s)
		}
	case *map[string]string:
		dst = append(dst, mpMap16, byte(len(*v)>>8), byte(len(*v)))
		for _, k := range slices.Sorted(maps.Keys(*v)) {
			dst = appendStr(appendStr(dst, k), (*v)[k])
		}
	}
	return dst
}

func (f field) read(r *reader) {
	switch v := f.value.(type) {
	case *uint64:
		*v = r.uint()
	case *string:
		*v = string(r.str())
	case *Data:
		*v = r.bin()
	case *bool:
		*v = r.bool()
	case *[]string:
		n := r.length(mpFixArray, mpArray16)
		for i := 0; i < n && i < maxFields && !r.bad; i++ {
			*v = append(*v, string(r.str()))
		}
		r.bad = r.bad || n > maxFields
	case *map[string]string:
		n := r.length(mpFixMap, mpMap16)
		*v = make(map[string]string, min(n, maxFields))
		for i := 0; i < n && i < maxFields && !r.bad; i++ {
			k := string(r.str())
			(*v)[k] = string(r.str())
		}
		r.bad = r.bad || n > maxFields || len(*v) != n
	}
}

func decodeJSONFields(b []byte, all []field) error {
	var sent map[string]json.RawMessage
	if !utf8.Valid(b) || json.Unmarshal(b, &sent) != nil {
		return badPayload("the payload is not a JSON object")
	}
	for name, raw := range sent {
		i := indexField(all, []byte(name))
		if i < 0 {
			return badPayload("the payload has an unknown field")
		}
		if string(raw) == "null" || json.Unmarshal(raw, all[i].value) != nil {
			return badPayload("field %s has the wrong type", all[i].name)
		}
	}
	return nil
}

// appendJSONPayload adds the JSON form of p.
func appendJSONPayload(dst []byte, p Payload) ([]byte, error) {
	dst = append(dst, '{')
	comma := false
	for _, f := range p.fields() {
		if f.zero() {
			continue
		}
		if comma {
			dst = append(dst, ',')
		}
		comma = true
		value, err := f.json()
		if err != nil {
			return nil, err
		}
		dst = append(append(append(append(dst, '"'), f.name...), '"', ':'), value...)
	}
	return append(dst, '}'), nil
}

// json is the value's JSON form. Data goes in as it is: json.Marshal would
// compact it.
func (f field) json() ([]byte, error) {
	if d, ok := f.value.(*Data); ok {
		return d.MarshalJSON()
	}
	return json.Marshal(f.value)
}

// ErrorFrame is the payload of an error frame: the one error format plus the
// TAP code. It is always JSON.
type ErrorFrame struct {
	TAP          uint16 `json:"tap"`
	RetryAfterMs int64  `json:"retryAfterMs,omitempty"`
	ErrorBody
}

// ErrorEnvelope renders err as the answer to the frame with this id.
func ErrorEnvelope(id uuid.UUID, err error, now time.Time, lang Lang) Envelope {
	e := AsError(err)
	frame := ErrorFrame{e.Kind.Traits().TAPCode, e.RetryAfter.Milliseconds(), e.Body(id.String(), now, lang)}
	b, jsonErr := json.Marshal(frame)
	if jsonErr != nil { // details that JSON cannot hold
		frame.Error.Details = nil
		b, _ = json.Marshal(frame)
	}
	return Envelope{ID: id, Type: TypeError, Timestamp: uint64(now.UnixMilli()), Payload: b}
}

// ParseErrorFrame reads the payload of an error frame.
func ParseErrorFrame(payload []byte) (*Error, error) {
	e, _, ok := ParseErrorBody(payload)
	if !ok {
		return nil, badPayload("the payload is not an error")
	}
	var frame ErrorFrame
	if json.Unmarshal(payload, &frame) == nil && frame.RetryAfterMs > 0 {
		e.RetryAfter = time.Duration(frame.RetryAfterMs) * time.Millisecond
	}
	return e, nil
}
