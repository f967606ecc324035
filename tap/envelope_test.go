package tap

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"
)

func genEnvelope(t *rapid.T) Envelope {
	return Envelope{
		ID:        uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
		Type:      rapid.OneOf(rapid.SampledFrom([]string{TypeAck, TypePublish, TypeEvidenceRecord}), rapid.StringMatching(`[a-z0-9_]{1,32}`)).Draw(t, "type"),
		Timestamp: rapid.Uint64Range(0, MaxTimestamp).Draw(t, "timestamp"),
		Payload:   rapid.SliceOfN(rapid.Byte(), 0, 70_000).Draw(t, "payload"),
		Tag:       rapid.SliceOfN(rapid.Byte(), 0, MaxTagLen).Draw(t, "tag"),
	}
}

func TestEnvelopeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := genEnvelope(t)
		b := want.Append(nil)
		if len(b) != want.Size() {
			t.Fatalf("Size() = %d, encoded %d bytes", want.Size(), len(b))
		}
		got, err := DecodeEnvelope(b)
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != want.ID || got.Type != want.Type || got.Timestamp != want.Timestamp ||
			!bytes.Equal(got.Payload, want.Payload) || !bytes.Equal(got.Tag, want.Tag) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if _, err := DecodeEnvelope(b[:cut]); KindOf(err) != Invalid {
			t.Fatalf("truncated to %d of %d bytes: %v", cut, len(b), err)
		}
	})
}

// wireEnvelope is the envelope as any MessagePack library sees it.
type wireEnvelope struct {
	//lint:ignore U1000 the library reads it by reflection
	_msgpack  struct{} `msgpack:",as_array"`
	ID        []byte
	Type      string
	Timestamp uint64
	Payload   []byte
	Tag       []byte
}

func TestEnvelopeInteroperatesWithVmihailenco(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := genEnvelope(t)
		var theirs wireEnvelope
		if err := msgpack.Unmarshal(e.Append(nil), &theirs); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(theirs.ID, e.ID[:]) || theirs.Type != e.Type || theirs.Timestamp != e.Timestamp ||
			!bytes.Equal(theirs.Payload, e.Payload) || !bytes.Equal(theirs.Tag, e.Tag) {
			t.Fatalf("vmihailenco reads %+v, want %+v", theirs, e)
		}
		// Their encoder, in its default form and with a signed timestamp. A nil
		// slice would be nil; this array has none.
		for _, timestamp := range []any{e.Timestamp, int64(e.Timestamp)} {
			b, err := msgpack.Marshal([]any{e.ID[:], e.Type, timestamp, append([]byte{}, e.Payload...), append([]byte{}, e.Tag...)})
			if err != nil {
				t.Fatal(err)
			}
			got, err := DecodeEnvelope(b)
			if err != nil || got.Timestamp != e.Timestamp || !bytes.Equal(got.Payload, e.Payload) {
				t.Fatalf("we read %+v, %v; want %+v", got, err, e)
			}
		}
	})
}

func TestDecodeEnvelopeRefusesBadInput(t *testing.T) {
	good := (&Envelope{ID: uuid.UUID{1}, Type: "ack", Timestamp: 5, Payload: []byte{0x80}}).Append(nil)
	array := func(fields ...any) []byte {
		b, err := msgpack.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	id, none := make([]byte, 16), []byte{}
	for name, b := range map[string][]byte{
		"empty":                nil,
		"a map":                {0x85},
		"JSON":                 []byte(`{"id":1}`),
		"four fields":          array(id, "ack", 1, none),
		"six fields":           array(id, "ack", 1, none, none, none),
		"trailing byte":        append(bytes.Clone(good), 0),
		"short id":             array(make([]byte, 15), "ack", 1, none, none),
		"id a string":          array(string(id), "ack", 1, none, none),
		"type empty":           array(id, "", 1, none, none),
		"type too long":        array(id, strings.Repeat("a", 33), 1, none, none),
		"type upper case":      array(id, "ACK", 1, none, none),
		"type not UTF-8":       array(id, "a\xff", 1, none, none),
		"type a number":        array(id, 7, 1, none, none),
		"timestamp negative":   array(id, "ack", -1, none, none),
		"timestamp too large":  array(id, "ack", uint64(MaxTimestamp+1), none, none),
		"timestamp a float":    array(id, "ack", 1.5, none, none),
		"timestamp NaN":        array(id, "ack", math.NaN(), none, none),
		"timestamp infinite":   array(id, "ack", math.Inf(1), none, none),
		"timestamp nil":        array(id, "ack", nil, none, none),
		"payload nil":          array(id, "ack", 1, nil, none),
		"payload a string":     array(id, "ack", 1, "x", none),
		"payload an extension": append(good[:24:24], 0xd4, 1, 2),
		"tag too long":         array(id, "ack", 1, none, make([]byte, MaxTagLen+1)),
		"4 GiB payload":        append(array(id, "ack", 1)[1:], mpBin32, 0xff, 0xff, 0xff, 0xff),
	} {
		if _, err := DecodeEnvelope(b); !IsKind(err, Invalid) || AsError(err).Code != "malformed_frame" {
			t.Errorf("%s: got %v, want Invalid malformed_frame", name, err)
		}
	}
}

// goldenEnvelopes is what testdata/envelope.mjs encodes.
func goldenEnvelopes() map[string]Envelope {
	fill := func(n int) []byte { return bytes.Repeat([]byte{0xab}, n) }
	id := uuid.UUID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	publish := &Publish{Room: "plaza", Class: ClassState, Key: "ana/head", Data: fill(3)}
	const now = 1_767_225_600_000
	return map[string]Envelope{
		"no payload":             {id, TypePing, 0, fill(0), fill(0)},
		"timestamp 127":          {id, TypeAck, 127, fill(1), fill(24)},
		"timestamp 128":          {id, TypeAck, 128, fill(1), fill(24)},
		"timestamp 65536":        {id, TypeAck, 65536, fill(1), fill(24)},
		"a real timestamp":       {id, TypeEvidenceRecord, now, fill(100), fill(24)},
		"the largest timestamp":  {id, TypePublish, MaxTimestamp, fill(255), fill(64)},
		"payload of 256 bytes":   {id, TypePublish, now, fill(256), fill(24)},
		"payload of 65536 bytes": {id, TypePublish, now, fill(65536), fill(24)},
		"type of 32 bytes":       {id, strings.Repeat("a", 32), 1, fill(0), fill(0)},
		"payload map":            {id, TypePublish, now, AppendPayload(nil, publish), fill(24)},
	}
}

// parseGolden reads the lines "name TAB hex", where [n] stands for n times 0xab.
func parseGolden(t *testing.T, text string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for line := range strings.Lines(text) {
		name, code, _ := strings.Cut(strings.TrimSpace(line), "\t")
		code = regexp.MustCompile(`\[\d+\]`).ReplaceAllStringFunc(code, func(run string) string {
			n, err := strconv.Atoi(strings.Trim(run, "[]"))
			if err != nil {
				t.Fatal(err)
			}
			return strings.Repeat("ab", n)
		})
		b, err := hex.DecodeString(code)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[name] = b
	}
	return all
}

// The bytes were written by @msgpack/msgpack 3.1.3. JavaScript's encoder and
// ours agree to the byte, payload maps included.
func TestEnvelopeGoldenJavaScript(t *testing.T) {
	text, err := os.ReadFile("testdata/envelope.golden")
	if err != nil {
		t.Fatal(err)
	}
	compareGolden(t, string(text))
}

func compareGolden(t *testing.T, text string) {
	t.Helper()
	golden, want := parseGolden(t, text), goldenEnvelopes()
	if len(golden) != len(want) {
		t.Errorf("%d golden envelopes, want %d", len(golden), len(want))
	}
	for name, b := range golden {
		got, err := DecodeEnvelope(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want[name], got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if ours := got.Append(nil); !bytes.Equal(ours, b) {
			t.Errorf("%s: we write %x, JavaScript writes %x", name, ours, b)
		}
	}
}

// With TAMV_TEST_NODE=1 the JavaScript library itself runs, both ways.
func TestEnvelopeInteroperatesWithNode(t *testing.T) {
	if os.Getenv("TAMV_TEST_NODE") != "1" {
		t.Skip("set TAMV_TEST_NODE=1 to run the JavaScript library")
	}
	dir := t.TempDir()
	script, err := os.ReadFile("testdata/envelope.mjs")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "envelope.mjs"), script, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) string {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(path, args...)
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %v: %v", name, args, err)
		}
		return string(out)
	}
	run("npm", "install", "--no-audit", "--no-fund", "@msgpack/msgpack@3.1.3")
	compareGolden(t, run("node", "envelope.mjs"))
	for name, e := range goldenEnvelopes() {
		want, err := json.Marshal([]any{hex.EncodeToString(e.ID[:]), e.Type, e.Timestamp, hex.EncodeToString(e.Payload), hex.EncodeToString(e.Tag)})
		if err != nil {
			t.Fatal(err)
		}
		if len(e.Payload) > 1000 { // longer than an argument may be
			continue
		}
		if got := strings.TrimSpace(run("node", "envelope.mjs", hex.EncodeToString(e.Append(nil)))); got != string(want) {
			t.Errorf("%s: JavaScript reads %s, want %s", name, got, want)
		}
	}
}

func TestEnvelopeCodecDoesNotAllocate(t *testing.T) {
	e := Envelope{ID: uuid.UUID{1}, Type: TypeEvidenceRecord, Timestamp: 1_767_225_600_000, Payload: make([]byte, 100), Tag: make([]byte, TagLen)}
	buf := make([]byte, 0, 512)
	if n := testing.AllocsPerRun(100, func() { buf = e.AppendFrame(buf[:0]) }); n != 0 {
		t.Errorf("AppendFrame allocates %v times", n)
	}
	b := e.Append(nil)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := DecodeEnvelope(b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("DecodeEnvelope allocates %v times", n)
	}
}

func FuzzDecodeEnvelope(f *testing.F) {
	f.Add((&Envelope{Type: "ack"}).Append(nil))
	f.Add((&Envelope{ID: uuid.UUID{9}, Type: TypePublish, Timestamp: MaxTimestamp, Payload: make([]byte, 300), Tag: make([]byte, TagLen)}).Append(nil))
	f.Add([]byte{mpArray5, mpBin32, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEnvelope(b)
		if err != nil {
			if !IsKind(err, Invalid) {
				t.Fatalf("kind of %v", err)
			}
			return
		}
		again, err := DecodeEnvelope(e.Append(nil))
		if err != nil || cmp.Diff(e, again) != "" {
			t.Fatalf("%+v became %+v, %v", e, again, err)
		}
	})
}

func BenchmarkEnvelopeAppend(b *testing.B) {
	e := Envelope{ID: uuid.UUID{1}, Type: TypeEvidenceRecord, Timestamp: 1_767_225_600_000, Payload: make([]byte, 100), Tag: make([]byte, TagLen)}
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = e.AppendFrame(buf[:0])
	}
}

func BenchmarkEnvelopeDecode(b *testing.B) {
	e := Envelope{ID: uuid.UUID{1}, Type: TypeEvidenceRecord, Timestamp: 1_767_225_600_000, Payload: make([]byte, 100), Tag: make([]byte, TagLen)}
	raw := e.Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeEnvelope(raw); err != nil {
			b.Fatal(err)
		}
	}
}
