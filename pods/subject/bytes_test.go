package subject

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/store/keyring"
	"tamv.internal/tamv/tap"
)

// cluster is three nodes on disk: each has a state and a ring, and all apply the same
// log. A node that is away neither applies nor exchanges keys.
type cluster struct {
	t     testing.TB
	mu    sync.Mutex
	log   [][]byte
	nodes map[string]*member
	away  string
}

type member struct {
	name, dir string
	state     *store.Store
	ring      *keyring.Ring
	exchange  *keyring.Exchange
	sealer    *keyring.Sealer
	writer    *store.Writer
}

var memberNames = []string{"n1", "n2", "n3"}

func newCluster(t testing.TB) *cluster {
	c := &cluster{t: t, nodes: map[string]*member{}}
	for _, name := range memberNames {
		m := &member{name: name, dir: t.TempDir()}
		c.nodes[name] = m
		c.open(m)
	}
	t.Cleanup(func() {
		for _, m := range c.nodes {
			c.close(m)
		}
	})
	return c
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) open(m *member) {
	c.t.Helper()
	var err error
	m.ring, err = keyring.Open(keyring.Config{Dir: filepath.Join(m.dir, "keyring"), Sealing: keyring.SealingKey{byte(len(m.name)), m.name[1]}})
	ok(c.t, err)
	d := NewDirectory(m.ring)
	m.state, err = store.Open(m.dir, map[string][]store.Observer{store.SpaceErasure: {d.ObserveChanges}})
	ok(c.t, err)
	ok(c.t, d.Load(m.state))
	m.exchange = keyring.NewExchange(keyring.ExchangeConfig{
		Ring: m.ring, Self: m.name, Members: func() []string { return memberNames },
		Dial: func(_ context.Context, to string) (net.Conn, error) { return c.dial(m.name, to) },
	})
	m.sealer = keyring.NewSealer(m.exchange)
	m.writer = store.NewWriter(c, m.state).Sealing(m.sealer)
}

func (c *cluster) close(m *member) {
	c.t.Helper()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	m.exchange.Run(ended) // waits for what it still sends
	ok(c.t, errors.Join(m.state.Close(), m.ring.Close()))
}

func (c *cluster) dial(from, to string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away == from || c.away == to {
		return nil, errors.New("no route")
	}
	near, far := net.Pipe()
	go c.nodes[to].exchange.Serve(far)
	return near, nil
}

// Propose applies a command on every member that is there.
func (c *cluster) Propose(_ context.Context, command []byte) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, command)
	var outcome any
	for _, name := range memberNames {
		if name != c.away {
			outcome = c.catchUp(c.nodes[name])
		}
	}
	return outcome, nil
}

// catchUp applies what a member lacks and returns the last outcome; mu is held.
func (c *cluster) catchUp(m *member) (outcome any) {
	c.t.Helper()
	for n := m.state.Applied(); n < uint64(len(c.log)); n++ {
		outcomes, err := m.state.Apply(n+1, int64(1_000_000+n), [][]byte{c.log[n]})
		ok(c.t, err)
		outcome = outcomes[0]
	}
	return outcome
}

func (c *cluster) say(node, subject, payload string) store.Receipt {
	c.t.Helper()
	r, err := c.nodes[node].writer.Commit(c.t.Context(), store.Batch{
		RequestID: uuid.New(), Tenant: tap.DefaultTenant,
		Evidence: []store.Evidence{{Actor: "nurse", Action: "visit", Outcome: "ok", Payload: []byte(payload), Subject: subject}},
	})
	ok(c.t, err)
	return r
}

// eraseOn carries out what the pod decides on one node.
func (c *cluster) eraseOn(node, subject string) {
	c.t.Helper()
	m := c.nodes[node]
	b, err := erasing(c.t, m.state, subject)
	ok(c.t, err)
	_, err = m.writer.Commit(c.t.Context(), b)
	ok(c.t, err)
}

// erasing is the batch that the pod decides on.
func erasing(t testing.TB, v store.View, subject string) (store.Batch, error) {
	p := New(Config{Standing: func(_ store.View, tenant, identity string) (string, store.Op, bool, error) {
		return identity, store.Check(identityRecord(tenant, identity), 0), true, nil
	}})
	call := &pods.Call{
		RequestID: uuid.New(), Principal: boss, Tenant: tap.DefaultTenant, Params: map[string]string{"subject": subject},
		Body: []byte(`{"reason":"asked by letter"}`), Now: podtest.Epoch, View: v,
	}
	result, err := p.erase(t.Context(), call)
	if err != nil {
		return store.Batch{}, err
	}
	return store.Batch{RequestID: call.RequestID, Tenant: call.Tenant, Ops: result.Ops, Evidence: result.Evidence}, nil
}

// snapshot writes a node's state as consensus would, and as a backup has it.
func (m *member) snapshot(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	s, err := m.state.Snapshot()
	ok(t, err)
	defer s.Release()
	_, err = s.WriteTo(dir)
	ok(t, err)
	return dir
}

// search reports every file of a folder that has one of the needles.
func search(t testing.TB, dir string, needles map[string][][]byte) {
	t.Helper()
	ok(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		for what, all := range needles {
			if slices.ContainsFunc(all, func(needle []byte) bool { return bytes.Contains(b, needle) }) {
				t.Errorf("%s is in %s", what, e.Name())
			}
		}
		return err
	}))
}

const (
	secretText = "ana was treated for a broken wrist on the third of May"
	otherText  = "eva came to the reading group"
)

// wrapped are the pieces of a ring's file that hold something, long enough to be found
// and short enough that half of one is.
func wrapped(t testing.TB, m *member) (pieces [][]byte) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(m.dir, "keyring", keyring.SubjectsFile))
	ok(t, err)
	for at := 512; at < len(b); at += 512 {
		if slot := b[at : at+512]; len(bytes.Trim(slot, "\x00")) > 0 {
			for piece := 0; piece < 512; piece += 32 {
				pieces = append(pieces, bytes.Clone(slot[piece:piece+32]))
			}
		}
	}
	return pieces
}

// After an erasure no byte of any node, of any snapshot taken before or after, and of no
// command of the log has the key, wrapped or not, or the text; and the chain still verifies.
func TestNoByteIsLeft(t *testing.T) {
	c := newCluster(t)
	receipt := c.say("n1", "ana", secretText)
	key, found, err := c.nodes["n1"].ring.Key(tap.DefaultTenant, "ana", 0)
	if !found || err != nil {
		t.Fatal("no key was made", err)
	}
	for _, m := range c.nodes {
		m.exchange.Sync(t.Context())
	}
	var slots [][]byte
	for _, m := range c.nodes {
		slots = append(slots, wrapped(t, m)...)
	}
	if len(slots) != 3*16 {
		t.Fatalf("%d pieces of wrapped keys: the test shows nothing", len(slots))
	}
	other := c.say("n2", "eva", otherText)
	record, err := c.nodes["n3"].state.Record(receipt.Position)
	ok(t, err)
	if plain, _, err := c.nodes["n3"].sealer.Open(t.Context(), record.Payload); err != nil || string(plain) != secretText {
		t.Fatalf("%q %v", plain, err)
	}
	before := c.nodes["n1"].snapshot(t)
	backup := c.nodes["n2"].snapshot(t)
	c.eraseOn("n3", "ana")
	after := c.nodes["n1"].snapshot(t)

	for name, m := range c.nodes {
		_, _, err := m.sealer.Open(t.Context(), record.Payload)
		podtest.WantKind(t, err, tap.NotFound, "erased")
		if plain, _, err := m.sealer.Open(t.Context(), recordAt(t, m, other.Position).Payload); err != nil || string(plain) != otherText {
			t.Errorf("%s: what was not erased does not open: %v", name, err)
		}
		if got := recordAt(t, m, receipt.Position); !bytes.Equal(got.Payload, record.Payload) || !bytes.Equal(got.Entry, record.Entry) {
			t.Errorf("%s: the ledger has other bytes", name)
		}
		ok(t, m.ring.Flush())
		ok(t, m.state.Flush())
	}
	dirs := []string{before, backup, after}
	for _, m := range c.nodes {
		dirs = append(dirs, m.dir)
	}
	for _, dir := range dirs {
		search(t, dir, map[string][][]byte{
			"the key": {key.Value[:16], key.Value[16:]}, "the text": {[]byte("ana was treated"), []byte("broken wrist")}, "a piece of the wrapped key": slots,
		})
	}
	for n, command := range c.log {
		if bytes.Contains(command, key.Value) || bytes.Contains(command, []byte("wrist")) {
			t.Errorf("command %d of the log has what was erased", n)
		}
	}
	verify(t, c.nodes["n2"].state)

	// A backup of the state brings nothing back.
	restored := c.nodes["n1"]
	ok(t, restored.state.Restore(before))
	_, _, err = restored.sealer.Open(t.Context(), recordAt(t, restored, receipt.Position).Payload)
	podtest.WantKind(t, err, tap.NotFound, "erased")
	verify(t, restored.state)
	c.mu.Lock()
	c.catchUp(restored)
	c.mu.Unlock()
	if restored.ring.Held(tap.DefaultTenant, "ana") != 0 {
		t.Error("a key came back")
	}
}

// A node that was away has the key until it hears of the erasure, gives it to nobody that
// has heard, and destroys it then: by the log or by a snapshot, before or after a restart.
func TestANodeThatWasAway(t *testing.T) {
	for _, by := range []string{"log", "snapshot", "restart"} {
		t.Run(by, func(t *testing.T) {
			c := newCluster(t)
			c.say("n1", "ana", secretText)
			for _, m := range c.nodes {
				m.exchange.Sync(t.Context())
			}
			late := c.nodes["n3"]
			key, _, err := late.ring.Key(tap.DefaultTenant, "ana", 0)
			ok(t, err)
			pieces := wrapped(t, late)
			c.mu.Lock()
			c.away = "n3"
			c.mu.Unlock()
			c.eraseOn("n1", "ana")
			c.mu.Lock()
			c.away = ""
			c.mu.Unlock()
			if late.ring.Held(tap.DefaultTenant, "ana") != 1 {
				t.Fatal("the test shows nothing")
			}
			for _, name := range []string{"n1", "n2"} {
				c.nodes[name].exchange.Sync(t.Context())
				if c.nodes[name].ring.Held(tap.DefaultTenant, "ana") != 0 {
					t.Errorf("%s took the key back", name)
				}
			}
			switch by {
			case "log":
				c.mu.Lock()
				c.catchUp(late)
				c.mu.Unlock()
			case "snapshot":
				ok(t, late.state.Restore(c.nodes["n1"].snapshot(t)))
			case "restart": // the erasure is on disk and the key was not overwritten yet
				snapshot := c.nodes["n1"].snapshot(t)
				c.close(late)
				ring, err := os.ReadFile(filepath.Join(late.dir, "keyring", keyring.SubjectsFile))
				ok(t, err)
				c.open(late)
				ok(t, late.state.Restore(snapshot))
				c.close(late)
				ok(t, os.WriteFile(filepath.Join(late.dir, "keyring", keyring.SubjectsFile), ring, 0o600))
				c.open(late)
			}
			if late.ring.Held(tap.DefaultTenant, "ana") != 0 {
				t.Error("it keeps the key")
			}
			ok(t, late.ring.Flush())
			search(t, late.dir, map[string][][]byte{"the key": {key.Value[:16], key.Value[16:]}, "a piece of the wrapped key": pieces})
			c.say("n3", "ana", "a new beginning")
		})
	}
}

// Sealing and erasing at the same time: each payload opens, or was sealed before an
// erasure that followed it.
func TestSealingBesideErasing(t *testing.T) {
	c := newCluster(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var all []uint64 // positions of what was sealed
	for _, name := range memberNames {
		wg.Go(func() {
			for range 5 {
				r, err := c.nodes[name].writer.Commit(t.Context(), store.Batch{
					RequestID: uuid.New(), Tenant: tap.DefaultTenant,
					Evidence: []store.Evidence{{Actor: "nurse", Action: "visit", Outcome: "ok", Payload: []byte(secretText), Subject: "ana"}},
				})
				if err != nil {
					t.Error(err)
					continue
				}
				mu.Lock()
				all = append(all, r.Position)
				mu.Unlock()
			}
		})
	}
	wg.Go(func() {
		for range 3 {
			_, err := c.nodes["n1"].writer.Update(t.Context(), func(v store.View) (store.Batch, error) { return erasing(t, v, "ana") })
			if err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	var erasures []uint64
	n1 := c.nodes["n1"]
	size, _ := n1.state.Size()
	for p := range size {
		if e, err := bookpi.ParseEntry(recordAt(t, n1, p).Entry); err == nil && e.Action == "subject.erase" {
			erasures = append(erasures, p)
		}
	}
	if len(erasures) != 3 || len(all) != 15 {
		t.Fatalf("%d erasures, %d payloads", len(erasures), len(all))
	}
	for _, position := range all {
		_, _, err := n1.sealer.Open(t.Context(), recordAt(t, n1, position).Payload)
		if over := position < erasures[len(erasures)-1]; over != tap.IsKind(err, tap.NotFound) || !over && err != nil {
			t.Errorf("at %d, with erasures at %v: %v", position, erasures, err)
		}
	}
	verify(t, n1.state)
}

func recordAt(t testing.TB, m *member, position uint64) store.Record {
	t.Helper()
	r, err := m.state.Record(position)
	ok(t, err)
	return r
}

// verify checks the whole chain, as an auditor does who has no key.
func verify(t testing.TB, s *store.Store) {
	t.Helper()
	ok(t, s.Flush())
	size, root := s.Size()
	var tree bookpi.Tree
	previous := bookpi.GenesisHash
	ok(t, s.Records(0, false, func(r store.Record) bool {
		e, err := bookpi.ParseEntry(r.Entry)
		if err != nil || e.Previous != previous || e.PayloadDigest != bookpi.PayloadDigest(r.Payload) {
			t.Fatalf("entry %d does not verify", r.Position)
		}
		if strings.Contains(string(r.Payload), "wrist") {
			t.Fatalf("entry %d has the text", r.Position)
		}
		previous = bookpi.LeafHash(r.Entry)
		tree.Append(previous, func(uint8, uint64, bookpi.Hash) {})
		return true
	}))
	if tree.Size() != size || tree.Root() != root {
		t.Fatal("the tree does not verify")
	}
}
