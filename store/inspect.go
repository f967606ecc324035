package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"tamv.internal/tamv/tap"
)

// maxDamages bounds a report: a disk that loses everything needs no list.
const maxDamages = 64

// inspection is what a walk over a database file finds.
type inspection struct {
	meta     meta
	hasMeta  bool
	records  uint64
	bytes    int64
	segments []segmentInfo
	archives []segmentInfo
	damages  []Damage
}

// files are those of the ledger that the state file counts on.
func (i *inspection) files() []segmentInfo {
	files := slices.Clone(i.segments)
	copy(files, i.archives)
	return files
}

func (i *inspection) damage(d *Damage) {
	if len(i.damages) < maxDamages {
		i.damages = append(i.damages, *d)
	}
}

// err is the first damage as an error.
func (i *inspection) err() error {
	if len(i.damages) == 0 {
		return nil
	}
	return i.damages[0].report()
}

// inspect walks a committed state of a database file: every page, every
// record's checksum, and the digest over all of them. It does not map the file
// and follows no number unchecked, so that no damage can stop the process. The
// error is one of pace, or a state of another release; damage is a finding.
func inspect(file io.ReaderAt, state metaPage, pace func(bytes int) error) (*inspection, error) {
	found := &inspection{}
	w, err := walkPages(file, state, func(n int) error {
		found.bytes += int64(n)
		return pace(n)
	})
	if err == nil {
		err = found.state(w)
	}
	var bad *Damage
	if errors.As(err, &bad) {
		found.damage(bad)
		err = nil
	}
	return found, err
}

// state walks the buckets and compares what they hold with what meta says.
func (i *inspection) state(w *pageWalk) error {
	roots, err := bucketRoots(w)
	if err != nil || len(roots) == 0 { // empty: made and never written to
		return err
	}
	var sums digest
	for b, name := range bucketNames {
		if roots[name] == nil {
			if bucket(b) >= firstLateBucket {
				continue
			}
			return w.damage("bucket %q is missing", name)
		}
		err := i.bucket(w, bucket(b), roots[name], &sums)
		var bad *Damage
		if errors.As(err, &bad) {
			i.damage(bad)
		} else if err != nil {
			return err
		}
	}
	for name := range roots {
		if !slices.Contains(bucketNames[:], name) { // and its cluster version is one that is known here
			return w.damage("there is a bucket %q", name)
		}
	}
	if len(i.damages) > 0 {
		return nil
	}
	return i.compare(sums)
}

// bucketRoots finds the buckets of a state that this release can read.
func bucketRoots(w *pageWalk) (map[string][]byte, error) {
	roots := map[string][]byte{}
	err := w.each(func(e element) error {
		if !e.bucket {
			return w.damage("a record outside of every bucket")
		}
		roots[string(e.key)] = bytes.Clone(e.value)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if roots[olderMetaBucket] != nil && roots[bucketNames[bucketMeta]] == nil {
		return nil, tap.E("store.open", tap.Unavailable, "this state was written by a release before checksums; it cannot be taken over: start from an empty folder or a newer node's snapshot").WithCode("old_format")
	}
	return roots, nil
}

// bucket walks the records of one bucket and adds them to sums.
func (i *inspection) bucket(w *pageWalk, b bucket, root []byte, sums *digest) error {
	return w.nested(root, func(e element) error {
		i.records++
		value, ok := checked(b, e.key, e.value)
		if !ok || e.bucket {
			i.damage(&Damage{DamagedState, w.current, fmt.Sprintf("a record in %q does not have its checksum", bucketNames[b])})
			return nil
		}
		if b == bucketMeta { // which is about the others, and in no sum
			i.hasMeta = true
			return i.meta.decode(value)
		}
		if err := i.record(w, b, e.key, value); err != nil {
			return err
		}
		sums.add(e.value)
		return nil
	})
}

// record takes over what is needed of a record, if anything is.
func (i *inspection) record(w *pageWalk, b bucket, key, value []byte) error {
	switch b {
	case bucketSegments:
		info, ok := decodeSegmentInfo(value)
		if !ok || readU64(key) != uint64(len(i.segments)) {
			return w.damage("the list of ledger segments is wrong at %d", len(i.segments))
		}
		i.segments = append(i.segments, info)
	case bucketArchives:
		info, ok := decodeSegmentInfo(value)
		if !ok || readU64(key) != uint64(len(i.archives)) || len(i.archives) == len(i.segments) {
			return w.damage("the list of archived segments is wrong at %d", len(i.archives))
		}
		info.archived = true
		i.archives = append(i.archives, info)
	case bucketCheckpoints:
		if cp, err := ReadCheckpoint(value); err != nil || len(key) != 8 || cp.Size != readU64(key) || cp.Size > i.meta.tree.Size() {
			return w.damage("a recorded checkpoint is wrong")
		}
	}
	return nil
}

// compare holds what was found to what meta says was written.
func (i *inspection) compare(sums digest) error {
	if want := i.meta.onDisk.digest; sums != want {
		return &Damage{DamagedState, 0, fmt.Sprintf("its %d records are not the %d that were written", sums.count, want.count)}
	}
	if !i.hasMeta && i.records > 0 {
		return &Damage{DamagedState, 0, "it has records and no meta record"}
	}
	return nil
}
