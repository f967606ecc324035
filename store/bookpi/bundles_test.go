package bookpi

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestEntryBundle(t *testing.T) {
	l := newLedger(1, 256)
	var data []byte
	for _, raw := range l.entries {
		data = AppendBundled(data, raw)
	}
	entries, err := ParseEntryBundle(data, 256)
	if err != nil || !slices.EqualFunc(entries, l.entries, bytes.Equal) {
		t.Fatal(len(entries), err)
	}
	for cut := range data {
		entries, err := ParseEntryBundle(data[:cut], 256)
		wantIs(t, err, ErrEntryBundle)
		if n := len(entries); n == 256 || !slices.EqualFunc(entries, l.entries[:n], bytes.Equal) {
			t.Fatalf("cut at %d: %d entries", cut, n)
		}
	}
	for _, width := range []int{0, 1, 255, 257} {
		_, err := ParseEntryBundle(data, width)
		wantIs(t, err, ErrEntryBundle)
	}
	for _, n := range []uint16{0, entryHeader - 1, MaxEntrySize + 1, math.MaxUint16} {
		bad := append(binary.BigEndian.AppendUint16(nil, n), make([]byte, n)...)
		_, err := ParseEntryBundle(bad, 1)
		wantIs(t, err, ErrEntryBundle)
	}
	longest := make([]byte, MaxEntrySize)
	if entries, err := ParseEntryBundle(AppendBundled(nil, longest), 1); err != nil || len(entries[0]) != MaxEntrySize {
		t.Fatal(err)
	}
}

func TestPayloadBundle(t *testing.T) {
	payload := rapid.Custom(func(t *rapid.T) BundledPayload {
		if rapid.Bool().Draw(t, "withheld") {
			return BundledPayload{Withheld: true}
		}
		return BundledPayload{Data: rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "payload")}
	})
	rapid.Check(t, func(t *rapid.T) {
		payloads := rapid.SliceOfN(payload, 1, 30).Draw(t, "payloads")
		var data []byte
		for _, p := range payloads {
			data = AppendPayload(data, p)
		}
		same := func(a, b BundledPayload) bool { return a.Withheld == b.Withheld && bytes.Equal(a.Data, b.Data) }
		got, err := ParsePayloadBundle(data, len(payloads))
		if err != nil || !slices.EqualFunc(got, payloads, same) {
			t.Fatal(got, err)
		}
		for cut := range data {
			got, err := ParsePayloadBundle(data[:cut], len(payloads))
			if err == nil || !slices.EqualFunc(got, payloads[:len(got)], same) {
				t.Fatalf("cut at %d: %v, %v", cut, got, err)
			}
		}
		if _, err := ParsePayloadBundle(append(data, 0), len(payloads)); err == nil {
			t.Fatal("a byte too many is accepted")
		}
	})
	longest := AppendPayload(nil, BundledPayload{Data: make([]byte, MaxPayloadSize)})
	if got, err := ParsePayloadBundle(longest, 1); err != nil || len(got[0].Data) != MaxPayloadSize {
		t.Fatal(err)
	}
	_, err := ParsePayloadBundle(AppendPayload(nil, BundledPayload{Data: make([]byte, MaxPayloadSize+1)}), 1)
	wantIs(t, err, ErrPayloadBundle)
}

func FuzzParseEntryBundle(f *testing.F) {
	l := newLedger(1, 3)
	var data []byte
	for i, raw := range l.entries {
		data = AppendBundled(data, raw)
		f.Add(bytes.Clone(data), i+1)
	}
	f.Add([]byte{0, 96}, 1)
	f.Fuzz(func(t *testing.T, data []byte, width int) {
		if width < 0 || width > TileWidth {
			return
		}
		entries, err := ParseEntryBundle(data, width)
		var again []byte
		for _, raw := range entries {
			again = AppendBundled(again, raw)
		}
		if !bytes.HasPrefix(data, again) || err == nil && (len(again) != len(data) || len(entries) != width) {
			t.Errorf("%d entries of %d, %d bytes of %d, %v", len(entries), width, len(again), len(data), err)
		}
	})
}

func FuzzParsePayloadBundle(f *testing.F) {
	f.Add(AppendPayload(AppendPayload(nil, BundledPayload{Data: []byte("payload")}), BundledPayload{Withheld: true}), 2)
	f.Add([]byte{0, 8, 4, 1}, 1)
	f.Fuzz(func(t *testing.T, data []byte, width int) {
		if width < 0 || width > TileWidth {
			return
		}
		payloads, err := ParsePayloadBundle(data, width)
		var again []byte
		for _, p := range payloads {
			again = AppendPayload(again, p)
		}
		if !bytes.HasPrefix(data, again) || err == nil && (len(again) != len(data) || len(payloads) != width) {
			t.Errorf("%d payloads of %d, %d bytes of %d, %v", len(payloads), width, len(again), len(data), err)
		}
	})
}

func TestSizes(t *testing.T) {
	sizes := []uint64{0, 1, 16384, MaxSize}
	data := AppendSizes(nil, sizes)
	if got, err := ParseSizes(data); err != nil || !slices.Equal(got, sizes) {
		t.Fatal(got, err)
	}
	if got, err := ParseSizes(nil); err != nil || len(got) != 0 {
		t.Fatal(got, err)
	}
	for _, bad := range []string{"1", "\n", "1\n\n", "01\n", "2\n1\n", "1\n1\n", "-1\n", "1 \n", "1\r\n", "4611686018427387905\n", "99999999999999999999999\n"} {
		_, err := ParseSizes([]byte(bad))
		wantIs(t, err, ErrSizes)
	}
	_, err := ParseSizes(make([]byte, MaxSizes+1))
	wantIs(t, err, ErrSizes)
}

func FuzzParseSizes(f *testing.F) {
	f.Add([]byte("0\n1\n16384\n"))
	f.Add([]byte("1\n01\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if sizes, err := ParseSizes(data); err == nil && !bytes.Equal(AppendSizes(nil, sizes), data) {
			t.Errorf("%q is also %q", data, AppendSizes(nil, sizes))
		}
	})
}
