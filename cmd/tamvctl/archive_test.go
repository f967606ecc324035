package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tamv.internal/tamv/cmd/tamvctl/mirror"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// archiving is an appliance with a sealed segment and a few entries more.
type archiving struct {
	files    map[string][]byte // of its log
	segment  []byte
	key      string
	archived bool // the entries of the segment have left
	asked    map[string]string
}

func newArchiving(t *testing.T) *archiving {
	t.Helper()
	keys, err := bookpi.GenerateKeys(rand.NewChaCha8([32]byte{5}), "plaza.test/log")
	if err != nil {
		t.Fatal(err)
	}
	a := &archiving{files: map[string][]byte{}, key: keys.Verifiers()[0]}
	var tree bookpi.Tree
	tiles := map[uint8][]bookpi.Hash{}
	var head bookpi.Hash
	var entries, payloads []byte
	var leaves []bookpi.Hash
	a.segment = append([]byte(bookpi.SegmentMagic), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, bookpi.SegmentEntries>>8, 0)
	const size = bookpi.SegmentEntries + 3
	for i := range size {
		payload := fmt.Appendf(nil, "reading %d", i)
		e := bookpi.Entry{
			Timestamp: int64(i) + 1, Tenant: "main", Actor: "sensor", Action: "e.test", Outcome: "ok",
			PayloadDigest: bookpi.PayloadDigest(payload), Previous: head,
		}.Append(nil)
		head = bookpi.LeafHash(e)
		tree.Append(head, func(level uint8, _ uint64, h bookpi.Hash) { tiles[level] = append(tiles[level], h) })
		entries, payloads = bookpi.AppendBundled(entries, e), bookpi.AppendPayload(payloads, bookpi.BundledPayload{Data: payload})
		if i < bookpi.SegmentEntries {
			a.segment = append(binary.AppendUvarint(a.segment, uint64(len(e))), e...)
			a.segment = append(binary.AppendUvarint(a.segment, uint64(len(payload))), payload...)
			leaves = append(leaves, head)
		}
		if index, width := uint64(i)/bookpi.TileWidth, i%bookpi.TileWidth+1; width == bookpi.TileWidth || i == size-1 {
			a.files[bookpi.EntriesPath(index, width)], a.files[bookpi.PayloadsPath(index, width)] = entries, payloads
			entries, payloads = nil, nil
		}
	}
	a.segment = append(bookpi.AppendTile(a.segment, leaves), make([]byte, 12*bookpi.SegmentEntries)...)
	for tile := range bookpi.NewTiles(0, size) {
		first := tile.Index * bookpi.TileWidth
		a.files[tile.Path()] = bookpi.AppendTile(nil, tiles[tile.Level][first:first+uint64(tile.Width)])
	}
	note, err := keys.Sign(bookpi.Checkpoint{Origin: keys.Origin(), Size: size, Root: tree.Root()}, time.Unix(1_763_781_234, 0))
	if err != nil {
		t.Fatal(err)
	}
	a.files[bookpi.CheckpointPath] = note
	return a
}

func (a *archiving) serve(t *testing.T) (context string) {
	return strangeServer(t, func(w http.ResponseWriter, r *http.Request) {
		fail := func(kind tap.Kind, code string) {
			w.WriteHeader(kind.Traits().Status)
			_ = json.NewEncoder(w).Encode(tap.E("test", kind, "no").WithCode(code).Body("r-1", time.Now(), tap.English))
		}
		path, isLog := strings.CutPrefix(r.URL.Path, logPrefix)
		index, _, entriesErr := bookpi.ParseEntriesPath(path)
		data, found := a.files[path]
		switch {
		case isLog && a.archived && entriesErr == nil && index < bookpi.SegmentEntries/bookpi.TileWidth, isLog && a.archived && strings.HasPrefix(path, "payloads/x"):
			fail(tap.NotFound, codeArchived)
		case isLog && found:
			_, _ = w.Write(data)
		case r.URL.Path == segmentsPath+"/0/file":
			_, _ = w.Write(a.segment)
		case r.URL.Path == segmentsPath+"/0/archive":
			raw, _ := io.ReadAll(r.Body)
			if a.archived {
				fail(tap.NotFound, codeArchived)
				return
			}
			a.archived = true
			_ = json.Unmarshal(raw, &a.asked)
			fmt.Fprintf(w, `{"number":0,"sha256":%q,"target":"x","archived":true}`, a.asked["sha256"])
		default:
			fail(tap.NotFound, "not_found")
		}
	})
}

// What is archived was copied out and checked, and the log can still be audited with the
// copies.
func TestArchive(t *testing.T) {
	a := newArchiving(t)
	context, folder := a.serve(t), t.TempDir()
	if r := tamvctl(t, "evidence", "archive", "0", "--to", folder, "--copy-only", "--context", context); r.code != 0 || a.archived {
		t.Fatalf("exit code %d, archived %v: %s", r.code, a.archived, r.errOut)
	}
	// A damaged copy is fetched again, not believed.
	file := filepath.Join(folder, mirror.SegmentFile(0))
	if err := os.WriteFile(file, a.segment[:len(a.segment)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	r := tamvctl(t, "evidence", "archive", "0-0", "--to", folder, "--key", a.key, "--target", "tape 7", "--context", context, "-o", "json")
	sum := fmt.Sprintf("%x", sha256.Sum256(a.segment))
	if r.code != 0 || a.asked["sha256"] != sum || a.asked["target"] != "tape 7" || !strings.Contains(r.out, sum) {
		t.Fatalf("exit code %d: %v %s%s", r.code, a.asked, r.out, r.errOut)
	}
	// The same again finds it done.
	if r := tamvctl(t, "evidence", "archive", "0", "--to", folder, "--context", context, "-o", "json"); r.code != 0 || !strings.Contains(r.out, `"archived": true`) {
		t.Fatalf("again: exit code %d: %s%s", r.code, r.out, r.errOut)
	}
	r = tamvctl(t, "evidence", "audit", "--key", a.key, "--context", context)
	if r.code != tap.NotFound.Traits().ExitCode || !strings.Contains(r.errOut, "--segments") {
		t.Errorf("without the copies: exit code %d: %s", r.code, r.errOut)
	}
	for _, args := range [][]string{
		{"audit", "--key", a.key, "--segments", folder, "-o", "json"},
		{"mirror", filepath.Join(t.TempDir(), "copy"), "--key", a.key, "--segments", folder, "--payloads", "-o", "json"},
	} {
		if r := tamvctl(t, append([]string{"evidence", "--context", context}, args...)...); r.code != 0 || !strings.Contains(r.out, "16387") {
			t.Errorf("%v: exit code %d: %s%s", args[0], r.code, r.out, r.errOut)
		}
	}
}

// Whatever is wrong with the copy or the log, nothing leaves the site.
func TestArchiveRefuses(t *testing.T) {
	good := newArchiving(t)
	other, err := bookpi.GenerateKeys(rand.NewChaCha8([32]byte{6}), "plaza.test/log")
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte(nil), good.segment...)
	flipped[5000] ^= 1
	strange := append([]byte(nil), good.segment...)
	strange[15] = 1 // another segment's number
	edge := bookpi.Tile{Level: 1, Width: 64}.Path()
	for name, c := range map[string]struct {
		change func(a *archiving)
		args   []string
		exit   tap.Kind
	}{
		"a changed byte":        {func(a *archiving) { a.segment = flipped }, nil, tap.Unauthenticated},
		"another segment":       {func(a *archiving) { a.segment = strange }, nil, tap.Unauthenticated},
		"another's key":         {nil, []string{"--key", other.Verifiers()[0]}, tap.Unauthenticated},
		"no checkpoint":         {func(a *archiving) { a.files[bookpi.CheckpointPath] = []byte("x") }, nil, tap.Unauthenticated},
		"other tiles":           {func(a *archiving) { a.files[edge] = make([]byte, 64*bookpi.HashSize) }, nil, tap.Unauthenticated},
		"no tiles":              {func(a *archiving) { delete(a.files, edge) }, nil, tap.NotFound},
		"a folder that is none": {nil, []string{"--to", "nowhere"}, tap.Invalid},
	} {
		a := *good
		a.files = map[string][]byte{}
		for path, data := range good.files {
			a.files[path] = data
		}
		if c.change != nil {
			c.change(&a)
		}
		args := append([]string{"evidence", "archive", "0", "--context", a.serve(t), "--to", t.TempDir()}, c.args...)
		if r := tamvctl(t, args...); r.code != c.exit.Traits().ExitCode || a.archived {
			t.Errorf("%s: exit code %d, archived %v: %s", name, r.code, a.archived, r.errOut)
		}
	}
	for _, which := range []string{"x", "3-1", "-1", "1-", ""} {
		if r := tamvctl(t, "evidence", "archive", which, "--to", "."); r.code != tap.Invalid.Traits().ExitCode {
			t.Errorf("%q: exit code %d", which, r.code)
		}
	}
}
