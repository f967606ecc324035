package store

import (
	"encoding/binary"
	"math"
)

// record is one key's value with its version and expiry, as stored.
type record struct {
	version uint64
	expires int64 // microseconds; 0 = never
	value   []byte
}

const recordHeader = 16

func (r record) encode() []byte {
	b := make([]byte, recordHeader, recordHeader+len(r.value))
	binary.BigEndian.PutUint64(b, r.version)
	binary.BigEndian.PutUint64(b[8:], uint64(r.expires))
	return append(b, r.value...)
}

// decodeRecord reads a stored record; the value aliases b.
func decodeRecord(b []byte) (record, bool) {
	if len(b) < recordHeader {
		return record{}, false
	}
	return record{
		version: binary.BigEndian.Uint64(b),
		expires: int64(binary.BigEndian.Uint64(b[8:])),
		value:   b[recordHeader:],
	}, true
}

// live says whether the record still counts at the given clock.
func (r record) live(clock int64) bool { return r.expires == 0 || r.expires > clock }

func u64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func readU64(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func expiryKey(at int64, k Key) string { return string(u64(uint64(at))) + string(k) }

func sequencePrefix(k Key) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(k)))) + string(k)
}

func sequenceKey(k Key, number uint64) string { return sequencePrefix(k) + string(u64(number)) }

func balanceKey(k Key, currency string) string { return string(k) + separator + currency }

// addChecked is a + b, or false when that overflows.
func addChecked(a, b int64) (int64, bool) {
	if b > 0 && a > math.MaxInt64-b || b < 0 && a < math.MinInt64-b {
		return 0, false
	}
	return a + b, true
}
