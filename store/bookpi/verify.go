package bookpi

import (
	"fmt"
	"math/bits"
)

// VerifyInclusion returns nil if proof connects leaf, at position index, with the
// root of a tree of size leaves (RFC 9162, section 2.1.3.2). The proof must have
// exactly the length the two numbers imply. Errors wrap [ErrRange] or [ErrProof].
func VerifyInclusion(leaf Hash, index, size uint64, proof []Hash, root Hash) error {
	if size > MaxSize || index >= size {
		return fmt.Errorf("%w: entry %d in a tree of %d", ErrRange, index, size)
	}
	fn, sn := index, size-1 // the node's index at each level, and the last node's
	h := leaf
	for _, sibling := range proof {
		if sn == 0 {
			return fmt.Errorf("%w: inclusion proof is too long", ErrProof)
		}
		if fn&1 == 1 || fn == sn {
			h = NodeHash(sibling, h)
			// A last node without sibling rises until it is a right child.
			shift := bits.TrailingZeros64(fn)
			fn >>= shift
			sn >>= shift
		} else {
			h = NodeHash(h, sibling)
		}
		fn >>= 1
		sn >>= 1
	}
	if sn != 0 {
		return fmt.Errorf("%w: inclusion proof is too short", ErrProof)
	}
	if h != root {
		return fmt.Errorf("%w: inclusion proof leads to another root", ErrProof)
	}
	return nil
}

// VerifyConsistency returns nil if proof shows that the tree of newSize leaves with
// newRoot begins with the tree of oldSize leaves with oldRoot (RFC 9162, section
// 2.1.4.2). The empty tree is a prefix of every tree, by an empty proof. A newSize
// below oldSize, a log rolled back, is refused. Errors wrap [ErrRange] or [ErrProof].
func VerifyConsistency(oldSize, newSize uint64, oldRoot, newRoot Hash, proof []Hash) error {
	if newSize > MaxSize || oldSize > newSize {
		return fmt.Errorf("%w: tree of %d in a tree of %d", ErrRange, oldSize, newSize)
	}
	if oldSize == 0 && oldRoot != emptyRoot() {
		return fmt.Errorf("%w: the old root is not that of an empty tree", ErrProof)
	}
	if oldSize == newSize && oldRoot != newRoot {
		return fmt.Errorf("%w: two roots at size %d", ErrProof, newSize)
	}
	if oldSize == 0 || oldSize == newSize {
		if len(proof) != 0 {
			return fmt.Errorf("%w: consistency proof is too long", ErrProof)
		}
		return nil
	}
	// A complete old tree is its own starting point and is left out of the proof.
	start := oldRoot
	if bits.OnesCount64(oldSize) != 1 {
		if len(proof) == 0 {
			return fmt.Errorf("%w: consistency proof is too short", ErrProof)
		}
		start, proof = proof[0], proof[1:]
	}
	fn, sn := oldSize-1, newSize-1
	shift := bits.TrailingZeros64(^fn)
	fn >>= shift
	sn >>= shift
	oldHash, newHash := start, start
	for _, c := range proof {
		if sn == 0 {
			return fmt.Errorf("%w: consistency proof is too long", ErrProof)
		}
		if fn&1 == 1 || fn == sn {
			oldHash = NodeHash(c, oldHash)
			newHash = NodeHash(c, newHash)
			shift := bits.TrailingZeros64(fn)
			fn >>= shift
			sn >>= shift
		} else {
			newHash = NodeHash(newHash, c)
		}
		fn >>= 1
		sn >>= 1
	}
	if sn != 0 {
		return fmt.Errorf("%w: consistency proof is too short", ErrProof)
	}
	if oldHash != oldRoot || newHash != newRoot {
		return fmt.Errorf("%w: consistency proof leads to another root", ErrProof)
	}
	return nil
}
