package tap

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Size limits in bytes. A frame's size is that of its encoded envelope, without
// the length prefix.
const (
	HandshakeLimit    = 16 << 10 // any frame before the session is ready
	DefaultFrameLimit = 1 << 20  // any frame afterwards
	MaxTypeLen        = 32       // the type field
	MaxTagLen         = 64       // the tag field; a session tag has TagLen
)

// MaxTimestamp is the largest timestamp a frame may carry: the largest integer
// that a JavaScript number holds exactly.
const MaxTimestamp = 1<<53 - 1

// Envelope is the outside of every TAP frame. On the wire it is a MessagePack
// array of five:
//
//	[id bin(16), type str, timestamp uint (ms), payload bin, tag bin]
//
// [DecodeEnvelope] accepts what the common encoders write by default: any
// width of bin, fixstr or str 8, and every integer format that holds a value
// from 0 to MaxTimestamp (vmihailenco/msgpack writes int64 and uint64 at full
// width, @msgpack/msgpack the smallest that fits). Floats, nil, extensions,
// more or fewer fields and trailing bytes are refused. [Envelope.Append]
// always writes the shortest form.
type Envelope struct {
	ID        uuid.UUID // chosen by the sender of a request; replies repeat it
	Type      string    // 1 to MaxTypeLen bytes of a-z, 0-9 and '_'
	Timestamp uint64    // the sender's clock, milliseconds since the Unix epoch; informative
	Payload   []byte    // a MessagePack map, or JSON when it starts with '{'
	Tag       []byte    // sequence and MAC of a client's frame; empty from the server
}

// MessagePack format bytes used by TAP.
const (
	mpArray5   = 0x95
	mpFixMap   = 0x80
	mpFixArray = 0x90
	mpFixStr   = 0xa0
	mpFalse    = 0xc2
	mpTrue     = 0xc3
	mpBin8     = 0xc4
	mpBin16    = 0xc5
	mpBin32    = 0xc6
	mpUint8    = 0xcc
	mpUint16   = 0xcd
	mpUint32   = 0xce
	mpUint64   = 0xcf
	mpInt8     = 0xd0
	mpInt16    = 0xd1
	mpInt32    = 0xd2
	mpInt64    = 0xd3
	mpStr8     = 0xd9
	mpStr16    = 0xda
	mpStr32    = 0xdb
	mpArray16  = 0xdc
	mpMap16    = 0xde
)

// Size is the number of bytes that Append adds.
func (e *Envelope) Size() int {
	return 1 + 2 + len(e.ID) + sizeStr(len(e.Type)) + sizeUint(e.Timestamp) + sizeBin(len(e.Payload)) + sizeBin(len(e.Tag))
}

// Append adds the encoded envelope to dst. It allocates only when dst is too
// small.
func (e *Envelope) Append(dst []byte) []byte {
	dst = append(dst, mpArray5)
	dst = appendBin(dst, e.ID[:])
	dst = appendStr(dst, e.Type)
	dst = appendUint(dst, e.Timestamp)
	dst = appendBin(dst, e.Payload)
	return appendBin(dst, e.Tag)
}

// AppendFrame adds the envelope with its length prefix, as it crosses a
// WebSocket message or a QUIC stream: uvarint length, then the envelope.
func (e *Envelope) AppendFrame(dst []byte) []byte {
	return e.Append(binary.AppendUvarint(dst, uint64(e.Size())))
}

// DecodeEnvelope reads one envelope that fills b. Payload and Tag alias b, and
// a known type costs no allocation. The error is Invalid with code
// malformed_frame.
func DecodeEnvelope(b []byte) (Envelope, error) {
	var e Envelope
	r := reader{b: b}
	if r.byte() != mpArray5 {
		return Envelope{}, badFrame("a frame is a MessagePack array of five")
	}
	id, typ := r.bin(), r.str()
	e.Timestamp = r.uint()
	e.Payload, e.Tag = r.bin(), r.bin()
	switch {
	case r.bad:
		return Envelope{}, badFrame("the frame is truncated or a field has the wrong type")
	case len(r.b) > 0:
		return Envelope{}, badFrame("%d bytes follow the frame", len(r.b))
	case len(id) != len(e.ID):
		return Envelope{}, badFrame("the id has %d bytes, not 16", len(id))
	case !validType(typ):
		return Envelope{}, badFrame("the type is not 1 to %d bytes of a-z, 0-9 and '_'", MaxTypeLen)
	case e.Timestamp > MaxTimestamp:
		return Envelope{}, badFrame("the timestamp is out of range")
	case len(e.Tag) > MaxTagLen:
		return Envelope{}, badFrame("the tag has %d bytes, more than %d", len(e.Tag), MaxTagLen)
	}
	copy(e.ID[:], id)
	e.Type = internType(typ)
	return e, nil
}

func badFrame(format string, args ...any) error {
	return E("tap.frame", Invalid, format, args...).WithCode("malformed_frame")
}

func validType(t []byte) bool {
	if len(t) == 0 || len(t) > MaxTypeLen {
		return false
	}
	for _, c := range t {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

func sizeUint(v uint64) int {
	switch {
	case v < 1<<7:
		return 1
	case v < 1<<8:
		return 2
	case v < 1<<16:
		return 3
	case v < 1<<32:
		return 5
	}
	return 9
}

func sizeStr(n int) int {
	switch {
	case n < 32:
		return 1 + n
	case n < 1<<8:
		return 2 + n
	case n < 1<<16:
		return 3 + n
	}
	return 5 + n
}

func sizeBin(n int) int {
	switch {
	case n < 1<<8:
		return 2 + n
	case n < 1<<16:
		return 3 + n
	}
	return 5 + n
}

func appendUint(dst []byte, v uint64) []byte {
	switch {
	case v < 1<<7:
		return append(dst, byte(v))
	case v < 1<<8:
		return append(dst, mpUint8, byte(v))
	case v < 1<<16:
		return append(dst, mpUint16, byte(v>>8), byte(v))
	case v < 1<<32:
		return binary.BigEndian.AppendUint32(append(dst, mpUint32), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(dst, mpUint64), v)
}

func appendStr(dst []byte, s string) []byte {
	switch n := len(s); {
	case n < 32:
		dst = append(dst, mpFixStr|byte(n))
	case n < 1<<8:
		dst = append(dst, mpStr8, byte(n))
	case n < 1<<16:
		dst = append(dst, mpStr16, byte(n>>8), byte(n))
	default:
		dst = binary.BigEndian.AppendUint32(append(dst, mpStr32), uint32(n))
	}
	return append(dst, s...)
}

func appendBin(dst, b []byte) []byte {
	switch n := len(b); {
	case n < 1<<8:
		dst = append(dst, mpBin8, byte(n))
	case n < 1<<16:
		dst = append(dst, mpBin16, byte(n>>8), byte(n))
	default:
		dst = binary.BigEndian.AppendUint32(append(dst, mpBin32), uint32(n))
	}
	return append(dst, b...)
}

// reader consumes MessagePack values. The first failure sets bad, after which
// every method returns zero, so that callers check once at the end.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) byte() byte {
	if r.bad || len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

// big reads an unsigned big-endian number of width 1, 2, 4 or 8.
func (r *reader) big(width int) uint64 {
	var v uint64
	for _, c := range r.take(width) {
		v = v<<8 | uint64(c)
	}
	return v
}

func (r *reader) bin() []byte {
	switch r.byte() {
	case mpBin8:
		return r.take(int(r.big(1)))
	case mpBin16:
		return r.take(int(r.big(2)))
	case mpBin32:
		return r.take(int(r.big(4)))
	}
	r.bad = true
	return nil
}

// str returns the bytes of a string; they are valid UTF-8.
func (r *reader) str() []byte {
	var s []byte
	switch c := r.byte(); {
	case c&0xe0 == mpFixStr:
		s = r.take(int(c & 0x1f))
	case c == mpStr8:
		s = r.take(int(r.big(1)))
	case c == mpStr16:
		s = r.take(int(r.big(2)))
	case c == mpStr32:
		s = r.take(int(r.big(4)))
	default:
		r.bad = true
	}
	if !utf8.Valid(s) {
		r.bad = true
	}
	return s
}

// uint accepts every integer format; a negative value is bad.
func (r *reader) uint() uint64 {
	c := r.byte()
	if c < 0x80 {
		return uint64(c)
	}
	switch c {
	case mpUint8, mpUint16, mpUint32, mpUint64:
		return r.big(1 << (c - mpUint8))
	case mpInt8, mpInt16, mpInt32, mpInt64:
		width := 1 << (c - mpInt8)
		v := r.big(width)
		if v>>(8*width-1) != 0 {
			r.bad = true
		}
		return v
	}
	r.bad = true
	return 0
}

func (r *reader) bool() bool {
	switch r.byte() {
	case mpTrue:
		return true
	case mpFalse:
		return false
	}
	r.bad = true
	return false
}

// length reads the count of a map or an array: the fix form or the 16-bit one.
func (r *reader) length(fix, wide byte) int {
	switch c := r.byte(); {
	case c&0xf0 == fix:
		return int(c & 0x0f)
	case c == wide:
		return int(r.big(2))
	}
	r.bad = true
	return 0
}
