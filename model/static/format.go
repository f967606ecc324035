package static

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/model/lexical"
)

// The weights are, little-endian and without padding:
//
//	magic      8 bytes "TAMVEMB1"
//	dim        uint32, a power of two, 16..256
//	rows       uint32
//	common     uint32, number of common directions, at most 8
//	threshold  float32, relevance threshold in [0,1]
//	unknown    float32, weight of a word without a row, > 0
//	direction  common x dim float32, each of length 1
//	hashes     rows x uint32, ascending: low half of lexical.Hash of the word
//	scales     rows x float32
//	cells      rows x dim int8
const magic = "TAMVEMB1"

// maxRows bounds what a damaged header can make New allocate.
const maxRows = 1 << 20

type header struct {
	Dim, Rows, Common  uint32
	Threshold, Unknown float32
}

// Table is an embedder's content before it is packed.
type Table struct {
	Dim       int
	Threshold float32
	Unknown   float32     // weight of a word without a row
	Common    [][]float32 // unit directions to take out
	Words     map[string][]float32
}

// Pack encodes a table; New reads it. The same table gives the same bytes.
func Pack(t Table) []byte {
	type entry struct {
		hash uint32
		row  []float32
	}
	entries := make([]entry, 0, len(t.Words))
	for word, row := range t.Words {
		entries = append(entries, entry{uint32(lexical.Hash([]byte(word))), row})
	}
	// Two words with the same half hash would share a row; with tens of thousands
	// of words that is rare, and the tie is broken by content to stay deterministic.
	slices.SortFunc(entries, func(a, b entry) int {
		if a.hash != b.hash {
			return int(int64(a.hash) - int64(b.hash))
		}
		return slices.Compare(a.row, b.row)
	})
	entries = slices.CompactFunc(entries, func(a, b entry) bool { return a.hash == b.hash })

	var out bytes.Buffer
	put := func(v any) { _ = binary.Write(&out, binary.LittleEndian, v) } // a bytes.Buffer never fails
	out.WriteString(magic)
	put(header{uint32(t.Dim), uint32(len(entries)), uint32(len(t.Common)), t.Threshold, t.Unknown})
	for _, d := range t.Common {
		put(d)
	}
	for _, e := range entries {
		put(e.hash)
	}
	for _, e := range entries {
		put(rowScale(e.row))
	}
	for _, e := range entries {
		scale := rowScale(e.row)
		for _, c := range e.row {
			put(int8(math.RoundToEven(float64(c) / float64(scale))))
		}
	}
	return out.Bytes()
}

// rowScale maps the row's largest magnitude to 127.
func rowScale(row []float32) float32 {
	var largest float32
	for _, c := range row {
		largest = max(largest, c, -c)
	}
	if largest == 0 {
		return 1
	}
	return largest / 127
}

// New reads packed weights, or returns model.ErrWeights.
func New(packed []byte) (*Embedder, error) {
	body, ok := bytes.CutPrefix(packed, []byte(magic))
	if !ok {
		return nil, fmt.Errorf("%w: static embedder: wrong magic", model.ErrWeights)
	}
	var h header
	n, err := binary.Decode(body, binary.LittleEndian, &h)
	if err != nil {
		return nil, fmt.Errorf("%w: static embedder: truncated header", model.ErrWeights)
	}
	body = body[n:]
	if err := h.check(len(body)); err != nil {
		return nil, err
	}
	dim, rows := int(h.Dim), int(h.Rows)
	sum := sha256.Sum256(packed)
	e := &Embedder{
		id:        "static-enes-" + hex.EncodeToString(sum[:6]),
		dim:       dim,
		threshold: h.Threshold,
		unknown:   h.Unknown,
		row:       make(map[uint32]int32, rows),
		scales:    make([]float32, rows),
		cells:     make([]int8, rows*dim),
	}
	take := func(into any) {
		n, err := binary.Decode(body, binary.LittleEndian, into)
		if err != nil {
			panic("static: the length was checked: " + err.Error())
		}
		body = body[n:]
	}
	for range h.Common {
		d := make([]float32, dim)
		take(d)
		if length := norm(d); !(math.Abs(length-1) < 1e-3) {
			return nil, fmt.Errorf("%w: static embedder: common direction of length %g", model.ErrWeights, length)
		}
		e.common = append(e.common, d)
	}
	hashes := make([]uint32, rows)
	take(hashes)
	for i, hash := range hashes {
		if i > 0 && hash <= hashes[i-1] {
			return nil, fmt.Errorf("%w: static embedder: hashes are not ascending", model.ErrWeights)
		}
		e.row[hash] = int32(i)
	}
	take(e.scales)
	for _, s := range e.scales {
		if !(s > 0 && s < 1e6) {
			return nil, fmt.Errorf("%w: static embedder: scale %g", model.ErrWeights, s)
		}
	}
	take(e.cells)
	return e, nil
}

// check tests a header against the limits and the number of bytes after it.
func (h header) check(body int) error {
	switch {
	case h.Dim < 16 || h.Dim > 256 || h.Dim&(h.Dim-1) != 0:
		return fmt.Errorf("%w: static embedder: dimension %d", model.ErrWeights, h.Dim)
	case h.Rows > maxRows || h.Common > 8:
		return fmt.Errorf("%w: static embedder: %d rows, %d common directions", model.ErrWeights, h.Rows, h.Common)
	case !(h.Threshold >= 0 && h.Threshold <= 1) || !(h.Unknown > 0 && h.Unknown < 1e6):
		return fmt.Errorf("%w: static embedder: threshold %g, unknown weight %g", model.ErrWeights, h.Threshold, h.Unknown)
	}
	want := uint64(h.Common)*uint64(h.Dim)*4 + uint64(h.Rows)*(8+uint64(h.Dim))
	if uint64(body) != want {
		return fmt.Errorf("%w: static embedder: %d bytes after the header, want %d", model.ErrWeights, body, want)
	}
	return nil
}
