package bookpi

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
)

const (
	reasonLink = "its previous hash is not that of the entry before"
	reasonTime = "its timestamp is before that of the entry before"
)

// auditedBundle is what a worker found in up to 256 entries. What concerns the entries
// before them is left to the goroutine that has seen those.
type auditedBundle struct {
	first  uint64 // position of its first entry
	leaves []Hash // of every entry; none if neither entries nor hashes can be read
	root   Hash   // over the leaves, if there are 256

	linked   bool // the first entry is readable and names previous
	previous Hash

	timed               bool // there is a readable entry
	firstTimed          uint64
	firstTime, lastTime int64

	payloads, withheld uint64
	damages            []*BrokenError
	err                error // the source failed: not damage
}

func (b *auditedBundle) damaged(offset int, part, reason string, cause error) {
	b.damages = append(b.damages, brokenAt(b.first+uint64(offset), part, reason, cause))
}

// bundle reads and checks one bundle with its tile and its payloads.
func (a *audit) bundle(ctx context.Context, index uint64) auditedBundle {
	b := auditedBundle{first: index * TileWidth}
	width := TileSpan(0, index, a.cp.Size)
	path := func(width int) string { return EntriesPath(index, width) }
	f, got, err := fetchSpan(ctx, a.src, path, width, MaxEntryBundle)
	if err != nil {
		b.err = err
		return b
	}
	var entries [][]byte
	if f.problem == "" {
		var malformed error
		if entries, malformed = ParseEntryBundle(f.data, got); malformed != nil {
			f.problem = malformed.Error()
		}
		entries = entries[:min(len(entries), width)]
	}
	if f.problem != "" {
		// What follows the last entry hangs on that entry.
		b.damaged(min(len(entries), width-1), PartEntry, f.problem, nil)
	}
	var whole entrySet
	if b.err = a.settle(ctx, &b, index, width, entries, &whole); b.err != nil || len(b.leaves) == 0 {
		return b
	}
	if width == TileWidth {
		b.root = foldTile(b.leaves)
	}
	b.checkEntries(entries, &whole)
	b.err = a.checkPayloads(ctx, &b, index, width, entries, &whole)
	return b
}

// entrySet marks the entries of a bundle whose bytes are what the log holds.
type entrySet [TileWidth]bool

// settle decides on the bundle's leaf hashes. Where entries and the stored tile
// disagree, those are right that lead to the signed root.
func (a *audit) settle(ctx context.Context, b *auditedBundle, index uint64, width int, entries [][]byte, whole *entrySet) error {
	tile := Tile{0, index, width}
	stored, problem, err := fetchTile(ctx, a.src, tile)
	if err != nil {
		return err
	}
	if problem != "" {
		b.damaged(0, PartTile, problem, nil)
	}
	leaves := make([]Hash, len(entries), TileWidth)
	for i, encoded := range entries {
		leaves[i] = LeafHash(encoded)
		whole[i] = true
	}
	if len(entries) < width {
		if problem != "" {
			return nil
		}
		leaves = append(leaves, stored[len(entries):]...)
	}
	b.leaves = leaves
	if problem != "" || slices.Equal(leaves, stored) {
		return nil
	}
	tileIsRight := a.isSigned(ctx, index, stored)
	tileIsWrong := !tileIsRight && a.isSigned(ctx, index, leaves)
	for i := range leaves {
		switch {
		case leaves[i] == stored[i]:
		case tileIsWrong:
			b.damages = append(b.damages, brokenHash(tile, i))
		case tileIsRight:
			whole[i] = false
			b.damaged(i, PartEntry, "the entry does not have its recorded hash", nil)
		default:
			b.damaged(i, PartEntry, "the entry does not have its recorded hash, and neither leads to the signed root", nil)
		}
	}
	if tileIsRight {
		b.leaves = stored
	}
	return nil
}

// isSigned reports whether these leaf hashes, in the place of the given tile, lead to
// the root of the newest checkpoint, along the tiles that the source has.
func (a *audit) isSigned(ctx context.Context, index uint64, leaves []Hash) bool {
	first := index * TileWidth
	proof, err := InclusionProof(a.cp.Size, first, sourceTiles{ctx, a.src, a.cp.Size, index, leaves})
	return err == nil && VerifyInclusion(leaves[0], first, a.cp.Size, proof, a.cp.Root) == nil
}

// checkEntries checks what the entries say. The hash before the first one is not known
// here.
func (b *auditedBundle) checkEntries(entries [][]byte, whole *entrySet) {
	for i, encoded := range entries {
		if !whole[i] {
			continue
		}
		if err := checkEntry(encoded); err != nil {
			b.damaged(i, PartEntry, err.Error(), err)
			continue
		}
		previous := Hash(encoded[offPrevious:offLengths])
		if i == 0 {
			b.linked, b.previous = true, previous
		} else if previous != b.leaves[i-1] {
			b.damaged(i, PartChain, reasonLink, nil)
		}
		at := int64(binary.BigEndian.Uint64(encoded[offTimestamp:]))
		if !b.timed {
			b.timed, b.firstTimed, b.firstTime = true, b.first+uint64(i), at
		} else if at < b.lastTime {
			b.damaged(i, PartTime, reasonTime, nil)
		}
		b.lastTime = at
	}
}

// checkPayloads compares the payloads with the digests in the entries.
func (a *audit) checkPayloads(ctx context.Context, b *auditedBundle, index uint64, width int, entries [][]byte, whole *entrySet) error {
	if a.opts.Payloads == PayloadsIgnored {
		b.withheld = uint64(width)
		return nil
	}
	required := a.opts.Payloads == PayloadsRequired
	path := func(width int) string { return PayloadsPath(index, width) }
	f, got, err := fetchSpan(ctx, a.src, path, width, MaxPayloadBundle)
	if err != nil {
		return err
	}
	if f.missing && !required {
		b.withheld = uint64(width)
		return nil
	}
	var payloads []BundledPayload
	if f.problem == "" {
		var malformed error
		if payloads, malformed = ParsePayloadBundle(f.data, got); malformed != nil {
			f.problem = malformed.Error()
		}
		payloads = payloads[:min(len(payloads), width)]
	}
	if f.problem != "" {
		b.damaged(min(len(payloads), width-1), PartPayload, f.problem, nil)
	}
	for i, p := range payloads {
		switch {
		case p.Withheld:
			b.withheld++
			if required {
				b.damaged(i, PartPayload, "the payload is withheld", nil)
			}
		case i >= len(entries) || !whole[i]: // no digest to compare with
		case PayloadDigest(p.Data) != Hash(entries[i][offDigest:]):
			b.damaged(i, PartPayload, "it is not the payload that the entry commits to", nil)
		default:
			b.payloads++
		}
	}
	return nil
}

// fetchTile returns the hashes of a tile, or why it cannot be used.
func fetchTile(ctx context.Context, src Source, t Tile) (hashes []Hash, problem string, err error) {
	path := func(width int) string { return Tile{t.Level, t.Index, width}.Path() }
	f, got, err := fetchSpan(ctx, src, path, t.Width, TileWidth*HashSize)
	if err != nil || f.problem != "" {
		return nil, f.problem, err
	}
	hashes, malformed := ParseTile(f.data, got)
	if malformed != nil {
		return nil, fmt.Sprintf("%s: %v", path(got), malformed), nil
	}
	return hashes[:t.Width], "", nil
}

// first returns the position of the first entry that the tile covers.
func (t Tile) first() uint64 { return t.Index << (TileHeight * (uint(t.Level) + 1)) }

// brokenHash is the damage of hash i of a tile, at the first entry below that hash.
func brokenHash(t Tile, i int) *BrokenError {
	position := (t.Index*TileWidth + uint64(i)) << (TileHeight * uint(t.Level))
	return brokenAt(position, PartTile, fmt.Sprintf("hash %d of %s is not the one that the entries give", i, t.Path()), nil)
}

// foldTile returns the root over a full tile.
func foldTile(tile []Hash) Hash {
	var row [TileWidth / 2]Hash
	for i := range row {
		row[i] = NodeHash(tile[2*i], tile[2*i+1])
	}
	for width := len(row) / 2; width > 0; width /= 2 {
		for i := range width {
			row[i] = NodeHash(row[2*i], row[2*i+1])
		}
	}
	return row[0]
}
