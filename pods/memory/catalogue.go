package memory

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"

	"tamv.internal/tamv/vector"
)

// catalogue says what the vectors of a saved index are of. It is a file beside
// them, all numbers little-endian, texts with their length in 16 bits before them:
//
//	magic "TAMVMEM" 0x01
//	name of the index, 32 bytes: SHA-256 of tenant, model and dimensions
//	64 bits each: marker built, version of its record, its documents; changed,
//	    when it was saved
//	digest of what was built, 32 bytes
//	32 bits: number of types; the types, numbered from 1
//	32 bits: number of documents; of each:
//	    id, 64 bits version of the record, 32 bits checksum, 32 bits row
//	CRC-32C of all before
type catalogue struct {
	name      indexName
	built     built
	changed   int // documents written and removed since the marker
	kinds     map[string]uint16
	documents []known
}

// known is a document as it was when an index was saved.
type known struct {
	id      string
	version uint64
	sum     uint32
	row     uint32
}

const catalogueMagic = "TAMVMEM\x01"

var errCatalogue = errors.New("memory: damaged catalogue")

// indexName names an index in files, which do not say what they are of.
type indexName [sha256.Size]byte

func nameOf(tenant string, s vectorSpace) indexName {
	return sha256.Sum256([]byte(tenant + "\x00" + s.model + "\x00" + strconv.Itoa(s.dim)))
}

func (c *catalogue) encode() []byte {
	size := 256
	for i := range c.documents {
		size += len(c.documents[i].id) + 18
	}
	b := append(make([]byte, 0, size), catalogueMagic...)
	b = append(b, c.name[:]...)
	for _, n := range []uint64{c.built.number, c.built.version, uint64(c.built.documents), uint64(c.changed)} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = append(b, c.built.digest[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(c.kinds)))
	for _, name := range kindNames(c.kinds) {
		b = appendText(b, name)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(c.documents)))
	for i := range c.documents {
		d := &c.documents[i]
		b = appendText(b, d.id)
		b = binary.LittleEndian.AppendUint64(b, d.version)
		b = binary.LittleEndian.AppendUint32(b, d.sum)
		b = binary.LittleEndian.AppendUint32(b, d.row)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint16(b, uint16(len(s))), s...)
}

// kindNames are document types in the order of their numbers. Those beyond the
// last number are not among them: they are given the same one again.
func kindNames(kinds map[string]uint16) []string {
	names := make([]string, min(len(kinds), manyKinds-1))
	for name, number := range kinds {
		if number < manyKinds {
			names[number-1] = name
		}
	}
	return names
}

// decodeCatalogue reads what encode wrote, or returns errCatalogue.
func decodeCatalogue(b []byte) (*catalogue, error) {
	if len(b) < len(catalogueMagic)+4 || string(b[:len(catalogueMagic)]) != catalogueMagic {
		return nil, fmt.Errorf("%w: it is none", errCatalogue)
	}
	end := len(b) - 4
	if crc32.Checksum(b[:end], castagnoli) != binary.LittleEndian.Uint32(b[end:]) {
		return nil, fmt.Errorf("%w: checksum", errCatalogue)
	}
	r := catalogueReader{rest: b[len(catalogueMagic):end]}
	c := &catalogue{kinds: map[string]uint16{}}
	copy(c.name[:], r.take(len(c.name)))
	c.built.number, c.built.version, c.built.documents, c.changed = r.u64(), r.u64(), r.count(), r.count()
	copy(c.built.digest[:], r.take(len(c.built.digest)))
	for range r.u32() {
		if name := r.text(); r.failed || len(c.kinds) >= manyKinds {
			break
		} else if _, twice := c.kinds[name]; twice {
			r.failed = true
		} else {
			kindNumber(c.kinds, name)
		}
	}
	n := r.u32()
	c.documents = make([]known, 0, min(int(n), len(r.rest)/18))
	for range n {
		d := known{id: r.text(), version: r.u64(), sum: r.u32(), row: r.u32()}
		if r.failed {
			break
		}
		c.documents = append(c.documents, d)
	}
	if r.failed || len(r.rest) > 0 {
		return nil, fmt.Errorf("%w: its lists", errCatalogue)
	}
	return c, nil
}

// catalogueReader takes fields until one is missing.
type catalogueReader struct {
	rest   []byte
	failed bool
}

func (r *catalogueReader) take(n int) []byte {
	if n > len(r.rest) {
		r.failed, r.rest = true, nil
		return make([]byte, n)
	}
	field := r.rest[:n]
	r.rest = r.rest[n:]
	return field
}

func (r *catalogueReader) u16() uint16 { return binary.LittleEndian.Uint16(r.take(2)) }
func (r *catalogueReader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *catalogueReader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

// count is a number of documents.
func (r *catalogueReader) count() int {
	n := r.u64()
	if n > math.MaxInt32 {
		r.failed = true
		return 0
	}
	return int(n)
}

func (r *catalogueReader) text() string {
	n := int(r.u16())
	if n > len(r.rest) {
		r.failed, r.rest = true, nil
		return ""
	}
	return string(bytes.Clone(r.take(n)))
}

// holds says whether a saved index has a document as it is now.
func (d *known) holds(e *entry) bool {
	return d.version == e.version && d.sum == e.sum && d.row != vector.NoRow
}
