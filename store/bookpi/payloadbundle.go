package bookpi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

const (
	// MaxPayloadSize is the longest payload that a payload bundle may hold, in bytes: the
	// 512 KiB that a ledger accepts, and what sealing adds.
	MaxPayloadSize = 513 << 10
	// MaxPayloadBundle is the longest payload bundle, in bytes: 128 MiB and a bit.
	MaxPayloadBundle = TileWidth * (payloadLength + MaxPayloadSize)

	payloadLength   = 4 // bytes of a payload's length
	payloadWithheld = math.MaxUint32
)

// ErrPayloadBundle: bytes that are no payload bundle of the expected width.
var ErrPayloadBundle = errors.New("bookpi: malformed payload bundle")

// BundledPayload is the payload of one entry as a payload bundle carries it.
type BundledPayload struct {
	Data     []byte // at most MaxPayloadSize bytes; nothing if Withheld
	Withheld bool   // whoever made the bundle left it out; the entry still commits to its SHA-256
}

// AppendPayload appends one payload to a payload bundle, our companion of the entry
// bundle: its length as 4 big-endian bytes, then its bytes. The length 0xFFFFFFFF says
// that the payload is withheld, and no bytes follow. A bundle is up to 256 of these
// back to back, in the order of the entries; its path states how many.
func AppendPayload(dst []byte, p BundledPayload) []byte {
	if p.Withheld {
		return binary.BigEndian.AppendUint32(dst, payloadWithheld)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(p.Data)))
	return append(dst, p.Data...)
}

// ParsePayloadBundle splits a bundle into exactly width payloads, which alias data. It
// checks lengths, not digests. The error wraps [ErrPayloadBundle]; the payloads in
// front of the damage are returned with it.
func ParsePayloadBundle(data []byte, width int) ([]BundledPayload, error) {
	payloads := make([]BundledPayload, 0, min(width, TileWidth))
	for len(payloads) < width {
		if len(data) < payloadLength {
			return payloads, fmt.Errorf("%w: it ends after %d of %d payloads", ErrPayloadBundle, len(payloads), width)
		}
		n := binary.BigEndian.Uint32(data)
		data = data[payloadLength:]
		if n == payloadWithheld {
			payloads = append(payloads, BundledPayload{Withheld: true})
			continue
		}
		if n > MaxPayloadSize {
			return payloads, fmt.Errorf("%w: a payload of %d bytes", ErrPayloadBundle, n)
		}
		if uint64(n) > uint64(len(data)) {
			return payloads, fmt.Errorf("%w: it ends within payload %d of %d", ErrPayloadBundle, len(payloads)+1, width)
		}
		payloads = append(payloads, BundledPayload{Data: data[:n:n]})
		data = data[n:]
	}
	if len(data) != 0 {
		return payloads, fmt.Errorf("%w: %d bytes follow the last of %d payloads", ErrPayloadBundle, len(data), width)
	}
	return payloads, nil
}
