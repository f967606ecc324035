package bookpi

import (
	"fmt"
	"strings"
	"testing"
)

// benchEntry is 281 bytes long when encoded, the record size that other ledgers were
// measured with.
var benchEntry = Entry{
	Timestamp: 1_763_781_234_567_890,
	Tenant:    "plaza",
	Actor:     "did:tamv:user:" + strings.Repeat("9f3c2a71", 18)[:143],
	Action:    "intent.execute",
	Outcome:   "completed",
}

// Writing one entry: validate, encode, hash, link, append to the tree.
func BenchmarkAppend(b *testing.B) {
	e := benchEntry
	var tree Tree
	var buf []byte
	emitted := 0
	emit := func(uint8, uint64, Hash) { emitted++ }
	b.ReportAllocs()
	for b.Loop() {
		e.Timestamp++
		buf = e.Append(buf[:0])
		e.Previous = LeafHash(buf)
		tree.Append(e.Previous, emit)
	}
	b.SetBytes(int64(len(buf)))
	if uint64(emitted) < tree.Size() {
		b.Fatal("hashes were not emitted")
	}
}

func BenchmarkParseEntry(b *testing.B) {
	encoded := benchEntry.Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseEntry(encoded); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkInclusionProof(b *testing.B) {
	big := bigLog()
	i := uint64(0)
	for b.Loop() {
		i = (i + 7919) % big.tree.Size()
		if _, err := InclusionProof(big.tree.Size(), i, big.tiles); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyInclusion(b *testing.B) {
	big := bigLog()
	const index = 40_961
	size := big.tree.Size()
	proof, err := InclusionProof(size, index, big.tiles)
	if err != nil {
		b.Fatal(err)
	}
	leaf, root := bigLeaf(index), big.tree.Root()
	for b.Loop() {
		if err := VerifyInclusion(leaf, index, size, proof, root); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyBundle(b *testing.B) {
	for _, entries := range []int{1, 1000} {
		b.Run(fmt.Sprint(entries), func(b *testing.B) {
			l := newLedger(9, 4096)
			positions := make([]uint64, entries)
			for i := range positions {
				positions[i] = uint64(i)
			}
			data := l.bundle(positions...).Encode()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := VerifyBundle(data, l.key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
