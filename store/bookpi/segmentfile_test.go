package bookpi

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
)

// segmentOf encodes a segment file around some entries. Its index and directory are
// zeroes: they are for a node.
func segmentOf(number uint64, entries, payloads [][]byte) []byte {
	file := binary.BigEndian.AppendUint64([]byte(SegmentMagic), number)
	file = binary.BigEndian.AppendUint32(file, SegmentEntries)
	for i, e := range entries {
		file = append(binary.AppendUvarint(file, uint64(len(e))), e...)
		file = append(binary.AppendUvarint(file, uint64(len(payloads[i]))), payloads[i]...)
	}
	for _, e := range entries {
		leaf := LeafHash(e)
		file = append(file, leaf[:]...)
	}
	return append(file, make([]byte, SegmentEntries*12+SegmentEntries/TileWidth*28+12+8)...)
}

// segmentEntries makes the entries of a segment that follows previous.
func segmentEntries(previous Hash) (entries, payloads [][]byte) {
	for i := range SegmentEntries {
		payload := binary.BigEndian.AppendUint32(make([]byte, i%3*100), uint32(i))
		e := Entry{
			Timestamp: int64(1000 + i), Tenant: "main", Actor: "ana", Action: "test.act", Outcome: "ok",
			PayloadDigest: PayloadDigest(payload), Previous: previous,
		}.Append(nil)
		entries, payloads, previous = append(entries, e), append(payloads, payload), LeafHash(e)
	}
	return entries, payloads
}

type segmentLog struct {
	entries, payloads [][]byte // of segment 1
	files             [2][]byte
	tiles             memoryTiles
}

// memoryTiles are the tiles of a tree in memory.
type memoryTiles map[[2]uint64][]Hash

func (m memoryTiles) Tile(level uint8, index uint64) ([]Hash, error) {
	return m[[2]uint64{uint64(level), index}], nil
}

var twoSegments = sync.OnceValue(func() segmentLog {
	log := segmentLog{tiles: memoryTiles{}}
	var tree Tree
	previous := GenesisHash
	for number := range log.files {
		log.entries, log.payloads = segmentEntries(previous)
		log.files[number] = segmentOf(uint64(number), log.entries, log.payloads)
		for _, e := range log.entries {
			previous = LeafHash(e)
			tree.Append(previous, func(level uint8, index uint64, h Hash) {
				k := [2]uint64{uint64(level), index / TileWidth}
				log.tiles[k] = append(log.tiles[k], h)
			})
		}
	}
	return log
})

func TestReadSegment(t *testing.T) {
	log := twoSegments()
	var last Segment
	for number, file := range log.files {
		next := uint64(number) * SegmentEntries
		s, err := ReadSegment(bytes.NewReader(file), func(position uint64, entry, payload []byte) error {
			if position != next {
				t.Fatalf("entry %d after %d", position, next)
			}
			if number == 1 && (!bytes.Equal(entry, log.entries[position-SegmentEntries]) || !bytes.Equal(payload, log.payloads[position-SegmentEntries])) {
				t.Fatalf("entry %d differs", position)
			}
			next++
			return nil
		})
		if err != nil || next != uint64(number+1)*SegmentEntries {
			t.Fatal(next, err)
		}
		if s.Number != uint64(number) || s.Previous != last.Head || s.SHA256 != sha256.Sum256(file) || s.Bytes != int64(len(file)) {
			t.Fatalf("%+v", s)
		}
		if err := CheckSegment(s, log.tiles); err != nil {
			t.Fatal(err)
		}
		s.Number ^= 1
		var broken *BrokenError
		if err := CheckSegment(s, log.tiles); !errors.As(err, &broken) {
			t.Fatalf("taken for another part of the log: %v", err)
		}
		if s.Number = 7; !errors.Is(CheckSegment(s, log.tiles), ErrTile) {
			t.Fatal("taken for what the log does not have")
		}
		last = s
	}
}

// Whatever byte of the entries, payloads and leaves changes, the segment is broken;
// elsewhere it has another hash.
func TestATamperedSegmentIsBroken(t *testing.T) {
	log := twoSegments()
	file := bytes.Clone(log.files[1])
	want := sha256.Sum256(file)
	tail := len(file) - SegmentEntries*12
	random := rand.New(rand.NewPCG(1, 1))
	offsets := []int{0, 7, 8, 15, 16, 19, 20, 21}
	for range 40 {
		offsets = append(offsets, random.IntN(len(file)))
	}
	for _, at := range offsets {
		file[at] ^= 1 << random.IntN(8)
		s, err := ReadSegment(bytes.NewReader(file), nil)
		var broken *BrokenError
		switch {
		case err == nil && at >= 8 && at < 16: // another number: the log has another root there
			if s.SHA256 == want || CheckSegment(s, log.tiles) == nil {
				t.Fatalf("byte %d changed the number unnoticed", at)
			}
		case err == nil && at >= tail-4000:
			if s.SHA256 == want {
				t.Fatalf("byte %d changed and the hash did not", at)
			}
		case !errors.As(err, &broken):
			t.Fatalf("byte %d: %v", at, err)
		}
		copy(file[at:], log.files[1][at:at+1])
	}
	for _, cut := range []int{0, 10, 20, 21, 5000, len(file) / 2, tail, tail - 9000} {
		var broken *BrokenError
		if _, err := ReadSegment(bytes.NewReader(file[:cut]), nil); !errors.As(err, &broken) || broken.Part != PartStructure {
			t.Fatalf("cut to %d: %v", cut, err)
		}
	}
	var broken *BrokenError
	if _, err := ReadSegment(io.MultiReader(bytes.NewReader(file), bytes.NewReader(make([]byte, maxSegmentTail))), nil); !errors.As(err, &broken) {
		t.Fatalf("more than a segment: %v", err)
	}
}

func TestASegmentOfOtherEntriesIsBroken(t *testing.T) {
	log := twoSegments()
	for name, change := range map[string]func(entries, payloads [][]byte){
		"swapped":          func(e, p [][]byte) { e[5], e[6], p[5], p[6] = e[6], e[5], p[6], p[5] },
		"doubled":          func(e, p [][]byte) { e[6], p[6] = e[5], p[5] },
		"another payload":  func(_, p [][]byte) { p[100] = []byte("x") },
		"no entry":         func(e, _ [][]byte) { e[100] = nil },
		"too long a field": func(_, p [][]byte) { p[3] = make([]byte, maxSegmentPayload+1) },
	} {
		entries, payloads := append([][]byte(nil), log.entries...), append([][]byte(nil), log.payloads...)
		change(entries, payloads)
		var broken *BrokenError
		if _, err := ReadSegment(bytes.NewReader(segmentOf(1, entries, payloads)), nil); !errors.As(err, &broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var broken *BrokenError
	if _, err := ReadSegment(bytes.NewReader(segmentOf(0, log.entries, log.payloads)), nil); !errors.As(err, &broken) || broken.Part != PartChain {
		t.Errorf("a later segment as the first: %v", err)
	}
	stop := errors.New("stop")
	if _, err := ReadSegment(bytes.NewReader(log.files[0]), func(uint64, []byte, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	if _, err := ReadSegment(failingReader{stop}, nil); !errors.Is(err, stop) {
		t.Error(err)
	}
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

func FuzzReadSegment(f *testing.F) {
	header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64([]byte(SegmentMagic), 1), SegmentEntries)
	f.Add(header)
	f.Add(append(header, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
	f.Add(twoSegments().files[0][:3000])
	f.Fuzz(func(t *testing.T, file []byte) {
		var broken *BrokenError
		if _, err := ReadSegment(bytes.NewReader(file), nil); !errors.As(err, &broken) {
			t.Fatalf("untyped: %v", err)
		}
	})
}

// A length has one spelling, also where its bits would fall off the end of a number.
func TestSegmentLengthsHaveOneSpelling(t *testing.T) {
	for n := range 40 {
		raw := append(bytes.Repeat([]byte{0x80}, n), 1)
		s := segmentReader{in: bufio.NewReader(bytes.NewReader(append(raw, make([]byte, 200)...)))}
		if _, err := s.field(200); err == nil && n > 1 {
			t.Errorf("%x is a length", raw)
		}
	}
}
