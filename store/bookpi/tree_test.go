package bookpi

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

// The leaves and roots of the reference implementation of RFC 6962
// (google/certificate-transparency, merkletree tests).
var (
	rfcLeaves = []string{
		"", "00", "10", "2021", "3031", "40414243", "5051525354555657",
		"606162636465666768696a6b6c6d6e6f",
	}
	rfcRoots = []string{
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
)

func TestRFC6962Roots(t *testing.T) {
	var tree Tree
	tiles := memTiles{}
	for size, want := range rfcRoots {
		if got := tree.Root().String(); got != want {
			t.Errorf("size %d: root %s, want %s", size, got, want)
		}
		if got, err := RootAt(uint64(size), tiles); err != nil || got.String() != want {
			t.Errorf("size %d: RootAt %s, %v, want %s", size, got, err, want)
		}
		if size < len(rfcLeaves) {
			leaf, err := hex.DecodeString(rfcLeaves[size])
			if err != nil {
				t.Fatal(err)
			}
			tree.Append(LeafHash(leaf), tiles.emit)
		}
	}
}

// oracle holds the tree of bigLog as golang.org/x/mod/sumdb/tlog stores it.
func oracle(t *testing.T, size uint64) tlog.HashReaderFunc {
	t.Helper()
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	for i := range size {
		hashes, err := tlog.StoredHashesForRecordHash(int64(i), tlog.Hash(bigLeaf(i)), read)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hashes...)
	}
	return read
}

// genSize draws sizes up to limit, with a liking for the edges of subtrees and tiles.
func genSize(low, limit uint64) *rapid.Generator[uint64] {
	return rapid.Custom(func(t *rapid.T) uint64 {
		if rapid.Bool().Draw(t, "anywhere") {
			return rapid.Uint64Range(low, limit).Draw(t, "size")
		}
		edge := uint64(1) << rapid.IntRange(0, 16).Draw(t, "power")
		return min(max(edge+rapid.Uint64Range(0, 2).Draw(t, "beside")-1, low), limit)
	})
}

func TestAgreesWithTlog(t *testing.T) {
	big := bigLog()
	limit := big.tree.Size()
	theirs := oracle(t, limit)
	rapid.Check(t, func(t *rapid.T) {
		size := genSize(1, limit).Draw(t, "size")
		index := rapid.Uint64Range(0, size-1).Draw(t, "index")
		old := genSize(1, size).Draw(t, "old size")

		root, err := RootAt(size, big.tiles)
		if err != nil {
			t.Fatal(err)
		}
		want, err := tlog.TreeHash(int64(size), theirs)
		if err != nil {
			t.Fatal(err)
		}
		if root != Hash(want) || root != big.roots[size] {
			t.Fatalf("root at %d: %v, tlog has %v, Tree had %v", size, root, Hash(want), big.roots[size])
		}

		inclusion, err := InclusionProof(size, index, big.tiles)
		if err != nil {
			t.Fatal(err)
		}
		wantInclusion, err := tlog.ProveRecord(int64(size), int64(index), theirs)
		if err != nil {
			t.Fatal(err)
		}
		equalProofs(t, inclusion, wantInclusion)
		if err := VerifyInclusion(bigLeaf(index), index, size, inclusion, root); err != nil {
			t.Fatal(err)
		}

		consistency, err := ConsistencyProof(old, size, big.tiles)
		if err != nil {
			t.Fatal(err)
		}
		wantConsistency, err := tlog.ProveTree(int64(size), int64(old), theirs)
		if err != nil {
			t.Fatal(err)
		}
		equalProofs(t, consistency, wantConsistency)
		if err := VerifyConsistency(old, size, big.roots[old], root, consistency); err != nil {
			t.Fatal(err)
		}
	})
}

// What Append emits, cut into tiles, is what other tools expect under a tile's name.
func TestTilesAgreeWithTlog(t *testing.T) {
	big := bigLog()
	theirs := oracle(t, big.tree.Size())
	widths := map[uint8]int{} // of the last tile at each level
	for _, tile := range tlog.NewTiles(TileHeight, 0, int64(big.tree.Size())) {
		level := uint8(tile.L)
		got, err := big.tiles.Tile(level, uint64(tile.N))
		if err != nil {
			t.Fatal(err)
		}
		want, err := tlog.ReadTileData(tile, theirs)
		if err != nil {
			t.Fatal(err)
		}
		var flat []byte
		for _, h := range got {
			flat = append(flat, h[:]...)
		}
		if !bytes.Equal(flat, want) {
			t.Errorf("%s differs", tile.Path())
		}
		widths[level] = len(got)
	}
	if len(widths) != 3 || widths[0] != 66_000%TileWidth || widths[2] != 1 {
		t.Errorf("last tiles are %v hashes wide", widths)
	}
}

func equalProofs[T ~[]tlog.Hash](t *rapid.T, got []Hash, want T) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d hashes, tlog has %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != Hash(want[i]) {
			t.Fatalf("hash %d: %v, tlog has %v", i, got[i], Hash(want[i]))
		}
	}
}

// Every pair of small sizes, so that no shape of tree is left to chance.
func TestAllSmallProofs(t *testing.T) {
	const limit = 70
	big := bigLog()
	for size := uint64(0); size <= limit; size++ {
		for x := range size {
			proof, err := InclusionProof(size, x, big.tiles)
			if err != nil {
				t.Fatal(err)
			}
			if err := VerifyInclusion(bigLeaf(x), x, size, proof, big.roots[size]); err != nil {
				t.Fatalf("inclusion of %d in %d: %v", x, size, err)
			}
			refuseAlteredInclusion(t, x, size, proof, big.roots[size])
		}
		for old := uint64(0); old <= size; old++ {
			proof, err := ConsistencyProof(old, size, big.tiles)
			if err != nil {
				t.Fatal(err)
			}
			if err := VerifyConsistency(old, size, big.roots[old], big.roots[size], proof); err != nil {
				t.Fatalf("consistency of %d with %d: %v", old, size, err)
			}
			refuseAlteredConsistency(t, old, size, proof)
		}
	}
}

func refuseAlteredInclusion(t *testing.T, index, size uint64, proof []Hash, root Hash) {
	t.Helper()
	leaf := bigLeaf(index)
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrProof) && !errors.Is(err, ErrRange) {
			t.Fatalf("inclusion of %d in %d, %s: %v", index, size, what, err)
		}
	}
	refused("longer", VerifyInclusion(leaf, index, size, append(proof[:len(proof):len(proof)], root), root))
	if len(proof) > 0 {
		refused("shorter", VerifyInclusion(leaf, index, size, proof[:len(proof)-1], root))
		refused("without its first", VerifyInclusion(leaf, index, size, proof[1:], root))
	}
	refused("other leaf", VerifyInclusion(bigLeaf(index+1), index, size, proof, root))
	refused("next index", VerifyInclusion(leaf, index+1, size, proof, root))
	refused("index beyond", VerifyInclusion(leaf, size, size, proof, root))
	refused("empty root", VerifyInclusion(leaf, index, size, proof, emptyRoot()))
}

func refuseAlteredConsistency(t *testing.T, old, size uint64, proof []Hash) {
	t.Helper()
	roots := bigLog().roots
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrProof) && !errors.Is(err, ErrRange) {
			t.Fatalf("consistency of %d with %d, %s: %v", old, size, what, err)
		}
	}
	refused("longer", VerifyConsistency(old, size, roots[old], roots[size], append(proof[:len(proof):len(proof)], roots[old])))
	if len(proof) > 0 {
		refused("shorter", VerifyConsistency(old, size, roots[old], roots[size], proof[:len(proof)-1]))
		refused("none", VerifyConsistency(old, size, roots[old], roots[size], nil))
		refused("rolled back", VerifyConsistency(size, old, roots[size], roots[old], proof))
		refused("other new root", VerifyConsistency(old, size, roots[old], roots[old], proof))
	}
	refused("other old root", VerifyConsistency(old, size, roots[old+1], roots[size], proof))
}

// Flip every byte of a proof, of the leaf and of the root.
func TestFlippedProofBytes(t *testing.T) {
	const size, index, old = 66_000, 40_961, 41_003
	big := bigLog()
	inclusion, err := InclusionProof(size, index, big.tiles)
	if err != nil {
		t.Fatal(err)
	}
	consistency, err := ConsistencyProof(old, size, big.tiles)
	if err != nil {
		t.Fatal(err)
	}
	leaf, root, oldRoot := bigLeaf(index), big.roots[size], big.roots[old]
	for _, mask := range []byte{0x01, 0x80} {
		for i := range HashSize {
			for _, h := range inclusionHashes(&leaf, &root, inclusion) {
				h[i] ^= mask
				wantIs(t, VerifyInclusion(leaf, index, size, inclusion, root), ErrProof)
				h[i] ^= mask
			}
			for _, h := range inclusionHashes(&oldRoot, &root, consistency) {
				h[i] ^= mask
				wantIs(t, VerifyConsistency(old, size, oldRoot, root, consistency), ErrProof)
				h[i] ^= mask
			}
		}
	}
	if err := VerifyInclusion(leaf, index, size, inclusion, root); err != nil {
		t.Error(err)
	}
	if err := VerifyConsistency(old, size, oldRoot, root, consistency); err != nil {
		t.Error(err)
	}
}

func inclusionHashes(a, b *Hash, proof []Hash) []*Hash {
	all := []*Hash{a, b}
	for i := range proof {
		all = append(all, &proof[i])
	}
	return all
}

func TestConsistencyFromEmpty(t *testing.T) {
	roots := bigLog().roots
	wantIs(t, VerifyConsistency(0, 5, roots[1], roots[5], nil), ErrProof)
	wantIs(t, VerifyConsistency(0, 5, roots[0], roots[5], []Hash{{}}), ErrProof)
	wantIs(t, VerifyConsistency(5, 5, roots[5], roots[4], nil), ErrProof)
	wantIs(t, VerifyConsistency(3, MaxSize+1, roots[3], roots[5], nil), ErrRange)
	wantIs(t, VerifyInclusion(Hash{}, 0, MaxSize+1, nil, Hash{}), ErrRange)
}

// A proof of the greatest depth must neither overflow nor pass.
func TestDeepProofs(t *testing.T) {
	proof := make([]Hash, 62)
	for _, index := range []uint64{0, 1, MaxSize / 2, MaxSize - 1} {
		wantIs(t, VerifyInclusion(Hash{}, index, MaxSize, proof, Hash{}), ErrProof)
	}
	wantIs(t, VerifyConsistency(MaxSize-1, MaxSize, Hash{}, Hash{}, proof), ErrProof)
}

func TestProverErrors(t *testing.T) {
	big := bigLog()
	size := big.tree.Size()
	_, err := InclusionProof(5, 5, big.tiles)
	wantIs(t, err, ErrRange)
	_, err = InclusionProof(MaxSize+1, 5, big.tiles)
	wantIs(t, err, ErrRange)
	_, err = ConsistencyProof(6, 5, big.tiles)
	wantIs(t, err, ErrRange)
	_, err = RootAt(MaxSize+1, big.tiles)
	wantIs(t, err, ErrRange)
	_, err = RootAt(size+1, big.tiles)
	wantIs(t, err, ErrTile)
	_, err = InclusionProof(size+1, 0, big.tiles)
	wantIs(t, err, ErrTile)
	_, err = ConsistencyProof(size, size+TileWidth, big.tiles)
	wantIs(t, err, ErrTile)
	_, err = RootAt(1<<30, big.tiles)
	wantIs(t, err, errNoTile)
}

// Property: a tree restored from its bytes goes on as the original does, and equal
// trees have equal bytes.
func TestTreeStateRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Uint64Range(0, 600).Draw(t, "size")
		more := rapid.Uint64Range(0, 300).Draw(t, "more")
		var tree Tree
		for i := range size {
			tree.Append(bigLeaf(i), nil)
		}
		state, err := tree.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var restored Tree
		if err := restored.UnmarshalBinary(state); err != nil {
			t.Fatal(err)
		}
		if again, _ := restored.MarshalBinary(); !bytes.Equal(again, state) {
			t.Fatal("restored tree has other bytes")
		}
		copied := tree
		for i := range more {
			tree.Append(bigLeaf(size+i), nil)
			restored.Append(bigLeaf(size+i), nil)
		}
		if tree.Root() != restored.Root() || tree.Size() != restored.Size() {
			t.Fatal("restored tree went another way")
		}
		if copied.Size() != size || copied.Root() != bigLog().roots[size] {
			t.Fatal("a copy changed with its original")
		}
		a, _ := tree.MarshalBinary()
		b, _ := restored.MarshalBinary()
		if !bytes.Equal(a, b) {
			t.Fatal("equal trees have different bytes")
		}
	})
}

func TestTreeStateRefuses(t *testing.T) {
	big := bigLog().tree
	state, err := big.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	tooBig := append([]byte(treeMagic), 0, 0, 0, 0, 0, 0, 0, 0)
	binary.BigEndian.PutUint64(tooBig[4:], MaxSize+1)
	for name, b := range map[string][]byte{
		"nothing":   nil,
		"short":     state[:len(state)-1],
		"long":      append(bytes.Clone(state), 0),
		"magic":     append([]byte("BPT\x02"), state[4:]...),
		"too big":   append(tooBig, make([]byte, 2*HashSize)...),
		"no hashes": state[:12],
	} {
		tree := big
		if err := tree.UnmarshalBinary(b); !errors.Is(err, ErrTree) {
			t.Errorf("%s: %v", name, err)
		}
		if tree != big {
			t.Errorf("%s: the tree changed", name)
		}
	}
}

func TestFullTreePanics(t *testing.T) {
	state := binary.BigEndian.AppendUint64([]byte(treeMagic), MaxSize)
	var tree Tree
	if err := tree.UnmarshalBinary(append(state, make([]byte, HashSize)...)); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("appended to a full tree")
		}
	}()
	tree.Append(Hash{}, nil)
}

func FuzzTreeState(f *testing.F) {
	for _, size := range []uint64{0, 1, 7} {
		var tree Tree
		for i := range size {
			tree.Append(bigLeaf(i), nil)
		}
		state, _ := tree.MarshalBinary()
		f.Add(state)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var tree Tree
		if err := tree.UnmarshalBinary(b); err != nil {
			wantIs(t, err, ErrTree)
			return
		}
		if again, _ := tree.MarshalBinary(); !bytes.Equal(again, b) {
			t.Fatalf("%x marshals as %x", b, again)
		}
	})
}
