package store

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

// machine is a store with a log position of its own.

type machine struct {
	*Store
	t     testing.TB
	index uint64
	stamp int64
	log   []logEntry // everything that was applied
}

type logEntry struct {
	index    uint64
	stamp    int64
	commands [][]byte
}

func open(t testing.TB, dir string) *machine {
	t.Helper()
	s, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &machine{Store: s, t: t, index: s.Applied(), stamp: max(s.Clock(), 1_000_000)}
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
	m.log = append(m.log, logEntry{m.index, m.stamp, commands})
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

// checkLedger recomputes chain and tree from the records, and proves some

// entries from the tiles.

// Space freed lets an Apply that waits go on, without a restart.

// A snapshot that is being sent, or a scan that takes long, holds up neither

// reads nor Apply, however much the file grows meanwhile.

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
