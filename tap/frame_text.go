package tap

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"unicode/utf8"

	"github.com/google/uuid"
)

// textFrame is the JSON form of an envelope, for people and tools that speak
// WebSocket text messages.
type textFrame struct {
	ID        string          `json:"id"`
	Type      string          `json:"type"`
	Timestamp uint64          `json:"timestamp"`
	Payload   json.RawMessage `json:"payload,omitempty"`
	Signature []byte          `json:"signature,omitempty"` // the tag, base64
}

// ParseTextFrame reads the JSON form of one frame:
//
//	{"id": uuid, "type": ..., "timestamp": ms, "payload": object or base64, "signature": base64}
//
// An object stays as the exact bytes that were sent, because the tag covers
// them; a string is the base64 of a MessagePack payload. The error is Invalid
// with code malformed_frame.
func ParseTextFrame(b []byte) (Envelope, error) {
	if !utf8.Valid(b) {
		return Envelope{}, badFrame("the text is not UTF-8")
	}
	var t textFrame
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return Envelope{}, badFrame("the text is not a JSON frame")
	}
	if _, err := d.Token(); err != io.EOF {
		return Envelope{}, badFrame("something follows the frame")
	}
	id, err := uuid.Parse(t.ID)
	switch {
	case err != nil || len(t.ID) != 36:
		return Envelope{}, badFrame("the id is not a UUID")
	case !validType([]byte(t.Type)):
		return Envelope{}, badFrame("the type is not 1 to %d bytes of a-z, 0-9 and '_'", MaxTypeLen)
	case t.Timestamp > MaxTimestamp || len(t.Signature) > MaxTagLen:
		return Envelope{}, badFrame("the timestamp or the signature is out of range")
	}
	e := Envelope{ID: id, Type: internType([]byte(t.Type)), Timestamp: t.Timestamp, Payload: t.Payload, Tag: t.Signature}
	if len(t.Payload) == 0 || t.Payload[0] == '{' {
		return e, nil
	}
	var encoded string
	if json.Unmarshal(t.Payload, &encoded) != nil || t.Payload[0] != '"' {
		return Envelope{}, badFrame("the payload is neither an object nor a string")
	}
	if e.Payload, err = base64.StdEncoding.DecodeString(encoded); err != nil {
		return Envelope{}, badFrame("the payload is not base64")
	}
	return e, nil
}

// AppendText adds the JSON form of the envelope to dst. A MessagePack payload
// of a known type becomes a JSON object, any other one base64.
func (e *Envelope) AppendText(dst []byte) ([]byte, error) {
	t := textFrame{ID: e.ID.String(), Type: e.Type, Timestamp: e.Timestamp, Signature: e.Tag}
	var err error
	switch p := newPayload(e.Type); {
	case len(e.Payload) == 0:
	case e.Payload[0] == '{' && json.Valid(e.Payload):
		t.Payload = e.Payload
	case p != nil && DecodePayload(e.Payload, p) == nil:
		t.Payload, err = appendJSONPayload(nil, p)
	default:
		t.Payload, err = json.Marshal(base64.StdEncoding.EncodeToString(e.Payload))
	}
	if err != nil {
		return nil, Wrap("tap.text", Internal, err, "the frame has no JSON form")
	}
	// The encoder would compact the payload and escape <, > and &; the tag
	// covers the bytes as they are.
	payload := t.Payload
	t.Payload = nil
	head, err := json.Marshal(t)
	if err != nil {
		return nil, Wrap("tap.text", Internal, err, "the frame has no JSON form")
	}
	if len(payload) == 0 {
		return append(dst, head...), nil
	}
	dst = append(dst, head[:len(head)-1]...)
	dst = append(append(dst, `,"payload":`...), payload...)
	return append(dst, '}'), nil
}
