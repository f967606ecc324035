package wal

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"time"

	"github.com/hashicorp/raft"
)

const (
	sectorSize = 512
	// headerSize is where the first frame begins.
	headerSize = sectorSize
	frameSize  = 48
	// maxAppend bounds an append, so that offsets fit into 32 bits.
	maxAppend = 1 << 30

	segmentMagic = "TAMVWAL1"
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	be         = binary.BigEndian
)

func checksum(parts ...[]byte) uint32 {
	var sum uint32
	for _, part := range parts {
		sum = crc32.Update(sum, castagnoli, part)
	}
	return sum
}

// segmentRef names a segment; the zero value is none.
type segmentRef struct{ id, first uint64 }

// header is the beginning of a segment.
type header struct {
	segmentRef
	previous segmentRef
	size     int64
}

func (h header) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, segmentMagic)
	be.PutUint64(b[8:], h.id)
	be.PutUint64(b[16:], h.first)
	be.PutUint64(b[24:], h.previous.id)
	be.PutUint64(b[32:], h.previous.first)
	be.PutUint64(b[40:], uint64(h.size))
	be.PutUint32(b[48:], checksum(b[:48]))
	return b
}

// decodeHeader accepts exactly what encode makes, at the beginning of b.
func decodeHeader(b []byte) (h header, ok bool) {
	if len(b) < headerSize || string(b[:8]) != segmentMagic || be.Uint32(b[48:]) != checksum(b[:48]) || !allZero(b[52:headerSize]) {
		return header{}, false
	}
	h = header{
		segmentRef: segmentRef{be.Uint64(b[8:]), be.Uint64(b[16:])},
		previous:   segmentRef{be.Uint64(b[24:]), be.Uint64(b[32:])},
		size:       int64(be.Uint64(b[40:])),
	}
	return h, h.id != 0 && h.first != 0 && h.size >= headerSize && h.size <= math.MaxUint32
}

// frame is the fixed part of an entry's frame.
type frame struct {
	index, term      uint64
	data, extensions int
	place            uint32
}

// begin is the index of the first entry of the append that wrote the frame.
func (f frame) begin() uint64 { return f.index - uint64(f.place) }

// size is the length of the whole frame.
func (f frame) size() int { return padded(frameSize + f.data + f.extensions) }

func padded(n int) int { return (n + 7) &^ 7 }

// entrySize is the length of an entry's frame.
func entrySize(e *raft.Log) int64 {
	return int64(padded(frameSize + len(e.Data) + len(e.Extensions)))
}

// appendFrame appends the frame of an entry to b, for the segment with this seed.
func appendFrame(b []byte, seed uint32, e *raft.Log, place uint32) []byte {
	begin := len(b)
	b = append(b, zeros[:frameSize]...)
	b = append(b, e.Data...)
	b = append(b, e.Extensions...)
	b = append(b, zeros[:begin+int(entrySize(e))-len(b)]...)
	f := b[begin:]
	be.PutUint64(f[8:], e.Index)
	be.PutUint64(f[16:], e.Term)
	if !e.AppendedAt.IsZero() {
		be.PutUint64(f[24:], uint64(e.AppendedAt.UnixNano()))
	}
	be.PutUint32(f[32:], uint32(len(e.Data)))
	be.PutUint32(f[36:], uint32(len(e.Extensions)))
	be.PutUint32(f[40:], place)
	f[44] = byte(e.Type)
	be.PutUint32(f[4:], checksum(f[frameSize:]))
	be.PutUint32(f, frameChecksum(seed, f))
	return b
}

// seedOf is the checksum of a segment id, with which the checksums of its frames begin.
func seedOf(id uint64) uint32 {
	return checksum(be.AppendUint64(nil, id))
}

func frameChecksum(seed uint32, f []byte) uint32 {
	return crc32.Update(seed, castagnoli, f[4:frameSize])
}

// decodeFrame verifies the fixed part of the frame at the beginning of b, and that b holds all of it.
func decodeFrame(b []byte, seed uint32) (f frame, ok bool) {
	if len(b) < frameSize || be.Uint32(b) != frameChecksum(seed, b) {
		return frame{}, false
	}
	data, extensions := be.Uint32(b[32:]), be.Uint32(b[36:])
	if uint64(data)+uint64(extensions) > uint64(len(b)-frameSize) || !allZero(b[45:frameSize]) {
		return frame{}, false
	}
	f = frame{
		index: be.Uint64(b[8:]), term: be.Uint64(b[16:]),
		data: int(data), extensions: int(extensions), place: be.Uint32(b[40:]),
	}
	return f, f.size() <= len(b) && uint64(f.place) < f.index
}

// intact verifies the variable part of a frame that b begins with.
func (f frame) intact(b []byte) bool {
	return be.Uint32(b[4:]) == checksum(b[frameSize:f.size()])
}

// fill sets an entry from its verified frame, whose memory it keeps.
func (f frame) fill(b []byte, e *raft.Log) {
	*e = raft.Log{Index: f.index, Term: f.term, Type: raft.LogType(b[44])}
	if at := be.Uint64(b[24:]); at != 0 {
		e.AppendedAt = time.Unix(0, int64(at)).UTC()
	}
	data, end := frameSize+f.data, frameSize+f.data+f.extensions
	if f.data > 0 {
		e.Data = b[frameSize:data:data]
	}
	if f.extensions > 0 {
		e.Extensions = b[data:end:end]
	}
}

func allZero(b []byte) bool {
	for len(b) > len(zeros) {
		if string(b[:len(zeros)]) != string(zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return string(b) == string(zeros[:len(b)])
}
