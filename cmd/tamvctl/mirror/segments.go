package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"tamv.internal/tamv/store/bookpi"
)

// SegmentFile is the name of a segment's file in an archive folder.
func SegmentFile(number uint64) string { return fmt.Sprintf("segment-%08d.tamvseg", number) }

// ErrArchived: entries that have left the log, and whose segment is not at hand. Sources
// return it wrapped with what they know.
var ErrArchived = errors.New("these entries are archived")

const segmentBundles = bookpi.SegmentEntries / bookpi.TileWidth

// WithSegments returns a log whose archived entries and payloads are read from segment
// files in a folder: where src answers ErrArchived. A file is read whole and checked by
// itself; that it is of this log is for whoever checks what it holds.
func WithSegments(src bookpi.Source, folder string) bookpi.Source {
	return &segments{src: src, folder: folder}
}

type segments struct {
	src    bookpi.Source
	folder string

	mu   sync.Mutex // held while a file is read, so that it is read once
	last []*segment // the two that were read last, the newer one first
}

// segment is the bundles of one file.
type segment struct {
	number            uint64
	entries, payloads [segmentBundles][]byte
}

// Fetch implements bookpi.Source.
func (s *segments) Fetch(ctx context.Context, path string, limit int64) ([]byte, error) {
	data, absent := s.src.Fetch(ctx, path, limit)
	if !errors.Is(absent, ErrArchived) {
		return data, absent
	}
	index, width, err := bookpi.ParseEntriesPath(path)
	payloads := err != nil
	if payloads {
		index, width, err = bookpi.ParsePayloadsPath(path)
	}
	if err != nil || width != bookpi.TileWidth {
		return nil, absent
	}
	of, err := s.open(index / segmentBundles)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, absent
	}
	if err != nil {
		return nil, err
	}
	if data = of.entries[index%segmentBundles]; payloads {
		data = of.payloads[index%segmentBundles]
	}
	if int64(len(data)) > limit {
		return nil, bookpi.ErrOversize
	}
	return data, nil
}

// open reads a segment's file, or finds it read. Audits and copies go through a log in
// order, several bundles at a time, so that two are enough.
func (s *segments) open(number uint64) (*segment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range s.last {
		if of.number == number {
			return of, nil
		}
	}
	f, err := os.Open(filepath.Join(s.folder, SegmentFile(number)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	of := &segment{number: number}
	found, err := bookpi.ReadSegment(f, func(position uint64, entry, payload []byte) error {
		i := position / bookpi.TileWidth % segmentBundles
		of.entries[i] = bookpi.AppendBundled(of.entries[i], entry)
		of.payloads[i] = bookpi.AppendPayload(of.payloads[i], bookpi.BundledPayload{Data: payload})
		return nil
	})
	if err == nil && found.Number != number {
		err = broken(bookpi.PartStructure, fmt.Errorf("%s holds segment %d", SegmentFile(number), found.Number))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", SegmentFile(number), err)
	}
	s.last = append([]*segment{of}, s.last[:min(len(s.last), 1)]...)
	return of, nil
}
