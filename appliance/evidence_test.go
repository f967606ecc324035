package appliance_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"tamv.internal/tamv/appliance"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

type appended struct {
	Position     uint64
	EvidenceHash bookpi.Hash
}

func appendEvidence(t testing.TB, c *client.Client, body map[string]any) appended {
	t.Helper()
	reply, err := c.Do(t.Context(), "POST", "/v1/evidence", nil, body)
	if err != nil {
		t.Fatal(err)
	}
	var a appended
	if err := reply.Decode(&a); err != nil {
		t.Fatal(err)
	}
	return a
}

// tileReader is the checksum database's own client of a tiled log, over HTTPS.
type tileReader struct {
	t testing.TB
	c *client.Client
}

func (r tileReader) Height() int { return 8 }

func (r tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var read [][]byte
	for _, tile := range tiles {
		// C2SP leaves the height out of the path.
		reply, err := r.c.Do(r.t.Context(), "GET", "/log/tile/"+strings.TrimPrefix(tile.Path(), "tile/8/"), nil, nil)
		if err != nil {
			return nil, err
		}
		read = append(read, reply.Body)
	}
	return read, nil
}

func (r tileReader) SaveTiles([]tlog.Tile, [][]byte) {}

// oneLog is a site's log as its nodes show it: two roots of one size fail the test.
type oneLog struct {
	*testing.T
	machines []*machine
	context  string // with whose identity the nodes are asked
	roots    map[uint64]bookpi.Hash
}

func (l *oneLog) look(m *machine) (bookpi.Checkpoint, []byte) {
	l.Helper()
	reply, err := m.at(l.T, l.context).Do(l.Context(), "GET", "/v1/evidence/checkpoint", nil, nil)
	if err != nil {
		l.Fatal(err)
	}
	cp, err := bookpi.ParseCheckpoint(reply.Body)
	if err != nil {
		l.Fatalf("%v in %q", err, reply.Body)
	}
	if root, known := l.roots[cp.Size]; known && root != cp.Root {
		l.Fatalf("two roots at size %d", cp.Size)
	}
	l.roots[cp.Size] = cp.Root
	return cp, reply.Body
}

// logKeys is what a site says of its log's keys.
type logKeys struct{ VerifierKey, History string }

// A site of three: whichever node is asked, and whoever leads, the log has one
// history, which the checksum database's packages read and verify; its keys can
// be rotated and old proofs stay good.
func TestOneLogOnThreeNodes(t *testing.T) {
	machines, operator := site(t, "alfa", "beta", "gama")
	l := &oneLog{t, machines, machines[0].running.Context, map[uint64]bookpi.Hash{}}
	for i := range 30 {
		m := machines[i%3]
		appendEvidence(t, m.at(t, l.context), map[string]any{"action": "door.open", "outcome": "ok", "data": map[string]any{"n": i}})
		l.look(machines[(i+1)%3])
		if i == 15 {
			if _, err := operator.Do(t.Context(), "POST", "/v1/cluster/transfer", nil, map[string]any{"to": "beta"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	cp, text := l.look(machines[2])
	key := get[logKeys](t, operator, "/v1/evidence/key", nil)
	entry := l.readByOthers(cp, text, key.VerifierKey)
	now := l.rotate(operator, key)
	known, err := bookpi.ParseVerifierKey(key.VerifierKey)
	if err != nil {
		t.Fatal(err)
	}
	history, err := bookpi.OpenKeyHistory([]byte(now.History), known)
	if err != nil {
		t.Fatalf("who knows the old key cannot follow: %v", err)
	}
	if _, err := history.OpenCheckpoint(text); err != nil {
		t.Errorf("a checkpoint from before the rotation: %v", err)
	}
	bundle, err := operator.Do(t.Context(), "GET", "/v1/evidence/"+entry.String()+"/bundle", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bookpi.VerifyBundle(bundle.Body, now.VerifierKey); err != nil {
		t.Error(err)
	}
}

// readByOthers reads the log with the checksum database's packages, and returns the
// hash of its last entry.
func (l *oneLog) readByOthers(cp bookpi.Checkpoint, text []byte, key string) (last bookpi.Hash) {
	l.Helper()
	verifier, err := note.NewVerifier(key)
	if err != nil {
		l.Fatal(err)
	}
	if _, err := note.Open(text, note.VerifierList(verifier)); err != nil {
		l.Fatalf("the note package does not open the checkpoint: %v", err)
	}
	for _, at := range []uint64{0, cp.Size / 2, cp.Size - 1} {
		reader := tileReader{l.T, l.machines[int(at)%3].at(l.T, l.context)}
		hashes := tlog.TileHashReader(tlog.Tree{N: int64(cp.Size), Hash: tlog.Hash(cp.Root)}, reader)
		stored, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(at))})
		if err != nil {
			l.Fatalf("tlog does not verify entry %d: %v", at, err)
		}
		last = bookpi.Hash(stored[0])
	}
	return last
}

// rotate has the keys rotated; all nodes then sign with the new ones.
func (l *oneLog) rotate(operator *client.Client, was logKeys) (now logKeys) {
	l.Helper()
	if _, err := operator.Do(l.Context(), "POST", "/v1/evidence/key", nil, nil); err != nil {
		l.Fatal(err)
	}
	eventually(l.T, "the keys are rotated", func() bool {
		now = get[logKeys](l.T, operator, "/v1/evidence/key", nil)
		return now.VerifierKey != was.VerifierKey
	})
	for i, m := range l.machines {
		appendEvidence(l.T, m.at(l.T, l.context), map[string]any{"action": "door.shut", "outcome": "ok", "data": i})
		cp, text := l.look(m)
		if _, err := bookpi.OpenCheckpoint(text, now.VerifierKey); err != nil {
			l.Errorf("%s signs size %d with other keys: %v", m.cfg.Node, cp.Size, err)
		}
	}
	return now
}

// The transparency log in production: hash tiles are for everybody, entries for
// auditors.
func TestWhoReadsTheLog(t *testing.T) {
	for _, open := range []bool{false, true} {
		m := newMachine(t, "n1")
		m.cfg.OpenLog = open
		m.start(t)
		operator := connect(t, m.running.Context)
		a := appendEvidence(t, operator, map[string]any{"action": "door.open", "outcome": "ok", "data": "the blue one"})
		var cp bookpi.Checkpoint
		eventually(t, "a checkpoint covers it", func() bool {
			reply, err := operator.Do(t.Context(), "GET", "/log/checkpoint", nil, nil)
			if err != nil {
				return false // there is none in the first moment
			}
			cp, err = bookpi.ParseCheckpoint(reply.Body)
			return err == nil && cp.Size > a.Position
		})
		eventually(t, "the key history begins", func() bool {
			_, err := operator.Do(t.Context(), "GET", "/log/keys", nil, nil)
			return err == nil
		})
		width := int(cp.Size)
		for path, public := range map[string]bool{
			"/log/checkpoint": true, "/log/keys": true, "/log/key": true, "/log/policy": true,
			"/log/" + (bookpi.Tile{Width: width}).Path(): true, "/log/" + bookpi.EntriesPath(0, width): open, "/log/" + bookpi.PayloadsPath(0, width): open,
		} {
			body, err := readAsStranger(t, m, path)
			if got := err == nil; got != public {
				t.Errorf("open %v, %s: %v", open, path, err)
			}
			if bytes.Contains(body, []byte("the blue one")) && !public {
				t.Errorf("%s shows a payload to a stranger", path)
			}
		}
		m.stop(t)
	}
}

// readAsStranger reads a path without a signature.
func readAsStranger(t testing.TB, m *machine, path string) ([]byte, error) {
	t.Helper()
	c := config(t, m.running.Context)
	c.KeyID, c.Key, c.Retries = "", nil, -1
	stranger, err := client.New(c)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	reply, err := stranger.Do(t.Context(), "GET", path, nil, nil)
	if err != nil {
		return nil, err
	}
	return reply.Body, nil
}

// A person is erased. No node keeps the key, the plaintext is nowhere, and the
// chain still verifies; a node that was away does it when it is back.
func TestErasureOnThreeNodes(t *testing.T) {
	machines, operator := site(t, "alfa", "beta", "gama")
	first := machines[0].running.Context
	const secret = "peanuts, since childhood"
	hashes := []bookpi.Hash{}
	for _, m := range machines {
		hashes = append(hashes, appendEvidence(t, m.at(t, first), map[string]any{
			"action": "allergy.noted", "outcome": "ok", "subject": "ana", "data": secret,
		}).EvidenceHash)
	}
	sealedRings := map[string][]byte{} // what each node had before
	for _, m := range machines {
		for _, h := range hashes {
			eventually(t, m.cfg.Node+" reads what is sealed", func() bool {
				reply, err := m.at(t, first).Do(t.Context(), "GET", "/v1/evidence/"+h.String(), nil, nil)
				return err == nil && strings.Contains(string(reply.Body), secret)
			})
		}
		sealedRings[m.cfg.Node] = slots(t, m)
	}
	bundle := func(m *machine) []byte {
		reply, err := m.at(t, first).Do(t.Context(), "GET", "/v1/evidence/bundle", url.Values{"from": {"0"}, "to": {"9"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return reply.Body
	}
	key := get[struct{ VerifierKey string }](t, operator, "/v1/evidence/key", nil).VerifierKey

	gama := machines[2]
	gama.stop(t)
	if _, err := operator.Do(t.Context(), "POST", "/v1/subjects/ana/erasure", nil, map[string]any{"reason": "she asked"}); err != nil {
		t.Fatal(err)
	}
	gama.start(t)
	for _, m := range machines {
		eventually(t, m.cfg.Node+" has forgotten", func() bool {
			reply, err := m.at(t, first).Do(t.Context(), "GET", "/v1/evidence/"+hashes[0].String(), nil, nil)
			return err == nil && !strings.Contains(string(reply.Body), secret) && strings.Contains(string(reply.Body), "erased")
		})
		if _, err := bookpi.VerifyBundle(bundle(m), key); err != nil {
			t.Errorf("%s: the chain does not verify any more: %v", m.cfg.Node, err)
		}
	}
	for _, m := range machines {
		m.stop(t)
	}
	for _, m := range machines {
		err := filepath.WalkDir(m.cfg.Data, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			raw, err := os.ReadFile(path)
			for _, trace := range [][]byte{[]byte(secret), []byte(base64.StdEncoding.EncodeToString([]byte(secret)))} {
				if bytes.Contains(raw, trace) {
					t.Errorf("%s holds the plaintext", path)
				}
			}
			for node, old := range sealedRings {
				if len(old) > 0 && bytes.Contains(raw, old) {
					t.Errorf("%s holds a key that %s had sealed", path, node)
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// slots are the used bytes of the first secret of a node's ring, as they lie.
func slots(t testing.TB, m *machine) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(m.cfg.Data, "keyring", "subjects.ring"))
	if err != nil {
		t.Fatal(err)
	}
	const slot = 512
	for at := slot; at+slot <= len(raw); at += slot {
		if used := raw[at : at+slot]; !bytes.Equal(used, make([]byte, slot)) {
			return used
		}
	}
	t.Fatalf("%s has no key", m.cfg.Node)
	return nil
}

// A member that joins gets the keys that were made before it came.
func TestNewMembersGetTheKeys(t *testing.T) {
	machines, operator := site(t, "alfa")
	h := appendEvidence(t, operator, map[string]any{"action": "note", "outcome": "ok", "subject": "ana", "data": "left-handed"}).EvidenceHash
	beta := newMachine(t, "beta")
	if err := beta.join(t, invite(t, operator, "beta")); err != nil {
		t.Fatal(err)
	}
	beta.start(t)
	eventually(t, "beta opens what was sealed before", func() bool {
		reply, err := beta.at(t, machines[0].running.Context).Do(t.Context(), "GET", "/v1/evidence/"+h.String(), nil, nil)
		return err == nil && strings.Contains(string(reply.Body), "left-handed")
	})
}

// A node whose sealing key is gone or damaged says so, and what to do.
func TestSealingKeyIsGone(t *testing.T) {
	m := newMachine(t, "n1")
	m.start(t)
	m.stop(t)
	if err := os.Remove(filepath.Join(m.cfg.Data, "keyring.seal")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(m.cfg.Data, "keyring.seal")
	for _, damaged := range []string{"", "00", strings.Repeat("0", 63), strings.Repeat("0", 66), strings.Repeat("x", 64)} {
		if damaged != "" { // else it is gone
			if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		err := appliance.Run(context.Background(), m.cfg)
		if !tap.IsKind(err, tap.Unavailable) || !strings.Contains(err.Error(), "keyring.seal") {
			t.Errorf("%q: %v", damaged, err)
		}
	}
}
