package mirror

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"tamv.internal/tamv/store/bookpi"
)

// away is a log whose first segment has left.
type away struct{ *served }

func (s away) Fetch(ctx context.Context, path string, limit int64) ([]byte, error) {
	index, _, err := bookpi.ParseEntriesPath(path)
	if err != nil {
		index, _, err = bookpi.ParsePayloadsPath(path)
	}
	if err == nil && index < segmentBundles {
		return nil, ErrArchived
	}
	return s.served.Fetch(ctx, path, limit)
}

// segment is the file of the first one.
func (s *site) segment() []byte {
	file := append([]byte(bookpi.SegmentMagic), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, bookpi.SegmentEntries>>8, 0)
	for i := range bookpi.SegmentEntries {
		for _, field := range [][]byte{s.entries[i], s.payloads[i]} {
			file = append(binary.AppendUvarint(file, uint64(len(field))), field...)
		}
	}
	return append(bookpi.AppendTile(file, s.tiles[0][:bookpi.SegmentEntries]), make([]byte, 12*bookpi.SegmentEntries)...)
}

func TestArchivedEntriesComeFromSegments(t *testing.T) {
	s := newSite(t, bookpi.SegmentEntries+300)
	whole, folder, target := s.serve(100), t.TempDir(), t.TempDir()
	src := WithSegments(away{whole}, folder)
	o := Options{Policy: s.policy(), Payloads: true, settle: unsettled}
	if _, err := Copy(t.Context(), src, target, o); !errors.Is(err, ErrArchived) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the file: %v", err)
	}
	file := filepath.Join(folder, SegmentFile(0))
	good := s.segment()
	damaged := append([]byte(nil), good...)
	damaged[7000] ^= 1
	misplaced := append([]byte(nil), good...)
	misplaced[15] = 1
	var where *bookpi.BrokenError
	for name, raw := range map[string][]byte{"damaged": damaged, "misplaced": misplaced, "empty": nil} {
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Copy(t.Context(), src, target, o); !errors.As(err, &where) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(t.Context(), src, target, o); err != nil {
		t.Fatal(err)
	}
	check(t, target, whole)
	for _, path := range []string{bookpi.EntriesPath(3, 7), bookpi.CheckpointPath, bookpi.EntriesPath(64, 256)} {
		data, err := src.Fetch(t.Context(), path, bookpi.MaxEntryBundle)
		if (err == nil) != (path != bookpi.EntriesPath(3, 7)) {
			t.Errorf("%s: %d bytes, %v", path, len(data), err)
		}
	}
	if _, err := src.Fetch(t.Context(), bookpi.EntriesPath(3, 256), 10); !errors.Is(err, bookpi.ErrOversize) {
		t.Errorf("a limit: %v", err)
	}
}
