package consensus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

func mustEncoder(t testing.TB, above int) *packEncoder {
	t.Helper()
	e, err := newPackEncoder(above)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func mustDecoder(t testing.TB) *packDecoder {
	t.Helper()
	d, err := newPackDecoder()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// forge recomputes the checksum, for packs that are wrong in other ways.
func forge(data []byte) []byte {
	binary.BigEndian.PutUint32(data[6:], packChecksum(data))
	return data
}

func header(flags byte, stamp int64, count, size uint32, body []byte) []byte {
	data := append([]byte(packMagic), packVersion, flags, 0, 0, 0, 0)
	data = binary.BigEndian.AppendUint64(data, uint64(stamp))
	data = binary.BigEndian.AppendUint32(data, count)
	data = binary.BigEndian.AppendUint32(data, size)
	return forge(append(data, body...))
}

func TestPackRoundTrip(t *testing.T) {
	d := mustDecoder(t)
	rapid.Check(t, func(t *rapid.T) {
		e, err := newPackEncoder(rapid.SampledFrom([]int{0, 1, 64, 4096}).Draw(t, "above"))
		if err != nil {
			t.Fatal(err)
		}
		command := rapid.OneOf(
			rapid.SliceOfN(rapid.Byte(), 0, 300),
			rapid.Map(rapid.IntRange(0, 20_000), func(n int) []byte { return bytes.Repeat([]byte("a"), n) }),
		)
		p := pack{rapid.Int64Min(0).Draw(t, "stamp"), rapid.SliceOfN(command, 0, 40).Draw(t, "commands")}
		got, err := d.decode(e.encode(p))
		if err != nil {
			t.Fatal(err)
		}
		if got.stamp != p.stamp || len(got.commands) != len(p.commands) {
			t.Fatalf("got stamp %d and %d commands, want %d and %d", got.stamp, len(got.commands), p.stamp, len(p.commands))
		}
		size := 0
		for i := range p.commands {
			if !bytes.Equal(got.commands[i], p.commands[i]) {
				t.Fatalf("command %d differs", i)
			}
			size += commandSize(len(p.commands[i]))
		}
		plain := mustPlain(t, p)
		if len(plain) != headerSize+size {
			t.Fatalf("pack of %d bytes, commandSize adds up to %d", len(plain)-headerSize, size)
		}
	})
}

func mustPlain(t *rapid.T, p pack) []byte {
	e, err := newPackEncoder(0)
	if err != nil {
		t.Fatal(err)
	}
	return e.encode(p)
}

func TestPackEveryFlippedByteIsNoticed(t *testing.T) {
	d := mustDecoder(t)
	for _, above := range []int{0, 16} {
		p := pack{1_700_000_000_000_000, [][]byte{[]byte("first"), bytes.Repeat([]byte("second "), 20), nil}}
		data := mustEncoder(t, above).encode(p)
		if compressed := data[5]&flagZstd != 0; compressed != (above != 0) {
			t.Fatalf("above %d: compressed = %v", above, compressed)
		}
		for i := range data {
			for bit := range 8 {
				bad := bytes.Clone(data)
				bad[i] ^= 1 << bit
				if _, err := d.decode(bad); !errors.Is(err, ErrPack) {
					t.Fatalf("above %d: bit %d of byte %d flipped: error %v", above, bit, i, err)
				}
			}
		}
		for i := range data {
			if _, err := d.decode(data[:i]); !errors.Is(err, ErrPack) {
				t.Fatalf("cut to %d bytes: error %v", i, err)
			}
		}
	}
}

func TestPackRefusals(t *testing.T) {
	bomb, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	huge := bomb.EncodeAll(make([]byte, maxBody+1), nil)
	large := bomb.EncodeAll(make([]byte, 1<<20), nil)
	for name, data := range map[string][]byte{
		"empty":                  {},
		"foreign":                []byte("GIF89a, which is no pack of commands"),
		"next version":           forge(append([]byte("TPAK\x02"), header(0, 1, 0, 0, nil)[5:]...)),
		"unknown flag":           header(2, 1, 0, 0, nil),
		"negative stamp":         header(0, -1, 0, 0, nil),
		"too many commands":      header(0, 1, maxCommands+1, maxCommands+1, make([]byte, maxCommands+1)),
		"body too large":         header(0, 1, 1, maxBody+1, nil),
		"count beyond body":      header(0, 1, 3, 2, []byte{0, 0}),
		"count short of body":    header(0, 1, 1, 2, []byte{0, 0}),
		"no count, body":         header(0, 1, 0, 1, []byte{0}),
		"length beyond body":     header(0, 1, 1, 3, []byte{3, 1, 2}),
		"length overflows":       header(0, 1, 1, 10, []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")),
		"length never ends":      header(0, 1, 1, 3, []byte{0x80, 0x80, 0x80}),
		"length not minimal":     header(0, 1, 1, 3, []byte{0x81, 0x00, 7}),
		"size too small":         header(0, 1, 1, 1, []byte{1, 7}),
		"not zstd":               header(flagZstd, 1, 1, 2, []byte{1, 7}),
		"zstd beyond its size":   header(flagZstd, 1, 1, 16, large),
		"zstd beyond all limits": header(flagZstd, 1, 1, 16, huge),
	} {
		if p, err := mustDecoder(t).decode(data); !errors.Is(err, ErrPack) {
			t.Errorf("%s: got %d commands, error %v", name, len(p.commands), err)
		}
	}
}

func TestPackCompressesOnlyWhenItPays(t *testing.T) {
	e := mustEncoder(t, 4096)
	noise := make([]byte, 8192)
	r := rand.NewChaCha8([32]byte{1})
	if _, err := r.Read(noise); err != nil {
		t.Fatal(err)
	}
	text := bytes.Repeat([]byte("evidence "), 1000)
	compressed := func(command []byte) bool { return e.encode(pack{1, [][]byte{command}})[5]&flagZstd != 0 }

	if compressed(text[:4000]) {
		t.Error("a small pack was compressed")
	}
	if !compressed(text) {
		t.Error("a large pack of text was not compressed")
	}
	if compressed(noise) {
		t.Error("noise was kept compressed")
	}
	for i := range compressionRest {
		if compressed(text) {
			t.Fatalf("pack %d after noise was tried already", i)
		}
	}
	if !compressed(text) {
		t.Error("compression was not tried again")
	}
}

func FuzzPackDecode(f *testing.F) {
	e := mustEncoder(f, 16)
	f.Add(e.encode(pack{1, nil}))
	f.Add(e.encode(pack{1 << 40, [][]byte{[]byte("a"), nil, []byte("bcd")}}))
	f.Add(e.encode(pack{5, [][]byte{bytes.Repeat([]byte("evidence "), 100)}}))
	f.Add(header(0, 1, 1, 3, []byte{0x81, 0x00, 7}))
	d := mustDecoder(f)
	plain := mustEncoder(f, 0)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= headerSize {
			forge(data) // look behind the checksum
		}
		p, err := d.decode(data)
		if err != nil {
			if !errors.Is(err, ErrPack) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		// What is accepted has one meaning: it encodes to the same bytes, unless it was compressed.
		if again := plain.encode(p); data[5]&flagZstd == 0 && !bytes.Equal(again, data) {
			t.Fatalf("% x\nbecame\n% x", data, again)
		}
	})
}

// The example of docs/FORMATS.md: the format cannot change unnoticed.
func TestPackGolden(t *testing.T) {
	const want = "TPAK\x01\x00\x0a\x1c\xf5\x7a\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x03\x02hi"
	if got := mustEncoder(t, 4096).encode(pack{1, [][]byte{[]byte("hi")}}); string(got) != want {
		t.Errorf("got % x, want % x", got, want)
	}
}
