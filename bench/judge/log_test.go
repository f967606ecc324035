package judge

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tamv.internal/tamv/store/bookpi"
)

const origin = "tamv.test/judge"

// siteLog is a log that grows in memory and is written to a folder.
type siteLog struct {
	t       *testing.T
	keys    bookpi.LogKeys
	tree    bookpi.Tree
	head    bookpi.Hash
	entries [][]byte
	hashes  [8][]bookpi.Hash // per tile level
	written uint64           // entries in the folder
	folder  string
}

func newSiteLog(t *testing.T) *siteLog {
	t.Helper()
	keys, err := bookpi.GenerateKeys(rand.NewChaCha8([32]byte{7}), origin)
	if err != nil {
		t.Fatal(err)
	}
	return &siteLog{t: t, keys: keys, folder: t.TempDir()}
}

func (l *siteLog) grow(size int) {
	for i := len(l.entries); i < size; i++ {
		e := bookpi.Entry{
			Timestamp:     1_763_781_234_567_890 + int64(i),
			Tenant:        "plaza",
			Actor:         fmt.Sprintf("did:tamv:user:%d", i%7),
			Action:        "intent.execute",
			Outcome:       "completed",
			PayloadDigest: bookpi.PayloadDigest(nil),
			Previous:      l.head,
		}
		raw := e.Append(nil)
		l.head = bookpi.LeafHash(raw)
		l.tree.Append(l.head, func(level uint8, _ uint64, h bookpi.Hash) {
			l.hashes[level] = append(l.hashes[level], h)
		})
		l.entries = append(l.entries, raw)
	}
}

func (l *siteLog) checkpoint() bookpi.Checkpoint {
	return bookpi.Checkpoint{Origin: origin, Size: l.tree.Size(), Root: l.tree.Root()}
}

// publish writes the files that are new since the last time, the checkpoint last.
func (l *siteLog) publish() {
	l.t.Helper()
	for tile := range bookpi.NewTiles(l.written, l.tree.Size()) {
		first := tile.Index * bookpi.TileWidth
		l.write(tile.Path(), bookpi.AppendTile(nil, l.hashes[tile.Level][first:first+uint64(tile.Width)]))
		if tile.Level > 0 {
			continue
		}
		var bundle []byte
		for _, raw := range l.entries[first : first+uint64(tile.Width)] {
			bundle = bookpi.AppendBundled(bundle, raw)
		}
		l.write(bookpi.EntriesPath(tile.Index, tile.Width), bundle)
	}
	signed, err := l.keys.Sign(l.checkpoint(), time.Unix(1_763_781_234, 0))
	if err != nil {
		l.t.Fatal(err)
	}
	l.write(bookpi.CheckpointPath, signed)
	l.written = l.tree.Size()
}

func (l *siteLog) write(path string, data []byte) {
	l.t.Helper()
	name := filepath.Join(l.folder, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		l.t.Fatal(err)
	}
}
