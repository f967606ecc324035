package wal

import (
	"bytes"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// FuzzSegment reads any bytes as a segment. What is accepted must be what the writer makes.
func FuzzSegment(f *testing.F) {
	h := header{segmentRef: segmentRef{1, 5}, previous: segmentRef{2, 3}, size: 4096}
	b := h.encode()
	b = appendFrame(b, seedOf(1), &raft.Log{Index: 5, Term: 2, Data: []byte("data")}, 0)
	b = appendFrame(b, seedOf(1), &raft.Log{Index: 6, Term: 2, Extensions: []byte("e"), AppendedAt: time.Unix(1, 0)}, 0)
	b = appendFrame(b, seedOf(1), &raft.Log{Index: 7, Term: 3, Type: raft.LogNoop}, 1)
	f.Add(b, true)
	f.Add(append(b, make([]byte, 600)...), false)
	f.Add(append(bytes.Clone(b[:headerSize+56]), b[headerSize+64:]...), false)
	f.Add(b[:headerSize], false)
	f.Add([]byte(nil), false)
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if len(b) >= headerSize && seal { // give the fuzzer good checksums of the headers, which it cannot guess
			be.PutUint32(b[48:], checksum(b[:48]))
			for at := headerSize; at+frameSize <= len(b); {
				be.PutUint32(b[at:], frameChecksum(seedOf(be.Uint64(b[8:])), b[at:]))
				g, ok := decodeFrame(b[at:], seedOf(be.Uint64(b[8:])))
				if !ok {
					break
				}
				be.PutUint32(b[at+4:], checksum(b[at+frameSize:at+g.size()]))
				at += g.size()
			}
		}
		h, ok := decodeHeader(b)
		if !ok {
			return
		}
		if !bytes.Equal(h.encode(), b[:headerSize]) {
			t.Fatal("a header that is not written so")
		}
		s := walk(b, h, 0)
		for i, at := range s.offsets {
			g, ok := decodeFrame(b[at:], seedOf(h.id))
			if !ok || g.index != h.first+uint64(i) {
				t.Fatalf("frame %d has index %d", i, g.index)
			}
			var e raft.Log
			g.fill(b[at:], &e)
			again := appendFrame(nil, seedOf(h.id), &e, g.place)
			if original := b[int(at) : int(at)+g.size()]; !bytes.Equal(again, original) && allZero(original[frameSize+g.data+g.extensions:]) {
				t.Fatalf("frame %d is not written so", i)
			}
		}
		s.tornOff(b, seedOf(h.id))
	})
}

// FuzzMeta reads any bytes as a record of meta.
func FuzzMeta(f *testing.F) {
	b, err := meta{1, 2, 3, segmentRef{4, 5}, 6, map[string][]byte{"CurrentTerm": {7}, "": nil}}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, false)
	f.Add(b[:100], true)
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		slot := make([]byte, slotSize)
		copy(slot, b)
		if length := be.Uint32(slot[56:]); seal && length <= slotSize-metaFixed {
			be.PutUint32(slot[60:], checksum(slot[:60], slot[metaFixed:metaFixed+length]))
		}
		m, ok := decodeMeta(slot)
		if !ok {
			return
		}
		again, err := m.encode()
		if err != nil || !bytes.Equal(again, slot) {
			t.Fatalf("a record that is not written so: %+v, %v", m, err)
		}
	})
}
