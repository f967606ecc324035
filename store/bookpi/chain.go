package bookpi

import "fmt"

// Chain checks a whole ledger entry by entry: it recomputes the hash chain and the
// Merkle tree. The zero value stands before entry 0; [ResumeChain] continues from a
// state that was verified before. A failed call leaves the chain as it was.
type Chain struct {
	tree Tree
	head Hash // LeafHash of the last entry, GenesisHash before entry 0
}

// ResumeChain returns a chain that continues after tree.Size() entries, of which the
// last has the leaf hash head.
func ResumeChain(tree Tree, head Hash) *Chain { return &Chain{tree: tree, head: head} }

// Add checks the next entry's encoding: it must parse and name the entry before as
// its previous. The error is a [*BrokenError] at this entry's position.
//
// The chain alone shows an altered entry only at its successor, whose link then
// breaks; whoever keeps the leaf hashes should use [Chain.AddLeaf], which names the
// altered entry itself.
func (c *Chain) Add(encoded []byte) error {
	return c.add(encoded, LeafHash(encoded))
}

// AddLeaf is [Chain.Add] for an entry whose leaf hash was recorded when it was
// appended (tile level 0). An entry that no longer hashes to want is broken itself,
// not its successor.
func (c *Chain) AddLeaf(encoded []byte, want Hash) error {
	leaf := LeafHash(encoded)
	if leaf != want {
		return brokenAt(c.tree.size, PartEntry, "the entry does not have its recorded hash", nil)
	}
	return c.add(encoded, leaf)
}

func (c *Chain) add(encoded []byte, leaf Hash) error {
	if err := checkEntry(encoded); err != nil {
		return brokenAt(c.tree.size, PartEntry, err.Error(), err)
	}
	if Hash(encoded[offPrevious:offLengths]) != c.head {
		return brokenAt(c.tree.size, PartChain, "its previous hash is not that of the entry before", nil)
	}
	c.tree.Append(leaf, nil)
	c.head = leaf
	return nil
}

// Check compares what was added with a checkpoint of the same size, which the caller
// has opened. The error is a [*BrokenError] of the checkpoint: a shorter chain is a
// truncated ledger, another root means that entries were replaced.
func (c *Chain) Check(cp Checkpoint) error {
	if c.tree.size != cp.Size {
		return broken(PartCheckpoint, fmt.Sprintf("it covers %d entries, the chain has %d", cp.Size, c.tree.size), nil)
	}
	if c.tree.Root() != cp.Root {
		return broken(PartCheckpoint, fmt.Sprintf("it has another root for these %d entries", cp.Size), nil)
	}
	return nil
}

// Size returns the number of entries added, which is the position of the next.
func (c *Chain) Size() uint64 { return c.tree.size }

// Head returns the leaf hash of the last entry, [GenesisHash] before the first.
func (c *Chain) Head() Hash { return c.head }

// Root returns the root over the entries added.
func (c *Chain) Root() Hash { return c.tree.Root() }
