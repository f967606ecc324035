package bookpi

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func auditWith(t *testing.T, l *ledger, src Source) (AuditReport, error) {
	t.Helper()
	return Audit(t.Context(), src, AuditOptions{VerifierKey: l.key})
}

func TestAuditAcceptsWholeLogs(t *testing.T) {
	for _, size := range []int{0, 1, 2, 255, 256, 257, 300, 512, 700} {
		l := newLedger(1, size)
		var recorded []uint64
		for n := range uint64(size + 1) {
			if n%97 == 0 || n%256 == 0 || n == uint64(size) {
				recorded = append(recorded, n)
			}
		}
		m := l.mirror(recorded...)
		for name, src := range map[string]Source{"memory": m, "folder": DirSource(m.fs())} {
			var last uint64
			visit := Visit{testOrigin, uint64(size / 2), mustRoot(t, l, uint64(size/2))}
			report, err := Audit(t.Context(), src, AuditOptions{
				VerifierKey: l.key,
				Last:        &visit,
				Payloads:    PayloadsRequired,
				Progress: func(done, total uint64) {
					if done <= last || total != uint64(size) {
						t.Errorf("%d entries: progress %d of %d after %d", size, done, total, last)
					}
					last = done
				},
			})
			if err != nil {
				t.Fatalf("%d entries, %s: %v", size, name, err)
			}
			if report.Entries != uint64(size) || report.Payloads != uint64(size) || report.Withheld != 0 ||
				report.Recorded != len(recorded) || last != uint64(size) {
				t.Errorf("%d entries, %s: %+v", size, name, report)
			}
			if report.Visit() != (Visit{testOrigin, uint64(size), l.tree.Root()}) {
				t.Errorf("%d entries: visit %+v", size, report.Visit())
			}
			if size > 0 && report.LastTimestamp-report.FirstTimestamp != int64(size-1) {
				t.Errorf("%d entries: from %d to %d", size, report.FirstTimestamp, report.LastTimestamp)
			}
		}
	}
}

func mustRoot(t *testing.T, l *ledger, size uint64) Hash {
	t.Helper()
	root, err := RootAt(size, l.tiles)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// A log may drop a partial tile once there is the full one, while checkpoints of the
// partial one's size are still about (C2SP tlog-tiles).
func TestAuditReadsFullTileForPartial(t *testing.T) {
	l := newLedger(1, 600)
	m := l.mirror()
	m[CheckpointPath] = l.checkpointAt(300)
	m[Tile{1, 0, 1}.Path()] = m[Tile{1, 0, 2}.Path()][:HashSize] // no full tile replaces it
	report, err := Audit(t.Context(), m, AuditOptions{VerifierKey: l.key, Payloads: PayloadsRequired})
	if err != nil || report.Entries != 300 || report.Payloads != 300 {
		t.Fatalf("%+v, %v", report, err)
	}
	// The full bundle's other entries are none of the checkpoint's.
	m[EntriesPath(1, TileWidth)] = flip(m[EntriesPath(1, TileWidth)], 200*150, 1)
	if _, err := auditWith(t, l, m); err != nil {
		t.Fatal(err)
	}
}

func TestAuditPayloads(t *testing.T) {
	l := newLedger(1, 300)
	m := l.mirror()
	var some []byte
	for i := range 256 {
		some = AppendPayload(some, BundledPayload{Data: l.payloads[i], Withheld: i%2 == 1})
	}
	m[PayloadsPath(0, 256)] = some
	delete(m, PayloadsPath(1, 44))
	report, err := auditWith(t, l, m)
	if err != nil || report.Payloads != 128 || report.Withheld != 128+44 {
		t.Fatalf("%+v, %v", report, err)
	}
	_, err = Audit(t.Context(), m, AuditOptions{VerifierKey: l.key, Payloads: PayloadsRequired})
	wantBroken(t, err, 1, PartPayload)
	report, err = Audit(t.Context(), m, AuditOptions{VerifierKey: l.key, Payloads: PayloadsRequired, Damages: 1000})
	wantBroken(t, err, 1, PartPayload)
	if n := len(report.Damages); n != 129 || report.Damages[128].Position != 256 {
		t.Fatalf("%d damages", n)
	}
	m[PayloadsPath(0, 256)] = flip(some, 7, 1)
	_, err = auditWith(t, l, m)
	wantBroken(t, err, 0, PartPayload)
	report, err = Audit(t.Context(), m, AuditOptions{VerifierKey: l.key, Payloads: PayloadsIgnored})
	if err != nil || report.Withheld != 300 {
		t.Fatalf("%+v, %v", report, err)
	}
}

// An entry and its stored hash can contradict each other; the signed root decides.
func TestAuditNamesTheBrokenSide(t *testing.T) {
	l := newLedger(1, 700)
	m := l.mirror(300)
	entries, tile := EntriesPath(1, 256), Tile{0, 1, 256}.Path()
	offset := 0 // of the bytes of entry 256+37
	for i := range 37 {
		offset += entryLength + len(l.entries[256+i])
	}
	offset += entryLength

	_, err := auditWith(t, l, m.with(entries, flip(m[entries], offset+offRequestID, 1)))
	wantBroken(t, err, 256+37, PartEntry)
	_, err = auditWith(t, l, m.with(tile, flip(m[tile], 37*HashSize, 1)))
	wantBroken(t, err, 256+37, PartTile)
	_, err = auditWith(t, l, m.with(entries, m[entries][:offset+20]))
	wantBroken(t, err, 256+37, PartEntry)
	_, err = auditWith(t, l, m.with(entries, append(bytes.Clone(m[entries]), 0)))
	wantBroken(t, err, 511, PartEntry)
	_, err = auditWith(t, l, m.with(entries, nil))
	wantBroken(t, err, 256, PartEntry)
	_, err = auditWith(t, l, m.with(tile, nil))
	wantBroken(t, err, 256, PartTile)
	upper := Tile{1, 0, 2}.Path()
	_, err = auditWith(t, l, m.with(upper, flip(m[upper], HashSize, 1)))
	wantBroken(t, err, 256, PartTile)
	_, err = auditWith(t, l, m.with(upper, nil))
	wantBroken(t, err, 0, PartTile)

	both := m.with(entries, flip(m[entries], offset+offRequestID, 1))
	both = both.with(tile, flip(m[tile], 37*HashSize, 1))
	_, err = auditWith(t, l, both)
	wantBroken(t, err, 256+37, PartEntry)
	if !strings.Contains(err.Error(), "neither") {
		t.Error(err)
	}
}

// With Damages the audit goes on behind damage, and what is not damaged stays so.
func TestAuditListsDamages(t *testing.T) {
	l := newLedger(1, 1000)
	m := l.mirror(300, 600)
	m[EntriesPath(0, 256)] = flip(m[EntriesPath(0, 256)], entryLength+offDigest, 1)
	m[Tile{0, 1, 256}.Path()] = flip(m[Tile{0, 1, 256}.Path()], 5*HashSize, 1)
	delete(m, EntriesPath(2, 256))
	m[PayloadsPath(3, 232)] = flip(m[PayloadsPath(3, 232)], payloadLength, 1)
	m[RecordedPath(600)] = l.checkpointAt(601)
	want := []struct {
		position int64
		part     string
	}{{-1, PartCheckpoint}, {0, PartEntry}, {256 + 5, PartTile}, {512, PartEntry}, {768, PartPayload}}
	report, err := Audit(t.Context(), m, AuditOptions{VerifierKey: l.key, Damages: 100})
	if err == nil || len(report.Damages) != len(want) || report.Entries != 1000 || report.Recorded != 1 {
		t.Fatalf("%v: %+v", err, report)
	}
	for i, d := range report.Damages {
		wantBroken(t, d, want[i].position, want[i].part)
	}
	report, _ = Audit(t.Context(), m, AuditOptions{VerifierKey: l.key, Damages: 3})
	if len(report.Damages) != 3 {
		t.Errorf("%d damages, limit 3", len(report.Damages))
	}
	// Without entries and without hashes there is nothing to go on with.
	delete(m, Tile{0, 2, 256}.Path())
	report, err = Audit(t.Context(), m, AuditOptions{VerifierKey: l.key, Damages: 100})
	if err == nil || report.Entries != 512 {
		t.Errorf("%v: %+v", err, report)
	}
}

// A log whose operator wrote what should not be there is signed and consistent; only the
// content gives it away.
func TestAuditRefusesWhatALogMustNotHold(t *testing.T) {
	valid := func(i int) Entry {
		return Entry{Timestamp: 1000 + int64(i), Tenant: "t", Actor: "a", Action: "x", Outcome: "done"}
	}
	for _, c := range []struct {
		name   string
		at     int64
		part   string
		change func(e *Entry, raw []byte)
	}{
		{"link", 7, PartChain, func(_ *Entry, raw []byte) { raw[offPrevious] ^= 1 }},
		{"first link", 0, PartChain, func(_ *Entry, raw []byte) { raw[offPrevious] ^= 1 }},
		{"link across bundles", 256, PartChain, func(_ *Entry, raw []byte) { raw[offPrevious] ^= 1 }},
		{"time", 9, PartTime, func(_ *Entry, raw []byte) { raw[offTimestamp+6] = 0; raw[offTimestamp+7] = 1 }},
		{"time across bundles", 256, PartTime, func(_ *Entry, raw []byte) { raw[offTimestamp+6] = 0; raw[offTimestamp+7] = 1 }},
		{"text", 11, PartEntry, func(_ *Entry, raw []byte) { raw[entryHeader] = '\n' }},
		{"version", 299, PartEntry, func(_ *Entry, raw []byte) { raw[3] = 2 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLedger(1, 0)
			for i := range 300 {
				e := valid(i)
				e.Previous = l.head
				e.PayloadDigest = PayloadDigest(nil)
				raw := e.Append(nil)
				if int64(i) == c.at {
					c.change(&e, raw)
				}
				l.head = LeafHash(raw)
				l.tree.Append(l.head, l.tiles.emit)
				l.entries, l.payloads = append(l.entries, raw), append(l.payloads, nil)
			}
			_, err := auditWith(t, l, l.mirror())
			wantBroken(t, err, c.at, c.part)
		})
	}
}

func TestAuditKnowsTheLog(t *testing.T) {
	l := newLedger(1, 600)
	m := l.mirror(200, 400)
	check := func(name string, src Source, last *Visit, want error) {
		t.Helper()
		_, err := Audit(t.Context(), src, AuditOptions{VerifierKey: l.key, Last: last})
		wantBroken(t, err, -1, PartCheckpoint)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	check("smaller than at the last visit", m, &Visit{testOrigin, 601, Hash{1}}, ErrRolledBack)
	check("another root at the last visit", m, &Visit{testOrigin, 100, Hash{1}}, ErrSplitView)
	check("another root at this visit", m, &Visit{testOrigin, 600, Hash{1}}, ErrSplitView)
	check("another empty tree", m, &Visit{testOrigin, 0, Hash{1}}, ErrSplitView)
	check("another log", m, &Visit{"else/where", 100, mustRoot(t, l, 100)}, ErrOtherLog)
	check("rolled back behind a recorded checkpoint", m.with(CheckpointPath, l.checkpointAt(300)), nil, ErrRolledBack)
	forked := l.sign(Checkpoint{testOrigin, 400, Hash{1}})
	check("a recorded checkpoint of another history", m.with(RecordedPath(400), forked), nil, ErrSplitView)

	// The whole of the log is as it was: only the newest checkpoint is of another tree.
	_, err := auditWith(t, l, m.with(CheckpointPath, l.sign(Checkpoint{testOrigin, 600, Hash{1}})))
	wantBroken(t, err, -1, PartCheckpoint)
	_, err = auditWith(t, l, m.with(CheckpointPath, nil))
	wantBroken(t, err, -1, PartCheckpoint)
	_, err = auditWith(t, newLedger(2, 0), m)
	wantBroken(t, err, -1, PartCheckpoint)
	_, err = auditWith(t, l, m.with(RecordedPath(400), l.checkpointAt(200)))
	wantBroken(t, err, -1, PartCheckpoint)
	_, err = Audit(t.Context(), m, AuditOptions{VerifierKey: "nonsense"})
	wantIs(t, err, ErrKey)
}

// scripted is a source with a hand in some of its files.
type scripted struct {
	Source
	fetch func(path string) (data []byte, err error, handled bool)
}

func (s scripted) Fetch(ctx context.Context, path string, limit int64) ([]byte, error) {
	if data, err, handled := s.fetch(path); handled {
		return data, err
	}
	return s.Source.Fetch(ctx, path, limit)
}

func TestAuditOfFailingSources(t *testing.T) {
	l := newLedger(1, 700)
	m := l.mirror(200, 400)
	failure := errors.New("the cable is cut")
	for _, path := range m.paths() {
		src := scripted{m, func(p string) ([]byte, error, bool) { return nil, failure, p == path }}
		_, err := auditWith(t, l, src)
		var b *BrokenError
		if !errors.Is(err, failure) || errors.As(err, &b) {
			t.Errorf("%s: %v, want the source's error", path, err)
		}
		oversize := scripted{m, func(p string) ([]byte, error, bool) { return nil, ErrOversize, p == path }}
		if _, err = auditWith(t, l, oversize); !errors.As(err, &b) || b.Part != partOf(path) {
			t.Errorf("%s: too long: %v", path, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	src := scripted{m, func(p string) ([]byte, error, bool) {
		if p == EntriesPath(1, 256) {
			cancel()
		}
		return nil, nil, false
	}}
	if _, err := Audit(ctx, src, AuditOptions{VerifierKey: l.key, Workers: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// A log drops recorded checkpoints while it is being read: that is its right. To list
// one and not have it is not.
func TestAuditOfPrunedCheckpoints(t *testing.T) {
	l := newLedger(1, 300)
	m := l.mirror(100, 200)
	lists := [][]byte{[]byte("50\n100\n200\n"), []byte("100\n200\n")}
	src := scripted{m, func(p string) ([]byte, error, bool) {
		if p != CheckpointsPath {
			return nil, nil, false
		}
		list := lists[0]
		if len(lists) > 1 {
			lists = lists[1:]
		}
		return list, nil, true
	}}
	if report, err := auditWith(t, l, src); err != nil || report.Recorded != 2 {
		t.Fatalf("%+v, %v", report, err)
	}
	lists = [][]byte{[]byte("50\n100\n")}
	_, err := auditWith(t, l, src)
	wantBroken(t, err, -1, PartCheckpoint)
	lists = [][]byte{[]byte("100\n50\n")}
	_, err = auditWith(t, l, src)
	wantBroken(t, err, -1, PartStructure)
	src.fetch = func(p string) ([]byte, error, bool) { return nil, fs.ErrNotExist, p == CheckpointsPath }
	if report, err := auditWith(t, l, src); err != nil || report.Recorded != 0 {
		t.Fatalf("%+v, %v", report, err)
	}
}

var everyByte = flag.Bool("every-byte", false, "flip every byte of the long files too, which takes half a minute")

// Short files are flipped byte by byte; of the full tile and the full bundles, whose
// entries are all alike, every 61st byte from a random start, unless -every-byte asks
// for all.
//
// Feature: tamv-hardened-backend, Property 8: Evidence Tamper Detection
func TestAuditRefusesEveryFlippedByte(t *testing.T) {
	l := newLedger(1, 260)
	m := l.mirror(100)
	opts := AuditOptions{VerifierKey: l.key, Workers: 1}
	if _, err := Audit(t.Context(), m, opts); err != nil {
		t.Fatal(err)
	}
	flips := 0
	for _, path := range m.paths() {
		start, step := 0, 1
		if len(m[path]) > 1024 && !*everyByte {
			step = 61
			start = rand.IntN(step)
		}
		for i := start; i < len(m[path]); i += step {
			mask := byte(1 + rand.UintN(255))
			_, err := Audit(t.Context(), m.with(path, flip(m[path], i, mask)), opts)
			var b *BrokenError
			if !errors.As(err, &b) {
				t.Fatalf("%s, byte %d ^ %#x: %v", path, i, mask, err)
			}
			flips++
		}
	}
	t.Logf("%d flips, 0 accepted", flips)
}

// Feature: tamv-hardened-backend, Property 8: Evidence Tamper Detection
func TestAuditRefusesTamperedMirrors(t *testing.T) {
	l, other := newLedger(1, 700), newLedger(1, 0)
	for i := range 700 { // the same log until entry 500, the same key, signed as well
		if other.add(l.payloads[i]); i == 500 {
			other.add([]byte("something else"))
		}
	}
	m, spliced := l.mirror(200, 512), other.mirror(200, 512)
	last := Visit{testOrigin, 700, l.tree.Root()}
	paths := m.paths()
	rapid.Check(t, func(rt *rapid.T) {
		path := rapid.SampledFrom(paths).Draw(rt, "file")
		var changed mirror
		switch rapid.SampledFrom([]string{"truncate", "extend", "remove", "swap", "splice", "roll back"}).Draw(rt, "how") {
		case "truncate":
			changed = m.with(path, m[path][:rapid.IntRange(0, len(m[path])-1).Draw(rt, "length")])
		case "extend":
			changed = m.with(path, append(bytes.Clone(m[path]), rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(rt, "more")...))
		case "remove":
			if _, err := ParseRecordedPath(path); err == nil {
				rt.Skip("a log may drop recorded checkpoints")
			}
			changed = m.with(path, nil)
		case "swap":
			second := rapid.SampledFrom(paths).Draw(rt, "second")
			changed = m.with(path, m[second]).with(second, m[path])
		case "splice":
			theirs, ok := spliced[path]
			if !ok {
				rt.Skip("the other log has no such file")
			}
			changed = m.with(path, theirs)
		case "roll back":
			changed = m.with(CheckpointPath, m[rapid.SampledFrom([]string{RecordedPath(200), RecordedPath(512)}).Draw(rt, "to")])
		}
		if slices.EqualFunc(paths, changed.paths(), func(x, y string) bool { return x == y && bytes.Equal(m[x], changed[y]) }) {
			rt.Skip("nothing changed")
		}
		_, err := Audit(t.Context(), changed, AuditOptions{VerifierKey: l.key, Last: &last, Payloads: PayloadsRequired})
		var b *BrokenError
		if !errors.As(err, &b) {
			rt.Fatalf("accepted: %v", err)
		}
	})
}
