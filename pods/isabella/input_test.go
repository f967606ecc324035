package isabella

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/tap"
)

func dataIntent(declared pods.InputType, data any) *pods.Intent {
	raw, ok := data.(json.RawMessage)
	if !ok {
		raw = encode(data)
	}
	return &pods.Intent{Type: "question", Input: pods.Input{Type: declared, Data: raw}}
}

func spatialData(room string, x, y, z any) map[string]any {
	return map[string]any{"room": room, "object": map[string]any{
		"id": "chair-1", "type": "chair", "position": map[string]any{"x": x, "y": y, "z": z},
	}}
}

// drawn is one valid input of each type with what it must parse to.
func drawn(t *rapid.T, kind pods.InputType) (data any, holds func(p pods.ParsedInput) bool) {
	switch kind {
	case pods.Text:
		word := rapid.StringOfN(rapid.RuneFrom([]rune("abcñáé¿?,.;()\n\t\"'0189€—漢字🙂")), 1, 12, -1)
		text := strings.Join(rapid.SliceOfN(word, 1, 30).
			Filter(func(words []string) bool { return strings.TrimSpace(strings.Join(words, "")) != "" }).Draw(t, "words"), " ")
		return text, func(p pods.ParsedInput) bool { return p.Text == text }
	case pods.Image:
		width, height := rapid.IntRange(1, 40).Draw(t, "width"), rapid.IntRange(1, 40).Draw(t, "height")
		content := rapid.SampledFrom([]func(int, int) []byte{pngBytes, jpegBytes, webpBytes}).Draw(t, "format")(width, height)
		prefix := rapid.SampledFrom([]string{"", "data:image/png;base64,"}).Draw(t, "prefix")
		return prefix + b64(content), func(p pods.ParsedInput) bool { return string(p.Image) == string(content) }
	case pods.Audio:
		content := wavBytes(rapid.IntRange(1, 500).Draw(t, "samples"))
		if rapid.Bool().Draw(t, "ogg") {
			content = oggBytes()
		}
		return b64(content), func(p pods.ParsedInput) bool { return string(p.Audio) == string(content) }
	case pods.Spatial:
		axis := rapid.Float64Range(-maxDistance, maxDistance)
		room := rapid.StringMatching(`[a-z0-9][a-z0-9._-]{0,20}`).Draw(t, "room")
		data := spatialData(room, axis.Draw(t, "x"), axis.Draw(t, "y"), axis.Draw(t, "z"))
		return data, func(p pods.ParsedInput) bool {
			return p.Spatial != nil && p.Spatial.Room == room && string(p.Spatial.Object) == string(encode(data["object"]))
		}
	}
	chosen := rapid.Permutation(pieces).Draw(t, "pieces")[:rapid.IntRange(2, len(pieces)).Draw(t, "count")]
	object, checks := map[string]any{}, []func(pods.ParsedInput) bool{}
	for _, piece := range chosen {
		inner, holds := drawn(t, piece)
		object[string(piece)] = inner
		checks = append(checks, holds)
	}
	return object, func(p pods.ParsedInput) bool {
		return !slices.ContainsFunc(checks, func(holds func(pods.ParsedInput) bool) bool { return !holds(p) })
	}
}

var inputTypes = []pods.InputType{pods.Text, pods.Image, pods.Spatial, pods.Audio, pods.Multimodal}

// Feature: tamv-hardened-backend, Property 23: Multimodal Data Type Support
func TestEveryTypeIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(inputTypes).Draw(t, "type")
		data, holds := drawn(t, kind)
		read, err := readInput(dataIntent(kind, data))
		if err != nil || read.detected != "" || !holds(read.parsed) {
			t.Fatalf("%s %v: %v, detected %q, parsed %+v", kind, data, err, read.detected, read.parsed)
		}
		if len(read.parts) == 0 || kind == pods.Multimodal && len(read.parts) < 2 {
			t.Fatalf("%d parts noted", len(read.parts))
		}
	})
}

// Feature: tamv-hardened-backend, Property 24: Conflicting Data Type Clarification
func TestConflictingTypes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kinds := rapid.Permutation(inputTypes).Draw(t, "types")
		declared, real := kinds[0], kinds[1]
		data, _ := drawn(t, real)
		read, err := readInput(dataIntent(declared, data))
		if err != nil {
			t.Fatalf("declared %s, is %s: %v", declared, real, err)
		}
		if read.detected != real || read.declared != declared {
			t.Fatalf("declared %s, is %s: detected %q for %q", declared, real, read.detected, read.declared)
		}
		if p := read.parsed; p.Text != "" || p.Image != nil || p.Audio != nil || p.Spatial != nil {
			t.Fatalf("disputed data was parsed: %+v", p)
		}
	})
}

func TestConflicts(t *testing.T) {
	position := map[string]any{"x": 1, "y": 2, "z": 3}
	for name, tt := range map[string]struct {
		in       *pods.Intent
		detected pods.InputType
	}{
		"no position":         {dataIntent(pods.Spatial, map[string]any{"room": "lobby", "object": map[string]any{"id": "a"}}), incomplete},
		"no room":             {dataIntent(pods.Spatial, map[string]any{"object": map[string]any{"position": position}}), incomplete},
		"object alone":        {dataIntent(pods.Spatial, map[string]any{"id": "a", "position": position}), incomplete},
		"no spaces":           {dataIntent(pods.Image, strings.Repeat("请在那里放一把椅子", 8)), pods.Text},
		"payment as spatial":  {dataIntent(pods.Spatial, map[string]any{"amount": "1", "currency": "EUR"}), payment},
		"payment as question": {dataIntent(pods.Text, map[string]any{"amount": "1", "currency": "EUR"}), payment},
		"within multimodal":   {dataIntent(pods.Multimodal, map[string]any{"text": "see", "image": "not an image"}), pods.Text},
		"one part alone":      {dataIntent(pods.Multimodal, map[string]any{"text": "see"}), pods.Text},
		"one part as another": {dataIntent(pods.Image, map[string]any{"audio": b64(wavBytes(4))}), pods.Audio},
		"too many fields":     {dataIntent(pods.Spatial, map[string]any{"room": "a", "object": nil, "position": 1}), incomplete},
	} {
		read, err := readInput(tt.in)
		if err != nil || read.detected != tt.detected {
			t.Errorf("%s: %v, detected %q, want %q", name, err, read.detected, tt.detected)
		}
	}
	read, err := readInput(dataIntent(pods.Spatial, "Please put a chair there"))
	if err != nil || !slices.Equal(read.texts, []string{"Please put a chair there"}) {
		t.Errorf("the audit does not see disputed text: %v %v", err, read.texts)
	}
}

// A wrapped single part and a payment given as an object are read.
func TestLenientForms(t *testing.T) {
	read, err := readInput(dataIntent(pods.Text, map[string]any{"text": "hello there"}))
	if err != nil || read.parsed.Text != "hello there" {
		t.Errorf("wrapped text: %v %+v", err, read)
	}
	read, err = readInput(dataIntent(pods.Spatial, map[string]any{"spatial": spatialData("lobby", 1, 2, 3)}))
	if err != nil || read.parsed.Spatial == nil {
		t.Errorf("wrapped spatial: %v %+v", err, read)
	}
	in := dataIntent(pods.Text, json.RawMessage(` {"amount":"1","currency":"EUR","source":"shop","purpose":"two new chairs"}`))
	in.Type = paymentType
	read, err = readInput(in)
	if err != nil || !json.Valid([]byte(read.parsed.Text)) || !slices.Contains(read.texts, "two new chairs") {
		t.Errorf("payment: %v %+v", err, read)
	}
	in.Input.Data = json.RawMessage(`{"amount":1e999}`)
	_, err = readInput(in)
	podtest.WantKind(t, err, tap.Invalid, "input")
}

// Feature: tamv-hardened-backend, Property 25: Malicious Input Rejection
func TestDamagedMediaIsRejected(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		format := rapid.SampledFrom([]string{"png", "jpeg", "webp", "wav", "ogg"}).Draw(t, "format")
		kind, content := pods.Image, []byte(nil)
		switch format {
		case "png":
			content = pngBytes(9, 7)
		case "jpeg":
			content = jpegBytes(9, 7)
		case "webp":
			content = webpBytes(9, 7)
		case "wav":
			kind, content = pods.Audio, wavBytes(40)
		case "ogg":
			kind, content = pods.Audio, oggBytes()
		}
		encoded := b64(content)
		switch rapid.SampledFrom([]string{"truncate", "append", "flip", "alphabet"}).Draw(t, "damage") {
		case "truncate":
			encoded = b64(content[:rapid.IntRange(12, len(content)-1).Draw(t, "keep")])
		case "append":
			encoded = b64(append(content, rapid.SliceOfN(rapid.Byte(), 2, 50).Draw(t, "tail")...))
		case "flip":
			content = pngBytes(9, 7) // the one format that carries checksums throughout
			kind = pods.Image
			at := rapid.IntRange(12, len(content)-1).Draw(t, "at")
			content[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			encoded = b64(content)
		case "alphabet":
			at := rapid.IntRange(16, len(encoded)-1).Draw(t, "at")
			encoded = encoded[:at] + rapid.SampledFrom([]string{"!", "*", "-", "\\"}).Draw(t, "character") + encoded[at+1:]
		}
		read, err := readInput(dataIntent(kind, encoded))
		if !tap.IsKind(err, tap.Invalid) || tap.AsError(err).StableCode() != "input" {
			t.Fatalf("%s: got %v, %+v", format, err, read)
		}
		if strings.Contains(tap.AsError(err).Message, format) {
			t.Fatalf("the message helps to probe: %v", err)
		}
	})
}

// Feature: tamv-hardened-backend, Property 25: Malicious Input Rejection
func TestUnsafeTextIsRejected(t *testing.T) {
	payload := rapid.SampledFrom([]string{
		"<script>alert(1)</script>", "<SCRIPT src=x>", "< script >", "<ｓcript>", "<scr\u200bipt>", "</script>", "<iframe src=a>", "<img src=x onerror=alert(1)>",
		"<svg/onload=x>" + "<p onclick='x'>", "javascript:alert(1)", "JaVaScRiPt : eval(1)", "data:text/html,x", "<form action=x>",
		"\x00", "\x1b[2J", "\x7f", "\u0085", "\u202e", "\u2066", "\ufffd",
	})
	rapid.Check(t, func(t *rapid.T) {
		bad := payload.Draw(t, "payload")
		text := rapid.StringMatching(`[a-z ]{0,80}`).Draw(t, "before") + bad + rapid.StringMatching(`[a-z ]{0,80}`).Draw(t, "after")
		in := dataIntent(pods.Text, text)
		switch rapid.SampledFrom([]string{"text", "context", "type", "image", "spatial", "key", "multimodal"}).Draw(t, "where") {
		case "context":
			in = dataIntent(pods.Text, "fine")
			in.Input.Context = text
		case "type":
			in = dataIntent(pods.Text, "fine")
			in.Type = bad
		case "image":
			in = dataIntent(pods.Image, text)
		case "spatial":
			data := spatialData("lobby", 1, 2, 3)
			data["object"].(map[string]any)["metadata"] = []any{map[string]any{"label": text}}
			in = dataIntent(pods.Spatial, data)
		case "key":
			data := spatialData("lobby", 1, 2, 3)
			data["object"].(map[string]any)[text] = 1
			in = dataIntent(pods.Spatial, data)
		case "multimodal":
			in = dataIntent(pods.Multimodal, map[string]any{"text": text, "image": b64(pngBytes(2, 2))})
		}
		if read, err := readInput(in); !tap.IsKind(err, tap.Invalid) {
			t.Fatalf("%q passes as %+v (%v)", text, read, err)
		}
	})
}

func TestBadInput(t *testing.T) {
	deep := json.RawMessage(`{"room":"a","object":` + strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40) + `}`)
	big := map[string]any{"room": "a", "object": map[string]any{"position": map[string]any{"x": 1, "y": 1, "z": 1}, "n": make([]int, maxObject)}}
	badPNG := pngBytes(2, 2)
	badPNG[19] = 0 // width 0; the checksum no longer holds
	for name, in := range map[string]*pods.Intent{
		"nothing":               dataIntent(pods.Text, json.RawMessage(nil)),
		"null":                  dataIntent(pods.Text, json.RawMessage("null")),
		"number":                dataIntent(pods.Text, 42),
		"bool":                  dataIntent(pods.Image, true),
		"array":                 dataIntent(pods.Multimodal, []string{"text", "image"}),
		"broken string":         dataIntent(pods.Text, json.RawMessage(`"abc`)),
		"broken object":         dataIntent(pods.Spatial, json.RawMessage(`{"room":`)),
		"blank text":            dataIntent(pods.Text, " \n\t "),
		"empty object":          dataIntent(pods.Multimodal, json.RawMessage(`{}`)),
		"unknown object":        dataIntent(pods.Text, map[string]any{"foo": 1}),
		"unknown field":         dataIntent(pods.Multimodal, map[string]any{"text": "a b", "image": "x", "video": "y"}),
		"conflict and unsafe":   dataIntent(pods.Text, map[string]any{"room": "a", "object": map[string]any{"label": "<script>"}}),
		"unknown spatial field": dataIntent(pods.Spatial, map[string]any{"room": "a", "object": map[string]any{}, "when": 1}),
		"null part":             dataIntent(pods.Multimodal, json.RawMessage(`{"text":null,"image":null}`)),
		"long opaque image":     dataIntent(pods.Image, strings.Repeat("QUJD", 100)),
		"long opaque spatial":   dataIntent(pods.Spatial, strings.Repeat("QUJD", 100)),
		"data URI of text":      dataIntent(pods.Image, "data:text/plain;base64,aGVsbG8="),
		"bad base64":            dataIntent(pods.Image, b64(pngBytes(2, 2))[:61]),
		"png header":            dataIntent(pods.Image, b64(badPNG)),
		"png alone":             dataIntent(pods.Image, b64([]byte(pngMagic+"12345678"))),
		"zip bomb by size":      dataIntent(pods.Image, b64(webpBytes(16384, 16384))),
		"zip bomb, one side":    dataIntent(pods.Image, b64(hugePNG(maxSide+1, 1))),
		"zip bomb png":          dataIntent(pods.Image, b64(hugePNG(16000, 16000))),
		"gif":                   dataIntent(pods.Image, b64([]byte("GIF89a"+strings.Repeat("\x01", 60)))),
		"bad room name":         dataIntent(pods.Spatial, spatialData("../etc", 1, 2, 3)),
		"room is a number":      dataIntent(pods.Spatial, map[string]any{"room": 1, "object": map[string]any{}}),
		"object is null":        dataIntent(pods.Spatial, map[string]any{"room": "a", "object": nil}),
		"object is a list":      dataIntent(pods.Spatial, map[string]any{"room": "a", "object": []int{}}),
		"position is text":      dataIntent(pods.Spatial, map[string]any{"room": "a", "object": map[string]any{"position": "here"}}),
		"position is null":      dataIntent(pods.Spatial, map[string]any{"room": "a", "object": map[string]any{"position": nil}}),
		"far away":              dataIntent(pods.Spatial, spatialData("a", 1e300, 0, 0)),
		"just too far":          dataIntent(pods.Spatial, spatialData("a", 0, math.Nextafter(-maxDistance, -1e9), 0)),
		"NaN as text":           dataIntent(pods.Spatial, spatialData("a", "NaN", 0, 0)),
		"axis missing":          dataIntent(pods.Spatial, map[string]any{"room": "a", "object": map[string]any{"position": map[string]any{"x": 1, "y": 2}}}),
		"axis null":             dataIntent(pods.Spatial, spatialData("a", nil, 0, 0)),
		"number out of range":   dataIntent(pods.Spatial, json.RawMessage(`{"room":"a","object":{"position":{"x":1,"y":1,"z":1},"scale":[1e999]}}`)),
		"duplicate keys":        dataIntent(pods.Spatial, json.RawMessage(`{"room":"a","object":{"a":1,"a":2}}`)),
		"deep":                  dataIntent(pods.Spatial, deep),
		"bad UTF-8":             dataIntent(pods.Spatial, json.RawMessage("{\"room\":\"a\",\"object\":{\"b\":\"\xff\"}}")),
		"lone surrogate":        dataIntent(pods.Text, json.RawMessage(`"abc \ud800 def"`)),
		"too large an object":   dataIntent(pods.Spatial, big),
	} {
		read, err := readInput(in)
		if err == nil {
			t.Errorf("%s: read as %+v", name, read)
			continue
		}
		podtest.WantKind(t, err, tap.Invalid, "input")
	}
	_, err := readInput(dataIntent(pods.Text, strings.Repeat("word ", maxText)))
	podtest.WantKind(t, err, tap.Invalid, "too_large")
	// Text may stand at the limit, and coordinates at theirs.
	for _, in := range []*pods.Intent{
		dataIntent(pods.Text, strings.Repeat("a ", maxText/2)),
		dataIntent(pods.Spatial, spatialData("a", maxDistance, -maxDistance, 0)),
	} {
		if _, err := readInput(in); err != nil {
			t.Errorf("at the limit: %v", err)
		}
	}
}

// hugePNG is a small, well-formed PNG file that claims to be huge.
func hugePNG(width, height uint32) []byte {
	b := pngBytes(1, 1)
	header := fmt.Appendf(nil, "IHDR%s%s", be32(width), be32(height))
	header = append(header, b[24:29]...)
	return slices.Concat(b[:12], header, be32(crc(header)), b[33:])
}

func TestMedia(t *testing.T) {
	for name, tt := range map[string]struct {
		content []byte
		want    medium
		ok      bool
	}{
		"png":           {pngBytes(3, 5), medium{"png", 3, 5}, true},
		"jpeg":          {jpegBytes(3, 5), medium{"jpeg", 3, 5}, true},
		"webp lossless": {webpBytes(3, 5), medium{"webp", 3, 5}, true},
		"webp lossy":    {riffBytes("WEBP", "VP8 ", "\x00\x00\x00\x9d\x01\x2a\x03\x00\x05\x00"), medium{"webp", 3, 5}, true},
		"webp extended": {riffBytes("WEBP", "VP8X", "\x00\x00\x00\x00\x02\x00\x00\x04\x00\x00", "EXIF", "odd"), medium{"webp", 3, 5}, true},
		"webp of sound": {riffBytes("WEBP", "data", "xx"), medium{"webp", 0, 0}, false},
		"webp as avi":   {riffBytes("AVI ", "VP8 ", "xx"), medium{"webp", 0, 0}, false},
		"jpeg no scan":  {[]byte("\xff\xd8\xff\xd9"), medium{"jpeg", 0, 0}, false},
		"jpeg garbage":  {[]byte("\xff\xd8\xff\xe0\x00\x04ab??????"), medium{"jpeg", 0, 0}, false},
		"jpeg cut":      {[]byte("\xff\xd8\xff\xff\xe0\x00"), medium{"jpeg", 0, 0}, false},
	} {
		got, ok := inspectImage(tt.content)
		if got != tt.want || ok != tt.ok {
			t.Errorf("%s: %+v %v, want %+v %v", name, got, ok, tt.want, tt.ok)
		}
	}
	for name, tt := range map[string]struct {
		content []byte
		ok      bool
	}{
		"wav":              {wavBytes(10), true},
		"wav float stereo": {riffBytes("WAVE", "fmt ", wavFormat(3, 2, 48000, 32), "data", "12345678", "data", "x"), true},
		"no data":          {riffBytes("WAVE", "fmt ", wavFormat(1, 1, 8000, 8)), false},
		"no format":        {riffBytes("WAVE", "data", "1234"), false},
		"compressed":       {riffBytes("WAVE", "fmt ", wavFormat(85, 1, 8000, 8), "data", "1"), false},
		"no channel":       {riffBytes("WAVE", "fmt ", wavFormat(1, 0, 8000, 8), "data", "1"), false},
		"many channels":    {riffBytes("WAVE", "fmt ", wavFormat(1, 9, 8000, 8), "data", "1"), false},
		"slow":             {riffBytes("WAVE", "fmt ", wavFormat(1, 1, 3999, 8), "data", "1"), false},
		"fast":             {riffBytes("WAVE", "fmt ", wavFormat(1, 1, 192001, 8), "data", "1"), false},
		"odd bits":         {riffBytes("WAVE", "fmt ", wavFormat(1, 1, 8000, 12), "data", "1"), false},
		"short riff":       {[]byte("RIFF\x00\x00"), false},
		"chunk too long":   {riffBytes("WAVE", "fmt ", "x")[:20], false},
		"ogg":              {oggBytes(), true},
		"ogg cut":          {oggPage(2, 30), false},
		"ogg version":      {[]byte("OggS\x01" + strings.Repeat("\x00", 30)), false},
		"ogg middle":       {oggPage(0, 5), false},
		"ogg no table":     {oggPage(2, 200)[:27], false},
		"ogg header":       {[]byte("OggS\x00"), false},
	} {
		if _, ok := inspectAudio(tt.content); ok != tt.ok {
			t.Errorf("%s: %v", name, ok)
		}
	}
}

// A chunk inside a RIFF file may not reach beyond it.
func TestRiffChunkBeyondTheEnd(t *testing.T) {
	b := riffBytes("WAVE", "fmt ", "1234")
	b[16] = 200
	if _, _, ok := riff(b); ok {
		t.Error("a chunk beyond the end passes")
	}
}

// FuzzReadInput looks for data that crashes the reading, or passes with
// characters that no text may hold.
func FuzzReadInput(f *testing.F) {
	for _, kind := range inputTypes {
		f.Add(string(kind), `"hello, how are you?"`, "question")
		f.Add(string(kind), `{"room":"lobby","object":{"id":"a","position":{"x":1,"y":2,"z":3}}}`, "scene")
		f.Add(string(kind), `{"text":"look","image":"`+b64(pngBytes(2, 2))+`"}`, "question")
		f.Add(string(kind), `{"amount":"1","currency":"EUR"}`, paymentType)
	}
	for _, content := range [][]byte{pngBytes(3, 3), jpegBytes(3, 3), webpBytes(3, 3)} {
		f.Add("image", `"`+b64(content)+`"`, "question")
	}
	f.Add("audio", `"`+b64(wavBytes(8))+`"`, "question")
	f.Add("audio", `"`+b64(oggBytes())+`"`, "question")
	f.Fuzz(func(t *testing.T, kind, data, intentType string) {
		in := dataIntent(pods.InputType(kind), json.RawMessage(data))
		in.Type = intentType
		read, err := readInput(in)
		if err != nil {
			if !tap.IsKind(err, tap.Invalid) {
				t.Fatalf("an error of kind %s: %v", tap.KindOf(err), err)
			}
			return
		}
		for _, text := range read.texts {
			for _, r := range text {
				if unicode.IsControl(r) && !strings.ContainsRune("\n\r\t", r) {
					t.Fatalf("%q passes", text)
				}
			}
		}
		if p := read.parsed; read.detected == "" && p.Text == "" && p.Image == nil && p.Audio == nil && p.Spatial == nil {
			t.Fatalf("nothing was read from %q", data)
		}
	})
}

// FuzzMedia looks for containers that crash the inspection.
func FuzzMedia(f *testing.F) {
	for _, content := range [][]byte{pngBytes(3, 3), jpegBytes(3, 3), webpBytes(3, 3), wavBytes(8), oggBytes(), hugePNG(9, 9)} {
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		if m, ok := inspectImage(content); ok && (m.width <= 0 || m.height <= 0 || m.width*m.height > maxPixels) {
			t.Fatalf("%+v passes", m)
		}
		inspectAudio(content)
		if kind, encoded := sniff(base64.StdEncoding.EncodeToString(content)); kind == pods.Image && encoded == "" {
			t.Fatal("an image without its base64")
		}
	})
}
