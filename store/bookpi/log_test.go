package bookpi

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// memTiles stores what Tree.Append emits, as store does, and serves it as tiles.
type memTiles map[uint8][]Hash

func (m memTiles) emit(level uint8, index uint64, h Hash) {
	if index != uint64(len(m[level])) {
		panic(fmt.Sprintf("level %d: hash %d emitted after %d", level, index, len(m[level])))
	}
	m[level] = append(m[level], h)
}

func (m memTiles) Tile(level uint8, index uint64) ([]Hash, error) {
	first := index * TileWidth
	if first >= uint64(len(m[level])) {
		return nil, errNoTile
	}
	return m[level][first:min(first+TileWidth, uint64(len(m[level])))], nil
}

var errNoTile = errors.New("no such tile")

// ledger is a complete small log with everything a bundle is made from.
type ledger struct {
	entries  [][]byte
	payloads [][]byte
	tree     Tree
	head     Hash
	tiles    memTiles
	signer   LogKeys // Ed25519 alone
	key      string  // verifier key
}

const testOrigin = "tamv.test/bookpi"

func newLedger(seed byte, size int) *ledger {
	k, err := GenerateSigningKey(bytes.NewReader(bytes.Repeat([]byte{seed}, seedSize)), testOrigin, AlgorithmEd25519)
	if err != nil {
		panic(err)
	}
	l := &ledger{tiles: memTiles{}, signer: LogKeys{[]*SigningKey{k}}, key: k.Verifier().String()}
	for i := range size {
		l.add(fmt.Appendf(nil, "payload %d of ledger %d", i, seed))
	}
	return l
}

func (l *ledger) add(payload []byte) {
	n := len(l.entries)
	e := Entry{
		Timestamp:     1_763_781_234_567_890 + int64(n),
		Tenant:        "plaza",
		Actor:         fmt.Sprintf("did:tamv:user:%d", n%7),
		Action:        "intent.execute",
		Outcome:       "completed",
		RequestID:     [16]byte{15: byte(n)},
		PayloadDigest: PayloadDigest(payload),
		Previous:      l.head,
	}
	encoded := e.Append(nil)
	l.head = LeafHash(encoded)
	l.tree.Append(l.head, l.tiles.emit)
	l.entries = append(l.entries, encoded)
	l.payloads = append(l.payloads, payload)
}

func (l *ledger) checkpoint() []byte {
	signed, err := l.signer.Sign(Checkpoint{testOrigin, l.tree.Size(), l.tree.Root()}, testTime)
	if err != nil {
		panic(err)
	}
	return signed
}

func (l *ledger) bundle(positions ...uint64) Bundle {
	b := Bundle{Checkpoint: l.checkpoint()}
	for _, p := range positions {
		proof, err := InclusionProof(l.tree.Size(), p, l.tiles)
		if err != nil {
			panic(err)
		}
		b.Items = append(b.Items, Item{
			Position:   p,
			Entry:      bytes.Clone(l.entries[p]),
			Payload:    l.payloads[p],
			HasPayload: true,
			Proof:      proof,
		})
	}
	return b
}

// bigLog is shared by tests that need three levels of tiles; its leaves stand for
// entries.
var bigLog = sync.OnceValue(func() *bigTree {
	const size = 66_000
	b := &bigTree{tiles: memTiles{}, roots: map[uint64]Hash{}}
	for i := range uint64(size) {
		b.roots[i] = b.tree.Root()
		b.tree.Append(bigLeaf(i), b.tiles.emit)
	}
	b.roots[size] = b.tree.Root()
	return b
})

type bigTree struct {
	tree  Tree
	tiles memTiles
	roots map[uint64]Hash
}

func bigLeaf(i uint64) Hash { return LeafHash(fmt.Appendf(nil, "leaf %d", i)) }

func wantIs(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// wantBroken checks what a BrokenError names; position -1 means none.
func wantBroken(t *testing.T, err error, position int64, part string) {
	t.Helper()
	var b *BrokenError
	if !errors.As(err, &b) {
		t.Fatalf("error %v, want a BrokenError", err)
	}
	if b.HasPosition != (position >= 0) || b.HasPosition && b.Position != uint64(position) || b.Part != part {
		t.Fatalf("%v; want position %d, part %s", err, position, part)
	}
}

func TestErrorTexts(t *testing.T) {
	at := brokenAt(7, PartChain, "why", ErrProof)
	if !strings.Contains(at.Error(), "entry 7") || !errors.Is(at, ErrProof) {
		t.Error(at)
	}
	if err := broken(PartCheckpoint, "why", nil); !strings.Contains(err.Error(), PartCheckpoint) {
		t.Error(err)
	}
	field := &FieldError{"actor", "is missing"}
	if !strings.Contains(field.Error(), "actor") || !errors.Is(field, ErrEntry) {
		t.Error(field)
	}
}
