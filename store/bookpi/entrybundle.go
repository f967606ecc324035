package bookpi

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// MaxEntryBundle is the longest entry bundle, in bytes.
	MaxEntryBundle = TileWidth * (entryLength + MaxEntrySize)

	entryLength = 2 // bytes of an entry's length
)

// ErrEntryBundle: bytes that are no entry bundle of the expected width.
var ErrEntryBundle = errors.New("bookpi: malformed entry bundle")

// AppendBundled appends one encoded entry to an entry bundle (C2SP tlog-tiles): its
// length as 2 big-endian bytes, then its bytes. A bundle is up to 256 of these back to
// back and has neither header nor count: its path states how many. The entry must be a
// valid one, as a ledger holds it.
func AppendBundled(dst, encodedEntry []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(encodedEntry)))
	return append(dst, encodedEntry...)
}

// ParseEntryBundle splits a bundle into exactly width encoded entries, which alias
// data. It checks their lengths, not their content: that is [ParseEntry], or the leaf
// hash. The error wraps [ErrEntryBundle]; the entries in front of the damage are
// returned with it, so that their number says where it is.
func ParseEntryBundle(data []byte, width int) ([][]byte, error) {
	entries := make([][]byte, 0, min(width, TileWidth))
	for len(entries) < width {
		if len(data) < entryLength {
			return entries, fmt.Errorf("%w: it ends after %d of %d entries", ErrEntryBundle, len(entries), width)
		}
		n := int(binary.BigEndian.Uint16(data))
		data = data[entryLength:]
		if n < entryHeader || n > MaxEntrySize {
			return entries, fmt.Errorf("%w: an entry of %d bytes", ErrEntryBundle, n)
		}
		if n > len(data) {
			return entries, fmt.Errorf("%w: it ends within entry %d of %d", ErrEntryBundle, len(entries)+1, width)
		}
		entries = append(entries, data[:n:n])
		data = data[n:]
	}
	if len(data) != 0 {
		return entries, fmt.Errorf("%w: %d bytes follow the last of %d entries", ErrEntryBundle, len(data), width)
	}
	return entries, nil
}
