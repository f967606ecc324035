package bookpi

import (
	"bytes"
	"encoding/binary"
	"sync"
	"testing"
)

const benchEntries = 1 << 20

// benchMirror is a log of a million entries of 281 bytes, written once. Its payloads
// have 200 bytes, and are all the same: what they cost is their hash.
var benchMirror = sync.OnceValues(func() (m mirror, verifierKey string) {
	payload := bytes.Repeat([]byte{0xa5}, 200)
	e := benchEntry
	e.PayloadDigest = PayloadDigest(payload)
	raw := e.Append(nil)
	payloads := bytes.Repeat(AppendPayload(nil, BundledPayload{Data: payload}), TileWidth)

	l := newLedger(1, 0)
	m = mirror{}
	l.tiles[0] = make([]Hash, 0, benchEntries)
	for index := range uint64(benchEntries / TileWidth) {
		bundle := make([]byte, 0, TileWidth*(entryLength+len(raw)))
		for range TileWidth {
			binary.BigEndian.PutUint64(raw[offTimestamp:], uint64(e.Timestamp)+l.tree.Size())
			copy(raw[offPrevious:], l.head[:])
			l.head = LeafHash(raw)
			l.tree.Append(l.head, l.tiles.emit)
			bundle = AppendBundled(bundle, raw)
		}
		m[EntriesPath(index, TileWidth)] = bundle
		m[PayloadsPath(index, TileWidth)] = payloads
	}
	for tile := range NewTiles(0, l.tree.Size()) {
		hashes, err := l.tiles.Tile(tile.Level, tile.Index)
		if err != nil {
			panic(err)
		}
		m[tile.Path()] = AppendTile(nil, hashes)
	}
	m[CheckpointPath] = l.checkpoint()
	return m, l.key
})

// A whole log of 1,048,576 entries, from memory; fetching is not part of it. With
// -cpu 1 this is what one core does.
func BenchmarkAudit(b *testing.B) {
	m, key := benchMirror()
	for _, c := range []struct {
		name     string
		payloads PayloadCheck
	}{{"entries", PayloadsIgnored}, {"payloads", PayloadsRequired}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(benchEntries * 281)
			for b.Loop() {
				report, err := Audit(b.Context(), m, AuditOptions{VerifierKey: key, Payloads: c.payloads})
				if err != nil || report.Entries != benchEntries {
					b.Fatal(report, err)
				}
			}
			b.ReportMetric(benchEntries*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
	// What no audit can avoid: each entry's leaf hash and one node of the tree.
	b.Run("hashes-alone", func(b *testing.B) {
		raw, hash := bytes.Clone(m[EntriesPath(0, TileWidth)][entryLength:][:281]), Hash{}
		b.SetBytes(benchEntries * 281)
		for b.Loop() {
			for range benchEntries {
				hash = NodeHash(LeafHash(raw), hash)
			}
		}
		b.ReportMetric(benchEntries*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
	})
}
