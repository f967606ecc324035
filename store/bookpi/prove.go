package bookpi

import (
	"fmt"
	"math/bits"
)

// TileReader gives access to the hashes that [Tree.Append] emitted.
type TileReader interface {
	// Tile returns the hashes of a tile, as many as exist, at most 256. The caller
	// does not change them. More hashes than the asked-for tree size has are fine:
	// complete subtrees never change.
	Tile(level uint8, index uint64) ([]Hash, error)
}

// SubtreeReader is a [TileReader] that remembers what the hashes of its tiles fold
// to. [RootAt], [InclusionProof] and [ConsistencyProof] ask it instead of folding up
// to 247 hashes for every tile that a proof passes through.
type SubtreeReader interface {
	TileReader
	// Subtree returns the root of the index-th complete subtree of 2^height leaves.
	// The error wraps [ErrTile] if the tiles do not have all of it.
	Subtree(height int, index uint64) (Hash, error)
	// Siblings appends the path of a leaf within the complete subtree of 2^height
	// leaves that holds it: the roots of the siblings of the subtrees of 1, 2, 4 up
	// to 2^(height-1) leaves on the way. Errors as Subtree.
	Siblings(path []Hash, leaf uint64, height int) ([]Hash, error)
}

// RootAt returns the root the tree had when it held size leaves. It returns
// [ErrRange] beyond [MaxSize], [ErrTile] if the tiles do not reach that far, or the
// reader's error.
func RootAt(size uint64, r TileReader) (Hash, error) {
	if size > MaxSize {
		return Hash{}, fmt.Errorf("%w: size %d", ErrRange, size)
	}
	if size == 0 {
		return emptyRoot(), nil
	}
	p := newProver(r, 0)
	root := p.subtree(0, size)
	return root, p.err
}

// InclusionProof returns the hashes that connect leaf index with the root of the tree
// of size leaves, leaf's sibling first (RFC 6962, section 2.1.1: PATH). Errors as
// [RootAt]; [ErrRange] unless index < size.
func InclusionProof(size, index uint64, r TileReader) ([]Hash, error) {
	if size > MaxSize || index >= size {
		return nil, fmt.Errorf("%w: entry %d in a tree of %d", ErrRange, index, size)
	}
	p := newProver(r, size)
	p.path(index, 0, size)
	return p.result()
}

// ConsistencyProof returns the hashes that show the tree of oldSize leaves to be a
// prefix of the tree of newSize leaves (RFC 6962, section 2.1.2: PROOF). It is empty
// when oldSize is 0 or equals newSize. Errors as [RootAt]; [ErrRange] unless
// oldSize <= newSize.
func ConsistencyProof(oldSize, newSize uint64, r TileReader) ([]Hash, error) {
	if newSize > MaxSize || oldSize > newSize {
		return nil, fmt.Errorf("%w: tree of %d in a tree of %d", ErrRange, oldSize, newSize)
	}
	if oldSize == 0 || oldSize == newSize {
		return nil, nil
	}
	p := newProver(r, newSize)
	p.subproof(oldSize, 0, newSize, true)
	return p.result()
}

// prover collects a proof. It keeps the first error, so that the recursions below
// read like the RFC's definitions, and each tile it has read.
type prover struct {
	reader TileReader
	folded SubtreeReader // the reader, if it is one; nil otherwise
	tiles  []readTile    // a proof needs a handful: searching beats a map
	proof  []Hash
	err    error
}

type readTile struct {
	level  uint8
	index  uint64
	hashes []Hash
}

// newProver makes room for a proof in a tree of size leaves.
func newProver(r TileReader, size uint64) prover {
	folded, _ := r.(SubtreeReader)
	return prover{reader: r, folded: folded, proof: make([]Hash, 0, bits.Len64(size))}
}

func (p *prover) result() ([]Hash, error) {
	if p.err != nil {
		return nil, p.err
	}
	return p.proof, nil
}

// path is PATH(index, D[first:first+n]).
func (p *prover) path(index, first, n uint64) {
	if p.folded != nil && bits.OnesCount64(n) == 1 {
		if p.err == nil {
			p.proof, p.err = p.folded.Siblings(p.proof, index, bits.TrailingZeros64(n))
		}
		return
	}
	if n == 1 {
		return
	}
	k := split(n)
	if index < first+k {
		p.path(index, first, k)
		p.proof = append(p.proof, p.subtree(first+k, n-k))
		return
	}
	p.path(index, first+k, n-k)
	p.proof = append(p.proof, p.subtree(first, k))
}

// subproof is SUBPROOF(m, D[first:first+n], known): known says that the verifier
// already has the root of these n leaves, because it is the old tree.
func (p *prover) subproof(m, first, n uint64, known bool) {
	if m == n {
		if !known {
			p.proof = append(p.proof, p.subtree(first, n))
		}
		return
	}
	k := split(n)
	if m <= k {
		p.subproof(m, first, k, known)
		p.proof = append(p.proof, p.subtree(first+k, n-k))
		return
	}
	p.subproof(m-k, first+k, n-k, false)
	p.proof = append(p.proof, p.subtree(first, k))
}

// split returns the largest power of two smaller than n, for n > 1.
func split(n uint64) uint64 { return 1 << (bits.Len64(n-1) - 1) }

// subtree is MTH(D[first:first+n]) for n >= 1.
func (p *prover) subtree(first, n uint64) Hash {
	if bits.OnesCount64(n) == 1 {
		level := bits.TrailingZeros64(n)
		return p.complete(level, first>>level)
	}
	k := split(n)
	return NodeHash(p.subtree(first, k), p.subtree(first+k, n-k))
}

// complete returns the root of the index-th complete subtree of 2^level leaves,
// folded from the 2^(level mod 8) hashes that the tile level below stores of it.
func (p *prover) complete(level int, index uint64) Hash {
	if p.folded != nil {
		if p.err != nil {
			return Hash{}
		}
		root, err := p.folded.Subtree(level, index)
		p.err = err
		return root
	}
	inTile := level % TileHeight
	width := 1 << inTile
	start := index << inTile
	tile := p.tile(uint8(level/TileHeight), start/TileWidth)
	offset := int(start % TileWidth)
	if p.err != nil {
		return Hash{}
	}
	if len(tile) < offset+width {
		p.err = fmt.Errorf("%w: level %d tile %d holds %d hashes, need %d",
			ErrTile, level/TileHeight, start/TileWidth, len(tile), offset+width)
		return Hash{}
	}
	var row [TileWidth / 2]Hash
	copy(row[:], tile[offset:offset+width])
	for ; width > 1; width /= 2 {
		for i := range width / 2 {
			row[i] = NodeHash(row[2*i], row[2*i+1])
		}
	}
	return row[0]
}

func (p *prover) tile(level uint8, index uint64) []Hash {
	if p.err != nil {
		return nil
	}
	for i := range p.tiles {
		if t := &p.tiles[i]; t.level == level && t.index == index {
			return t.hashes
		}
	}
	hashes, err := p.reader.Tile(level, index)
	if err != nil {
		p.err = fmt.Errorf("bookpi: level %d tile %d: %w", level, index, err)
		return nil
	}
	p.tiles = append(p.tiles, readTile{level, index, hashes})
	return hashes
}
