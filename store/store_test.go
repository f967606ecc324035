package store

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// machine is a store with a log position of its own.
type machine struct {
	*Store
	t     testing.TB
	index uint64
	stamp int64
}

func open(t testing.TB, dir string) *machine {
	t.Helper()
	s, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &machine{s, t, s.Applied(), max(s.Clock(), 1_000_000)}
}

// pack applies batches as one log entry.
func (m *machine) pack(batches ...Batch) []any {
	m.t.Helper()
	commands := make([][]byte, len(batches))
	for i, b := range batches {
		c, err := EncodeBatch(b)
		if err != nil {
			m.t.Fatal(err)
		}
		commands[i] = c
	}
	m.index++
	m.stamp++
	outcomes, err := m.Apply(m.index, m.stamp, commands)
	if err != nil {
		m.t.Fatal(err)
	}
	return outcomes
}

func (m *machine) ok(b Batch) Receipt {
	m.t.Helper()
	receipt, ok := m.pack(b)[0].(Receipt)
	if !ok {
		m.t.Fatalf("refused: %v", m.pack(b)[0])
	}
	return receipt
}

func (m *machine) refused(b Batch, kind tap.Kind) {
	m.t.Helper()
	err, refused := m.pack(b)[0].(error)
	if !refused || !tap.IsKind(err, kind) {
		m.t.Fatalf("want %v, got %v", kind, err)
	}
}

func (m *machine) value(k Key) (string, bool) {
	m.t.Helper()
	item, ok, err := m.Get(k)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(item.Value), ok
}

func (m *machine) advance(d time.Duration) {
	m.stamp += d.Microseconds()
	m.pack()
}

func batch(ops ...Op) Batch {
	return Batch{
		RequestID: uuid.New(), Tenant: "main", Ops: ops,
		Evidence: []Evidence{{Actor: "ana", Action: "test.act", Outcome: "ok", Payload: []byte("{}")}},
	}
}

func key(parts ...string) Key { return K("main", "test", parts...) }

func amount(s string) Amount {
	a, err := ParseAmount(s, 20, AmountScale)
	if err != nil {
		panic(err)
	}
	return a
}

func TestOperations(t *testing.T) {
	m := open(t, t.TempDir())
	k := key("a")
	m.ok(batch(Create(k, []byte("1"))))
	m.refused(batch(Create(k, []byte("2"))), tap.Conflict)
	item, _, _ := m.Get(k)
	m.ok(batch(Check(k, item.Version), Put(k, []byte("3"))))
	m.refused(batch(Check(k, item.Version), Put(k, []byte("4"))), tap.Conflict)
	if v, _ := m.value(k); v != "3" {
		t.Fatalf("value %q", v)
	}
	m.ok(batch(Delete(k)))
	if _, ok := m.value(k); ok {
		t.Fatal("deleted record is seen")
	}
	m.ok(batch(Check(k, 0), Put(k, nil)))
	if v, ok := m.value(k); !ok || v != "" {
		t.Fatal("an empty value is a value")
	}
	m.ok(batch(Add(k, 5), Add(k, -7)))
	if n, _ := m.Counter(k); n != -2 {
		t.Fatalf("counter %d", n)
	}
	m.refused(batch(Add(k, math.MinInt64)), tap.Invalid)
	r := m.ok(batch(Append(k, []byte("x")), Append(k, []byte("y"))))
	if !slices.Equal(r.Appended, []uint64{1, 2}) {
		t.Fatalf("sequence numbers %v", r.Appended)
	}
	var seen []string
	_ = m.Sequence(k, 2, func(n uint64, v []byte) bool { seen = append(seen, fmt.Sprintf("%d %s", n, v)); return true })
	if !slices.Equal(seen, []string{"2 y"}) {
		t.Fatalf("sequence from 2: %v", seen)
	}
}

func TestPostingsMoveMoneyAndNeverMakeIt(t *testing.T) {
	m := open(t, t.TempDir())
	from, to := key("from"), key("to")
	m.ok(batch(Post(from, "USD", amount("-0.0000000001")), Post(to, "USD", amount("0.0000000001"))))
	b, err := m.Balance(to, "USD")
	if err != nil || b.String() != "0.0000000001" {
		t.Fatalf("balance %v %v", b, err)
	}
	if _, err := EncodeBatch(batch(Post(to, "USD", amount("1")))); !tap.IsKind(err, tap.Invalid) {
		t.Fatalf("money out of nothing: %v", err)
	}
	if _, err := EncodeBatch(batch(Post(from, "USD", amount("-1")), Post(to, "MXN", amount("1")))); !tap.IsKind(err, tap.Invalid) {
		t.Fatalf("money across currencies: %v", err)
	}
	// A batch that fails later must not have moved anything.
	m.refused(batch(Post(from, "USD", amount("-5")), Post(to, "USD", amount("5")), Check(from, 9)), tap.Conflict)
	if b, _ := m.Balance(to, "USD"); b.String() != "0.0000000001" {
		t.Fatalf("half a batch was applied: %v", b)
	}
}

func TestABatchIsAppliedAtMostOnce(t *testing.T) {
	m := open(t, t.TempDir())
	b := batch(Add(key("n"), 1), Append(key("s"), []byte("v")))
	first := m.ok(b)
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	again := m.ok(b)
	if n, _ := m.Counter(key("n")); n != 1 || !again.Duplicate || again.Leaf != first.Leaf || again.Position != first.Position || !slices.Equal(again.Appended, first.Appended) {
		t.Fatalf("applied twice: counter %d, %+v then %+v", n, first, again)
	}
	other := b
	other.Evidence = []Evidence{{Actor: "eve", Action: "test.act", Outcome: "ok"}}
	if r := m.ok(other); r.Duplicate {
		t.Fatal("another actor's request id was taken for this one")
	}
	m.advance(IdempotencyWindow + time.Second)
	m.pack()
	if r := m.ok(b); r.Duplicate {
		t.Fatal("remembered beyond the window")
	}
}

func TestExpiry(t *testing.T) {
	// Feature: tamv-hardened-backend, Property 20: Session TTL Expiration
	m := open(t, t.TempDir())
	var removed []Key
	m.observers = map[string][]Observer{"test": {func(cs []Change, _ bool) {
		for _, c := range cs {
			if c.Value == nil {
				removed = append(removed, c.Key)
			}
		}
	}}}
	at := m.stamp + 10_000_000
	for i := range expiriesPerPack + 10 {
		k := key("s", fmt.Sprintf("%04d", i))
		m.ok(batch(Put(k, []byte("v")), Expire(k, at)))
	}
	kept := key("s", "0000")
	m.ok(batch(Put(kept, []byte("for good"))))
	if next, _ := m.NextDue(); next != at {
		t.Fatalf("next due %d, want %d", next, at)
	}
	m.advance(11 * time.Second)
	if _, ok := m.value(key("s", "0265")); ok {
		t.Fatal("an overdue record is seen although it waits for its removal")
	}
	if len(removed) != expiriesPerPack {
		t.Fatalf("one pack removed %d, the bound is %d", len(removed), expiriesPerPack)
	}
	m.pack()
	if len(removed) != expiriesPerPack+9 {
		t.Fatalf("removed %d", len(removed))
	}
	if v, _ := m.value(kept); v != "for good" {
		t.Fatal("a Put without Expire did not keep the record")
	}
	m.refused(batch(Expire(key("absent"), at)), tap.Conflict)
}

func TestScanMergesMemoryAndDisk(t *testing.T) {
	m := open(t, t.TempDir())
	for _, k := range []string{"b", "d", "f"} {
		m.ok(batch(Put(key("x", k), []byte(k))))
	}
	m.ok(batch(Put(K("other", "test", "x", "c"), nil)).withTenant("other"))
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	m.ok(batch(Put(key("x", "a"), []byte("a")), Delete(key("x", "d")), Put(key("x", "f"), []byte("F")), Put(key("y"), nil)))
	var got []string
	_ = m.Scan(key("x").Prefix(), "", func(i Item) bool { got = append(got, string(i.Value)); return true })
	if strings.Join(got, "") != "abF" {
		t.Fatalf("scan saw %v", got)
	}
	got = nil
	_ = m.Scan(key("x").Prefix(), key("x", "b"), func(i Item) bool { got = append(got, string(i.Value)); return false })
	if strings.Join(got, "") != "b" {
		t.Fatalf("scan from b saw %v", got)
	}
}

func (b Batch) withTenant(tenant string) Batch { b.Tenant = tenant; return b }

func TestReopenAndReplay(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	for i := range 200 {
		m.ok(batch(Put(key(fmt.Sprint(i)), []byte("v"))))
	}
	size, root := m.Size()
	applied := m.Applied()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = open(t, dir)
	if s, r := m.Size(); s != size || r != root || m.Applied() != applied {
		t.Fatalf("reopened at %d %v, want %d %v", s, r, size, root)
	}
	// Replaying an applied entry changes nothing.
	c, _ := EncodeBatch(batch(Put(key("late"), nil)))
	if out, err := m.Apply(applied, m.stamp, [][]byte{c}); err != nil || len(out) != 1 {
		t.Fatal(out, err)
	}
	if _, ok := m.value(key("late")); ok {
		t.Fatal("an applied entry was applied again")
	}
	m.ok(batch(Put(key("next"), nil)))
	checkLedger(t, m)
}

// checkLedger recomputes chain and tree from the records, and proves some
// entries from the tiles.
func checkLedger(t testing.TB, m *machine) {
	t.Helper()
	size, root := m.Size()
	var tree bookpi.Tree
	var previous bookpi.Hash
	next := uint64(0)
	err := m.Records(0, false, func(r Record) bool {
		e, err := bookpi.ParseEntry(r.Entry)
		if err != nil || r.Position != next || e.Previous != previous || e.PayloadDigest != bookpi.PayloadDigest(r.Payload) {
			t.Fatalf("entry %d: %v %+v", r.Position, err, e)
		}
		next++
		previous = bookpi.LeafHash(r.Entry)
		tree.Append(previous, func(uint8, uint64, bookpi.Hash) {})
		return true
	})
	if err != nil || next != size || tree.Root() != root {
		t.Fatalf("ledger of %d entries walks to %d: %v", size, next, err)
	}
	for _, position := range []uint64{0, size / 3, size - 1} {
		r, err := m.Record(position)
		if err != nil {
			t.Fatal(err)
		}
		leaf := bookpi.LeafHash(r.Entry)
		proof, err := bookpi.InclusionProof(size, position, m)
		if err != nil {
			t.Fatal(err)
		}
		if err := bookpi.VerifyInclusion(leaf, position, size, proof, root); err != nil {
			t.Fatal(err)
		}
		if found, ok, err := m.Find(leaf); err != nil || !ok || found != position {
			t.Fatalf("leaf of %d found at %d %v %v", position, found, ok, err)
		}
	}
}

func TestLedgerAcrossBlocksTilesAndSegments(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	write := func(n int) {
		for range n / 8 {
			b := batch()
			for range 7 {
				b.Evidence = append(b.Evidence, b.Evidence[0])
			}
			m.pack(b, b.renamed())
		}
	}
	write(segmentEntries / 2)
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	write(segmentEntries)
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	write(800)
	checkLedger(t, m)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = open(t, dir)
	checkLedger(t, m)
	if _, ok, err := m.Find(bookpi.Hash{1}); ok || err != nil {
		t.Fatal("found what is not there")
	}
	if _, err := m.Record(1 << 40); !tap.IsKind(err, tap.NotFound) {
		t.Fatal(err)
	}
	var down []uint64
	_ = m.Records(130, true, func(r Record) bool { down = append(down, r.Position); return len(down) < 131 })
	if len(down) != 131 || down[0] != 130 || down[130] != 0 {
		t.Fatalf("walked down %d entries", len(down))
	}
}

func (b Batch) renamed() Batch { b.RequestID = uuid.New(); return b }

func TestSnapshotAndRestore(t *testing.T) {
	m := open(t, t.TempDir())
	for i := range 300 {
		m.ok(batch(Put(key(fmt.Sprint(i)), []byte("v")), Add(key("n"), 1)))
	}
	snapshot, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	hash, _ := m.StateHash()
	m.ok(batch(Put(key("after"), nil)))
	var buf bytes.Buffer
	if _, err := snapshot.WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	snapshot.Release()

	resets := 0
	dir := t.TempDir()
	s, err := Open(dir, map[string][]Observer{"test": {func(_ []Change, reset bool) {
		if reset {
			resets++
		}
	}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	altered := bytes.Clone(buf.Bytes())
	altered[len(altered)/2] ^= 1
	for name, bad := range map[string][]byte{"altered": altered, "cut": buf.Bytes()[:buf.Len()-1], "empty": nil} {
		if err := s.Restore(bytes.NewReader(bad)); !errors.Is(err, ErrDamaged) {
			t.Fatalf("%s snapshot: %v", name, err)
		}
	}
	if s.Applied() != 0 || resets != 0 {
		t.Fatal("a bad snapshot changed the state")
	}
	if err := s.Restore(bytes.NewReader(buf.Bytes())); err != nil {
		t.Fatal(err)
	}
	restored := &machine{s, t, s.Applied(), s.Clock()}
	if h, _ := s.StateHash(); h != hash || resets != 1 {
		t.Fatal("the restored state differs")
	}
	if _, ok := restored.value(key("after")); ok {
		t.Fatal("the snapshot was not frozen")
	}
	restored.ok(batch(Put(key("goes on"), nil)))
	checkLedger(t, restored)
}

func TestDamageIsNamedOnOpen(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	m.ok(batch(Put(key("a"), nil)))
	m.meta.head[0] ^= 1 // what a flipped bit in the file would do
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, nil); !errors.Is(err, ErrDamaged) {
		t.Fatalf("opened a damaged ledger: %v", err)
	}
	garbage := t.TempDir()
	if err := os.WriteFile(filepath.Join(garbage, "state.db"), bytes.Repeat([]byte("x"), 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(garbage, nil); !tap.IsKind(err, tap.Unavailable) || !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
}

func TestAFlushThatFailsLosesNothing(t *testing.T) {
	m := open(t, t.TempDir())
	m.ok(batch(Put(key("a"), []byte("1"))))
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	m.stop() // the background flusher must not race with what follows
	<-m.done
	writable := m.db
	m.db = readOnlyCopy(t, m.path)
	m.ok(batch(Put(key("a"), []byte("2")), Delete(key("b"))))
	if err := m.Flush(); !tap.IsKind(err, tap.Unavailable) || m.Health() == nil {
		t.Fatalf("the failure is not reported: %v", err)
	}
	m.db = writable
	m.ok(batch(Put(key("c"), []byte("3"))))
	if v, _ := m.value(key("a")); v != "2" {
		t.Fatalf("lost a write: %q", v)
	}
	if err := m.Flush(); err != nil || m.Health() != nil {
		t.Fatal(err)
	}
	checkLedger(t, m)

	// Beyond what memory may hold Apply waits for the disk; a stop ends that.
	m.pending = maxPending + 1
	applied := make(chan error)
	go func() {
		_, err := m.Apply(m.index+1, m.stamp+1, nil)
		applied <- err
	}()
	m.StopWaiting()
	if err := <-applied; !tap.IsKind(err, tap.Unavailable) {
		t.Fatalf("applied beyond what memory may hold: %v", err)
	}
}

// Space freed lets an Apply that waits go on, without a restart.
func TestApplyResumesWhenTheDiskTakesWrites(t *testing.T) {
	m := open(t, t.TempDir())
	m.ok(batch(Put(key("a"), nil)))
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	m.flushMu.Lock() // as if the disk were full: nothing is flushed
	full := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := range 80 {
			m.ok(batch(Put(key("big", fmt.Sprint(i)), make([]byte, MaxValueBytes))))
			if i == 40 {
				close(full)
			}
		}
	}()
	<-full
	m.flushMu.Unlock()
	<-ended
	if _, ok := m.value(key("big", "79")); !ok {
		t.Fatal("the last write is not there")
	}
}

// A snapshot that is being sent, or a scan that takes long, holds up neither
// reads nor Apply, however much the file grows meanwhile.
func TestLongReadsDoNotStopTheMachine(t *testing.T) {
	m := open(t, t.TempDir())
	m.ok(batch(Put(key("a"), nil), Put(key("b"), nil)))
	snapshot, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	err = m.Scan(key("a"), "", func(Item) bool {
		for i := range 20 { // far beyond bbolt's first map
			m.ok(batch(Put(key("big", fmt.Sprint(i)), make([]byte, MaxValueBytes))))
			if err := m.Flush(); err != nil {
				t.Error(err)
			}
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	snapshot.Release()
}

func TestARequestIDStandsForOneRequest(t *testing.T) {
	m := open(t, t.TempDir())
	b := batch(Add(key("n"), 1))
	b.Fingerprint = Fingerprint([]byte("POST"), []byte("/a"))
	m.ok(b)
	other := b
	other.Fingerprint = Fingerprint([]byte("POST"), []byte("/b"))
	err, refused := m.pack(other)[0].(*tap.Error)
	if !refused || err.Kind != tap.Conflict || err.StableCode() != "request_id_reused" {
		t.Fatalf("another request under the same id: %v", m.pack(other)[0])
	}
	if r := m.ok(b); !r.Duplicate {
		t.Fatal("the same request is no duplicate")
	}
	b.Fingerprint = [32]byte{}
	if r := m.ok(b); !r.Duplicate {
		t.Fatal("a batch that says nothing is no duplicate")
	}
	if Fingerprint([]byte("a"), []byte("bc")) == Fingerprint([]byte("ab"), []byte("c")) {
		t.Fatal("two requests hash alike")
	}
}

// Removing keeps up with writing, however large the packs.
func TestExpiryKeepsUp(t *testing.T) {
	m := open(t, t.TempDir())
	n := 0
	for range 20 {
		batches := make([]Batch, 1024)
		for i := range batches {
			n++
			k := key("nonce", fmt.Sprint(n))
			batches[i] = batch(Create(k, nil), Expire(k, m.stamp+2))
		}
		m.pack(batches...)
	}
	overdue, _, err := m.dueKeys(bucketExpiry, m.Clock()-1, 1<<20)
	if err != nil || len(overdue) > 2*1024 {
		t.Fatalf("%d records are overdue after 20 packs of 1,024: %v", len(overdue), err)
	}
}

// readOnlyCopy is a database file that refuses writes, as a full disk does.
func readOnlyCopy(t *testing.T, path string) *bolt.DB {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dup := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(dup, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(dup, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestCommandsOfOtherReleases(t *testing.T) {
	m := open(t, t.TempDir())
	good, _ := EncodeBatch(batch(Put(key("a"), nil)))
	unknown := bytes.Clone(good)
	unknown[0], unknown[1] = 0x00, 0x63 // not critical: skipped
	for _, c := range [][]byte{unknown, good[:10], append(bytes.Clone(good), 0)} {
		m.index++
		m.stamp++
		out, err := m.Apply(m.index, m.stamp, [][]byte{c})
		if _, refused := out[0].(error); err != nil || !refused {
			t.Fatalf("outcome %v, %v", out, err)
		}
	}
	critical := bytes.Clone(good)
	critical[1] = 0x63
	if _, err := m.Apply(m.index+1, m.stamp+1, [][]byte{critical}); err == nil {
		t.Fatal("went on after a critical command that it does not know")
	}
}

func TestBadBatchesAreRefusedBeforeTheLog(t *testing.T) {
	long := strings.Repeat("x", MaxKeyBytes)
	for name, b := range map[string]Batch{
		"no evidence":        {Tenant: "main", Ops: []Op{Put(key("a"), nil)}},
		"no tenant":          batch().withTenant(""),
		"bad tenant":         batch().withTenant("a\x00b"),
		"other tenant's key": batch(Put(K("other", "test"), nil)),
		"no space":           batch(Put("main", nil)),
		"long key":           batch(Put(key(long), nil)),
		"large value":        batch(Put(key("a"), make([]byte, MaxValueBytes+1))),
		"unknown op":         batch(Op{Type: 99, Key: key("a")}),
		"bad currency":       batch(Post(key("a"), "", Amount{})),
		"past expiry":        batch(Expire(key("a"), 0)),
		"many digits":        batch(Post(key("a"), "USD", amount("10000000000000000000").times20()), Post(key("b"), "USD", amount("10000000000000000000").times20().Negated())),
		"control characters": {Tenant: "main", Evidence: []Evidence{{Actor: "a\n", Action: "b", Outcome: "c"}}},
		"bad UTF-8":          {Tenant: "main", Evidence: []Evidence{{Actor: "a", Action: "\xff", Outcome: "c"}}},
		"no outcome":         {Tenant: "main", Evidence: []Evidence{{Actor: "a", Action: "b"}}},
		"large payload":      {Tenant: "main", Evidence: []Evidence{{Actor: "a", Action: "b", Outcome: "c", Payload: make([]byte, MaxPayload+1)}}},
		"large batch":        batch(Put(key("a"), make([]byte, MaxValueBytes)), Put(key("b"), make([]byte, MaxValueBytes)), Put(key("c"), make([]byte, 1024))),
	} {
		if _, err := EncodeBatch(b); tap.KindOf(err) != tap.Invalid && tap.KindOf(err) != tap.Forbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func (a Amount) times20() Amount {
	for range 20 {
		a, _ = a.Share(10, 1)
	}
	return a
}

func TestKey(t *testing.T) {
	k := K("main", "room", "plaza", "cube")
	if k.Tenant() != "main" || k.Space() != "room" || k.Last() != "cube" || !strings.HasPrefix(string(k), string(K("main", "room", "plaza").Prefix())) {
		t.Fatalf("%q", k)
	}
}
