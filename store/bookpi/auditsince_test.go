package bookpi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// noted is a source that notes what it was asked for.
type noted struct {
	Source
	mu    sync.Mutex
	paths []string // guarded by mu
}

func (n *noted) Fetch(ctx context.Context, path string, limit int64) ([]byte, error) {
	n.mu.Lock()
	n.paths = append(n.paths, path)
	n.mu.Unlock()
	return n.Source.Fetch(ctx, path, limit)
}

// since audits what came behind the first entries, which it takes for known.
func (l *ledger) since(t testing.TB, src Source, known uint64) (AuditReport, error) {
	root, err := RootAt(known, l.tiles)
	if err != nil {
		t.Fatal(err)
	}
	return Audit(context.Background(), src, AuditOptions{
		VerifierKey: l.key, Last: &Visit{testOrigin, known, root}, SinceLast: true, Payloads: PayloadsRequired,
	})
}

func TestAuditSinceLastReadsOnlyWhatCame(t *testing.T) {
	const size = 70_000 // three levels of tiles
	l := newLedger(1, size)
	m := l.mirror(100, 40_000, 65_000, 65_536, 69_000)
	for known, recorded := range map[uint64]int{1: 5, 256: 5, 257: 4, 512: 4, 65_536: 2, 65_537: 2, 65_792: 2, 69_999: 0, size: 0} {
		src := &noted{Source: m}
		report, err := l.since(t, src, known)
		if err != nil {
			t.Fatalf("since %d: %v", known, err)
		}
		from := (known - 1) / TileWidth * TileWidth
		if report.From != from || report.Entries != size-from || report.Payloads != size-from || report.Recorded != recorded {
			t.Errorf("since %d: %+v", known, report)
		}
		if report.Visit() != (Visit{testOrigin, size, l.tree.Root()}) {
			t.Errorf("since %d: visit %+v", known, report.Visit())
		}
		for index := range from / TileWidth {
			for _, path := range []string{EntriesPath(index, TileWidth), PayloadsPath(index, TileWidth), (Tile{0, index, TileWidth}).Path()} {
				if slices.Contains(src.paths, path) {
					t.Fatalf("since %d: it read %s", known, path)
				}
			}
		}
	}
}

func TestAuditSinceNothingIsWhole(t *testing.T) {
	l := newLedger(1, 600)
	for name, last := range map[string]*Visit{"no visit": nil, "an empty log": {testOrigin, 0, emptyRoot()}} {
		report, err := Audit(t.Context(), l.mirror(), AuditOptions{VerifierKey: l.key, Last: last, SinceLast: true})
		if err != nil || report.From != 0 || report.Entries != 600 {
			t.Errorf("%s: %+v, %v", name, report, err)
		}
	}
}

// Feature: tamv-hardened-backend, Property 8: Evidence Tamper Detection
func TestAuditSinceLastFindsWhatCame(t *testing.T) {
	l := newLedger(1, 1500)
	whole := l.mirror(1200)
	rapid.Check(t, func(t *rapid.T) {
		known := rapid.Uint64Range(257, 1500).Draw(t, "known")
		from := (known - 1) / TileWidth * TileWidth
		// Of what it reads, something is changed.
		var read []string
		for index := from / TileWidth; index*TileWidth < 1500; index++ {
			width := TileSpan(0, index, 1500)
			read = append(read, EntriesPath(index, width), PayloadsPath(index, width), (Tile{0, index, width}).Path())
		}
		read = append(read, (Tile{1, 0, 5}).Path(), CheckpointPath)
		path := rapid.SampledFrom(read).Draw(t, "path")
		at := rapid.IntRange(0, len(whole[path])-1).Draw(t, "at")
		m := whole.with(path, flip(whole[path], at, byte(rapid.IntRange(1, 255).Draw(t, "mask"))))
		root, err := RootAt(known, l.tiles)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Audit(context.Background(), m, AuditOptions{
			VerifierKey: l.key, Last: &Visit{testOrigin, known, root}, SinceLast: true, Payloads: PayloadsRequired,
		})
		var broken *BrokenError
		if !errors.As(err, &broken) {
			t.Fatalf("byte %d of %s is another: %v", at, path, err)
		}
	})
}

func TestAuditSinceLastRefusesAnotherPast(t *testing.T) {
	l := newLedger(1, 1500)
	other := newLedger(1, 300) // the same log with other entries behind the first 300
	for i := range 1200 {
		other.add(fmt.Appendf(nil, "another past %d", i))
	}
	for _, known := range []uint64{301, 700, 1499, 1500} {
		root := mustRoot(t, l, known)
		opts := AuditOptions{VerifierKey: other.key, Last: &Visit{testOrigin, known, root}, SinceLast: true}
		if _, err := Audit(t.Context(), other.mirror(), opts); !errors.Is(err, ErrSplitView) {
			t.Errorf("a fork behind 300 entries, %d known: %v", known, err)
		}
		short := newLedger(1, 300)
		if _, err := Audit(t.Context(), short.mirror(), opts); !errors.Is(err, ErrRolledBack) {
			t.Errorf("300 of %d known entries: %v", known, err)
		}
	}
	foreign := AuditOptions{VerifierKey: l.key, Last: &Visit{"other.test/log", 700, mustRoot(t, l, 700)}, SinceLast: true, Damages: 10}
	if report, err := Audit(t.Context(), l.mirror(), foreign); !errors.Is(err, ErrOtherLog) || report.Entries != 1500 {
		t.Errorf("another log: %+v, %v", report, err)
	}
}

// unplugged is a source that fails for paths that begin so.
type unplugged struct {
	Source
	prefix string
	err    error
}

func (u unplugged) Fetch(ctx context.Context, path string, limit int64) ([]byte, error) {
	if strings.HasPrefix(path, u.prefix) {
		return nil, u.err
	}
	return u.Source.Fetch(ctx, path, limit)
}

func TestAuditSinceLastWithoutTheTilesBefore(t *testing.T) {
	l := newLedger(1, 1500)
	m := l.mirror().with(Tile{1, 0, 5}.Path(), nil)
	var broken *BrokenError
	if _, err := l.since(t, m, 1000); !errors.As(err, &broken) || broken.Part != PartTile {
		t.Errorf("without the tile above: %v", err)
	}
	gone := errors.New("unplugged")
	if _, err := l.since(t, unplugged{l.mirror(), "tile/1/", gone}, 1000); !errors.Is(err, gone) {
		t.Errorf("a source that fails: %v", err)
	}
}
