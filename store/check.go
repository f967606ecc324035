package store

import (
	"encoding/binary"
	"hash/crc32"

	bolt "go.etcd.io/bbolt"
)

// Every value in the database file ends with a checksum of four bytes: CRC32C
// over its bucket, its key and the value. A read that does not find it is an
// error, never an answer. A checksum cannot show a record that is not there,
// because a damaged branch page hides it: for that, meta keeps a [digest] of
// all records.
const checksumBytes = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum starts the CRC from bucket and key length, so that no byte can move
// from the key to the value unnoticed.
func checksum(b bucket, key, value []byte) uint32 {
	crc := uint32(b)<<16 ^ uint32(len(key))
	return crc32.Update(crc32.Update(crc, castagnoli, key), castagnoli, value)
}

// stored is a value as it stands in the database file.
func stored(b bucket, key, value []byte) []byte {
	raw := make([]byte, 0, len(value)+checksumBytes)
	return binary.BigEndian.AppendUint32(append(raw, value...), checksum(b, key, value))
}

// checked takes the checksum off a stored value; ok is false when it is not
// that of this value under this key.
func checked(b bucket, key, raw []byte) (value []byte, ok bool) {
	n := len(raw) - checksumBytes
	if n < 0 || checksum(b, key, raw[:n]) != binary.BigEndian.Uint32(raw[n:]) {
		return nil, false
	}
	return raw[:n:n], true
}

// get reads one value and checks it; nil when there is none. It aliases the
// transaction's memory.
func get(tx *bolt.Tx, b bucket, key []byte) ([]byte, error) {
	return getIn(tx.Bucket([]byte(bucketNames[b])), b, key)
}

// getIn is get in an open bucket; nil is one that was never made.
func getIn(in *bolt.Bucket, b bucket, key []byte) ([]byte, error) {
	if in == nil && b >= firstLateBucket {
		return nil, nil
	}
	raw := in.Get(key)
	if raw == nil {
		return nil, nil
	}
	value, ok := checked(b, key, raw)
	if !ok {
		return nil, damaged("a record in %q does not have its checksum", bucketNames[b])
	}
	return value, nil
}

// digest is a hash of a set of records: the sum, modulo 2^64, of the mixed
// checksums of its members, and their number. A record is added or removed in
// constant time and the order does not matter, so equal states have equal
// digests. It finds what is missing, doubled or out of date by accident; an
// adversary who can write the file is the business of the ledger's signatures.
type digest struct{ count, sum uint64 }

// add puts a stored value into the set.
func (d *digest) add(raw []byte) { d.count, d.sum = d.count+1, d.sum+mixed(raw) }

// remove takes it out again.
func (d *digest) remove(raw []byte) { d.count, d.sum = d.count-1, d.sum-mixed(raw) }

// mixed spreads a stored value's checksum over 64 bits (the finalizer of
// SplitMix64), so that sums of checksums do not cancel out.
func mixed(raw []byte) uint64 {
	x := uint64(0)
	if n := len(raw) - checksumBytes; n >= 0 {
		x = uint64(binary.BigEndian.Uint32(raw[n:])) + 0x9e3779b97f4a7c15
	}
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// writer writes records in one transaction and keeps the digest in step.
type recordWriter struct {
	tx     *bolt.Tx
	digest digest
}

// write sets a key of a bucket; a nil value removes it.
func (w *recordWriter) write(b bucket, key, value []byte) error {
	in := w.tx.Bucket([]byte(bucketNames[b]))
	if in == nil && b >= firstLateBucket {
		if value == nil {
			return nil
		}
		var err error
		if in, err = w.tx.CreateBucket([]byte(bucketNames[b])); err != nil {
			return err
		}
	}
	if b == bucketBlocks {
		in.FillPercent = 0.95 // positions only grow
	}
	if old := in.Get(key); old != nil {
		w.digest.remove(old)
	} else if value == nil {
		return nil
	}
	if value == nil {
		return in.Delete(key)
	}
	raw := stored(b, key, value)
	w.digest.add(raw)
	return in.Put(key, raw)
}
