package bookpi

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

const (
	// TileHeight is the height of a tile in tree levels (C2SP tlog-tiles).
	TileHeight = 8
	// TileWidth is the number of hashes in a full tile.
	TileWidth = 1 << TileHeight
	// MaxSize is the largest number of entries a tree, a checkpoint or a proof may
	// speak of. Below it no arithmetic here overflows.
	MaxSize = 1 << 62
)

const treeMagic = "BPT\x01"

// Tree is the growing edge of a Merkle tree (RFC 6962): its size and the roots of
// its complete subtrees, largest first when marshalled. The zero value is the empty
// tree. A Tree is a plain value, about 2 KB: an assignment is an independent copy,
// which is how a caller tries an append and discards it.
type Tree struct {
	size uint64
	// peaks[l] is the root of the complete subtree of 2^l leaves that ends the tree
	// at that level; meaningful only where bit l of size is set.
	peaks [63]Hash
}

// Size returns the number of leaves.
func (t *Tree) Size() uint64 { return t.size }

// Root returns the root hash; for the empty tree, SHA-256 of nothing.
func (t *Tree) Root() Hash {
	if t.size == 0 {
		return emptyRoot()
	}
	lowest := bits.TrailingZeros64(t.size)
	root := t.peaks[lowest]
	for level := lowest + 1; t.size>>level != 0; level++ {
		if t.size>>level&1 == 1 {
			root = NodeHash(t.peaks[level], root)
		}
	}
	return root
}

// Append adds a leaf. If emit is not nil it is called for every hash that tiles
// store: with (0, position, leaf) for the leaf itself, then for each tile level k >= 1
// whose subtree of 256^k leaves this leaf completes, with that subtree's root and its
// index among the hashes of level k. Hash index i at a level lies in tile i/256 at
// offset i%256. It panics at [MaxSize] leaves.
func (t *Tree) Append(leaf Hash, emit func(level uint8, index uint64, h Hash)) {
	if t.size >= MaxSize {
		panic("bookpi: tree is full")
	}
	if emit != nil {
		emit(0, t.size, leaf)
	}
	h, level := leaf, 0
	for ; t.size>>level&1 == 1; level++ {
		h = NodeHash(t.peaks[level], h)
		if above := level + 1; emit != nil && above%TileHeight == 0 {
			emit(uint8(above/TileHeight), t.size>>above, h)
		}
	}
	t.peaks[level] = h
	t.size++
}

// MarshalBinary returns the state: "BPT", version 1, the size as 8 big-endian bytes,
// and one hash per set bit of the size, largest subtree first. Equal trees give equal
// bytes. The error is always nil.
func (t *Tree) MarshalBinary() ([]byte, error) {
	b := make([]byte, 0, len(treeMagic)+8+HashSize*bits.OnesCount64(t.size))
	b = append(b, treeMagic...)
	b = binary.BigEndian.AppendUint64(b, t.size)
	for level := bits.Len64(t.size) - 1; level >= 0; level-- {
		if t.size>>level&1 == 1 {
			b = append(b, t.peaks[level][:]...)
		}
	}
	return b, nil
}

// UnmarshalBinary reads exactly what [Tree.MarshalBinary] writes. On error, which
// wraps [ErrTree], the tree is unchanged.
func (t *Tree) UnmarshalBinary(b []byte) error {
	const header = len(treeMagic) + 8
	if len(b) < header || string(b[:len(treeMagic)]) != treeMagic {
		return fmt.Errorf("%w: not a tree of version 1", ErrTree)
	}
	size := binary.BigEndian.Uint64(b[len(treeMagic):])
	if size > MaxSize {
		return fmt.Errorf("%w: size %d is beyond the limit", ErrTree, size)
	}
	rest := b[header:]
	if want := HashSize * bits.OnesCount64(size); len(rest) != want {
		return fmt.Errorf("%w: %d bytes of hashes, size %d needs %d", ErrTree, len(rest), size, want)
	}
	read := Tree{size: size}
	for level := bits.Len64(size) - 1; level >= 0; level-- {
		if size>>level&1 == 1 {
			read.peaks[level], rest = Hash(rest), rest[HashSize:]
		}
	}
	*t = read
	return nil
}
