package tap

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"
)

// payloads is one full example of every payload that travels.
func payloads() map[string]Payload {
	bytes32, bytes64 := Data(strings.Repeat("k", 32)), Data(strings.Repeat("s", 64))
	return map[string]Payload{
		TypeHello:          &Hello{1, "main/ana", bytes32, []string{"x", "y"}},
		TypeChallenge:      &Challenge{bytes32, "n1", 1 << 40, bytes32},
		TypeAuth:           &Auth{bytes64, true},
		TypeReady:          &Ready{uuid.NewString(), "ana", []string{"citizen"}, 1 << 20, 256, 256},
		TypeSubscribe:      &Subscribe{"plaza", 7, 300},
		TypeUnsubscribe:    &Unsubscribe{"plaza"},
		TypePublish:        &Publish{"plaza", ClassState, "ana/head", Data(`{"x":1}`)},
		TypeXREvent:        &Event{"plaza", 70_000, ClassState, "ana/head", "ana", 0, Data{1, 2, 255}},
		TypeDreamSpaceSync: &Event{"plaza", 5, ClassDurable, "", "ana", 9, Data(`[1]`)},
		TypeIntentRequest:  &VirtualRequest{"POST", "/v1/kernel/intent", "a=b", map[string]string{"signature": "s", "content-digest": "d"}, Data("{}")},
		TypeCheckpoint:     &Checkpoint{256, bytes32, bytes64},
		TypeAck:            &Ack{200, "plaza", 1, 2, 3, true, "text/plain", Data("hola")},
		TypeBusy:           &Busy{50},
		TypeSnapshot:       &Snapshot{"plaza", 1, 2, 3, true, Data(`{"objects":[]}`)},
		TypeGap:            &Gap{"plaza", 1, 2, 3},
	}
}

func TestPayloadsRoundTrip(t *testing.T) {
	for typ, p := range payloads() {
		b := AppendPayload(nil, p)
		got := newPayload(typ)
		if err := DecodePayload(b, got); err != nil {
			t.Errorf("%s: %v", typ, err)
			continue
		}
		if diff := cmp.Diff(p, got); diff != "" {
			t.Errorf("%s in MessagePack (-want +got):\n%s", typ, diff)
		}
		asJSON, err := appendJSONPayload(nil, p)
		if err != nil {
			t.Fatal(err)
		}
		got = newPayload(typ)
		if err := DecodePayload(asJSON, got); err != nil {
			t.Errorf("%s: %v in %s", typ, err, asJSON)
			continue
		}
		if diff := cmp.Diff(p, got); diff != "" {
			t.Errorf("%s in JSON (-want +got):\n%s", typ, diff)
		}
		// Any MessagePack library reads it, and knows every name once.
		var foreign map[string]any
		if err := msgpack.Unmarshal(b, &foreign); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
		again, err := msgpack.Marshal(foreign)
		if err != nil {
			t.Fatal(err)
		}
		got = newPayload(typ)
		if err := DecodePayload(again, got); err != nil || cmp.Diff(p, got) != "" {
			t.Errorf("%s from vmihailenco: %v\n%s", typ, err, cmp.Diff(p, got))
		}
	}
	if newPayload(TypePing) != nil || newPayload("unheard_of") != nil {
		t.Error("types without a payload of ours have one")
	}
}

func TestPayloadsRefuseBadInput(t *testing.T) {
	pack := func(v any) string {
		b, err := msgpack.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	type m = map[string]any
	many := make([]string, maxFields+1)
	good := AppendPayload(nil, &Publish{Room: "plaza"})
	for name, c := range map[string]struct {
		b    string
		into Payload
	}{
		"empty":                {"", new(Publish)},
		"an array":             {pack([]string{"room"}), new(Publish)},
		"nil":                  {"\xc0", new(Publish)},
		"unknown field":        {pack(m{"room": "plaza", "colour": 1}), new(Publish)},
		"repeated field":       {"\x82\xa4room\xa1a\xa4room\xa1a", new(Publish)},
		"field name a number":  {"\x81\x01\xa1a", new(Publish)},
		"trailing byte":        {string(good) + "\x00", new(Publish)},
		"truncated":            {string(good[:len(good)-1]), new(Publish)},
		"room a number":        {pack(m{"room": 7}), new(Publish)},
		"room not UTF-8":       {"\x81\xa4room\xa1\xff", new(Publish)},
		"room missing":         {pack(m{}), new(Publish)},
		"room with a slash":    {pack(m{"room": "a/b"}), new(Publish)},
		"data a string":        {pack(m{"room": "a", "data": "x"}), new(Publish)},
		"class unknown":        {pack(m{"room": "a", "class": "loud"}), new(Publish)},
		"key without state":    {pack(m{"room": "a", "key": "k"}), new(Publish)},
		"state without key":    {pack(m{"room": "a", "class": "state"}), new(Publish)},
		"key with control":     {pack(m{"room": "a", "class": "state", "key": "a\n"}), new(Publish)},
		"key too long":         {pack(m{"room": "a", "class": "state", "key": strings.Repeat("k", 65)}), new(Publish)},
		"after negative":       {pack(m{"room": "a", "after": -1}), new(Subscribe)},
		"after a float":        {pack(m{"room": "a", "after": 1.5}), new(Subscribe)},
		"after nil":            {pack(m{"room": "a", "after": nil}), new(Subscribe)},
		"bound a number":       {pack(m{"signature": make([]byte, 64), "bound": 1}), new(Auth)},
		"signature short":      {pack(m{"signature": make([]byte, 63)}), new(Auth)},
		"keyid missing":        {pack(m{"version": 1, "ephemeral": make([]byte, 32)}), new(Hello)},
		"keyid too long":       {pack(m{"keyid": strings.Repeat("k", 161), "ephemeral": make([]byte, 32)}), new(Hello)},
		"17 features":          {pack(m{"keyid": "a", "ephemeral": make([]byte, 32), "features": make([]string, 17)}), new(Hello)},
		"65 features":          {pack(m{"keyid": "a", "ephemeral": make([]byte, 32), "features": many}), new(Hello)},
		"feature too long":     {pack(m{"keyid": "a", "ephemeral": make([]byte, 32), "features": []string{strings.Repeat("f", 33)}}), new(Hello)},
		"nonce short":          {pack(m{"nonce": make([]byte, 31), "ephemeral": make([]byte, 32)}), new(Challenge)},
		"ready without limits": {pack(m{"session": "x"}), new(Ready)},
		"head short":           {pack(m{"count": 1, "head": []byte{1}, "signature": make([]byte, 64)}), new(Checkpoint)},
		"no method":            {pack(m{"p": "/"}), new(VirtualRequest)},
		"relative path":        {pack(m{"m": "GET", "p": "v1"}), new(VirtualRequest)},
		"unknown header":       {pack(m{"m": "GET", "p": "/", "h": m{"cookie": "x"}}), new(VirtualRequest)},
		"header a number":      {pack(m{"m": "GET", "p": "/", "h": m{"signature": 1}}), new(VirtualRequest)},
		"header repeated":      {"\x83\xa1m\xa3GET\xa1p\xa1/\xa1h\x82\xa9signature\xa1a\xa9signature\xa1b", new(VirtualRequest)},
		"header too long":      {pack(m{"m": "GET", "p": "/", "h": m{"signature": strings.Repeat("x", 4097)}}), new(VirtualRequest)},
		"deep nesting":         {"\x81\xa4room" + strings.Repeat("\x91", 10_000), new(Publish)},
		"JSON truncated":       {`{"room":"a"`, new(Publish)},
		"JSON not UTF-8":       {"{\"room\":\"a\xff\"}", new(Publish)},
		"JSON unknown field":   {`{"room":"a","x":1}`, new(Publish)},
		"JSON null":            {`{"room":null}`, new(Publish)},
		"JSON wrong type":      {`{"room":7}`, new(Publish)},
		"JSON data a number":   {`{"room":"a","data":7}`, new(Publish)},
		"JSON bad base64":      {`{"room":"a","data":"%%"}`, new(Publish)},
		"JSON negative":        {`{"room":"a","after":-1}`, new(Subscribe)},
		"JSON deep":            {`{"room":` + strings.Repeat("[", 20_000), new(Publish)},
		"event without a room": {pack(m{"sequence": 1}), new(Event)},
		"gap without a room":   {pack(m{"from": 1}), new(Gap)},
	} {
		if err := DecodePayload([]byte(c.b), c.into); !IsKind(err, Invalid) || AsError(err).Code != "malformed_payload" {
			t.Errorf("%s: got %v, want Invalid malformed_payload", name, err)
		}
	}
}

func TestErrorFrameRoundTrip(t *testing.T) {
	now := time.UnixMilli(1_767_225_600_000)
	id := uuid.New()
	for _, kind := range Kinds() {
		want := E("op", kind, "why").WithCode("some_code").WithDetail("fact", "x").WithRetryAfter(1500 * time.Millisecond)
		e := ErrorEnvelope(id, want, now, English)
		got, err := ParseErrorFrame(e.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if got.Kind != kind || got.Code != want.Code || got.Message != want.Message || got.RetryAfter != want.RetryAfter ||
			cmp.Diff(got.Details, want.Details) != "" {
			t.Errorf("%s: got %+v", kind, got)
		}
		var frame ErrorFrame
		if err := json.Unmarshal(e.Payload, &frame); err != nil || frame.TAP != kind.Traits().TAPCode || frame.Error.RequestID != id.String() {
			t.Errorf("%s: frame %+v, %v", kind, frame, err)
		}
	}
	// A cause stays inside; a detail that JSON cannot hold does not hide the error.
	e := ErrorEnvelope(id, errors.New("a secret"), now, English)
	if strings.Contains(string(e.Payload), "secret") {
		t.Errorf("the cause leaks: %s", e.Payload)
	}
	e = ErrorEnvelope(id, E("op", Invalid, "why").WithDetail("channel", make(chan int)), now, English)
	if got, err := ParseErrorFrame(e.Payload); err != nil || got.Kind != Invalid {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := ParseErrorFrame([]byte(`{}`)); !IsKind(err, Invalid) {
		t.Errorf("an empty error frame: %v", err)
	}
}

func TestTextFramesRoundTrip(t *testing.T) {
	for typ, p := range payloads() {
		e := Envelope{ID: uuid.New(), Type: typ, Timestamp: 1_767_225_600_000, Payload: AppendPayload(nil, p), Tag: make([]byte, TagLen)}
		text, err := e.AppendText(nil)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseTextFrame(text)
		if err != nil {
			t.Fatalf("%s: %v in %s", typ, err, text)
		}
		if back.ID != e.ID || back.Type != e.Type || back.Timestamp != e.Timestamp || cmp.Diff(back.Tag, e.Tag) != "" {
			t.Errorf("%s: %+v became %+v", typ, e, back)
		}
		got := newPayload(typ)
		if err := DecodePayload(back.Payload, got); err != nil || cmp.Diff(p, got) != "" {
			t.Errorf("%s: %v\n%s", typ, err, cmp.Diff(p, got))
		}
	}
}

// A JSON payload crosses unchanged, spaces and escapes included, because the
// tag covers its bytes.
func TestTextFramePayloadIsVerbatim(t *testing.T) {
	const payload = `{ "room" : "plaza","data":{"a":"<b> & é"} }`
	e, err := ParseTextFrame([]byte(`{"id":"` + uuid.NewString() + `","type":"publish","timestamp":1,"payload":` + payload + `}`))
	if err != nil || string(e.Payload) != payload {
		t.Fatalf("payload %s, %v", e.Payload, err)
	}
	text, err := e.AppendText(nil)
	if err != nil || !strings.Contains(string(text), payload) {
		t.Fatalf("text %s, %v", text, err)
	}
	// Bytes that are nothing of ours travel as base64; none at all as nothing.
	for _, raw := range [][]byte{{1, 2, 3}, []byte("{broken"), {}} {
		text, err := (&Envelope{Type: TypeEvidenceRecord, Payload: raw}).AppendText(nil)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseTextFrame(text); err != nil || string(back.Payload) != string(raw) {
			t.Errorf("%q became %q, %v", raw, back.Payload, err)
		}
	}
}

func TestTextFrameRefusesBadInput(t *testing.T) {
	id := uuid.NewString()
	for name, text := range map[string]string{
		"empty":             ``,
		"not JSON":          `hello`,
		"not UTF-8":         "{\"id\":\"\xff\"}",
		"an array":          `[]`,
		"unknown field":     `{"id":"` + id + `","type":"ping","timestamp":1,"extra":1}`,
		"two frames":        `{"id":"` + id + `","type":"ping","timestamp":1}{}`,
		"no id":             `{"type":"ping","timestamp":1}`,
		"id in braces":      `{"id":"{` + id + `}","type":"ping","timestamp":1}`,
		"no type":           `{"id":"` + id + `","timestamp":1}`,
		"timestamp float":   `{"id":"` + id + `","type":"ping","timestamp":1.5}`,
		"timestamp NaN":     `{"id":"` + id + `","type":"ping","timestamp":NaN}`,
		"timestamp huge":    `{"id":"` + id + `","type":"ping","timestamp":9007199254740992}`,
		"payload number":    `{"id":"` + id + `","type":"ping","timestamp":1,"payload":7}`,
		"payload array":     `{"id":"` + id + `","type":"ping","timestamp":1,"payload":[]}`,
		"payload no base64": `{"id":"` + id + `","type":"ping","timestamp":1,"payload":"%"}`,
		"signature long":    `{"id":"` + id + `","type":"ping","timestamp":1,"signature":"` + strings.Repeat("AAAA", 30) + `"}`,
		"deep":              `{"payload":` + strings.Repeat("[", 20_000),
	} {
		if _, err := ParseTextFrame([]byte(text)); !IsKind(err, Invalid) || AsError(err).Code != "malformed_frame" {
			t.Errorf("%s: got %v, want Invalid malformed_frame", name, err)
		}
	}
}

func FuzzDecodePayload(f *testing.F) {
	for _, p := range payloads() {
		f.Add(AppendPayload(nil, p))
	}
	f.Add([]byte(`{"room":"plaza","class":"event","data":"AAAA"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for typ := range payloads() {
			p := newPayload(typ)
			if DecodePayload(b, p) != nil {
				continue
			}
			again := newPayload(typ)
			if err := DecodePayload(AppendPayload(nil, p), again); err != nil {
				t.Fatalf("%s: %+v does not decode again: %v", typ, p, err)
			}
		}
	})
}

func FuzzParseTextFrame(f *testing.F) {
	f.Add([]byte(`{"id":"00000000-0000-0000-0000-000000000001","type":"publish","timestamp":1,"payload":{"room":"a"},"signature":"AAAA"}`))
	f.Add([]byte(`{"id":"00000000-0000-0000-0000-000000000001","type":"ping","timestamp":1,"payload":"AAAA"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseTextFrame(b)
		if err != nil {
			if !IsKind(err, Invalid) {
				t.Fatalf("kind of %v", err)
			}
			return
		}
		if _, err := DecodeEnvelope(e.Append(nil)); err != nil {
			t.Fatalf("the binary form of %q does not decode: %v", b, err)
		}
		if _, err := e.AppendText(nil); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDataJSONIsReversible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Data(rapid.OneOf(
			rapid.SliceOf(rapid.Byte()),
			rapid.SampledFrom([][]byte{[]byte(`{"a":[1,2]}`), []byte(`[true]`), []byte(`{`), []byte(`"text"`), []byte("{\"a\":\"\xff\"}")}),
		).Draw(t, "data"))
		b, err := json.Marshal(&want)
		if err != nil {
			t.Fatal(err)
		}
		var got Data
		if err := json.Unmarshal(b, &got); err != nil || string(got) != string(want) {
			t.Fatalf("%q became %q by way of %s: %v", want, got, b, err)
		}
	})
}
