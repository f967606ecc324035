package store

import (
	"bytes"
	"context"
	"iter"
	"maps"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"tamv.internal/tamv/tap"
)

// flusher writes what Apply changed, 50 ms after the first change or at once
// when much has gathered, until ctx ends.
func (s *Store) flusher(ctx context.Context) {
	defer close(s.done)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.dirty:
		}
		timer := time.NewTimer(flushInterval)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-s.full:
			timer.Stop()
		}
		if s.Flush() != nil {
			s.wake(false) // try again after the interval
		}
	}
}

// wake tells the flusher that there is work.
func (s *Store) wake(full bool) {
	select {
	case s.dirty <- struct{}{}:
	default:
	}
	if full {
		select {
		case s.full <- struct{}{}:
		default:
		}
	}
}

// awaitRoom holds Apply back while too much waits for the disk, until the disk
// takes it: a full one stops the node's writes and space freed resumes them.
func (s *Store) awaitRoom() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.active.bytes+s.pending > maxPending {
		if s.stopping {
			return tap.Wrap("store.apply", tap.Unavailable, s.flushErr, "the state cannot be written to disk")
		}
		s.wake(true)
		s.room.Wait()
	}
	return nil
}

// StopWaiting makes an Apply that waits for the disk give up, now and from now
// on. Call it before stopping whoever calls Apply: everything acknowledged is in
// the replicated log and comes back on the next start.
func (s *Store) StopWaiting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	s.room.Broadcast()
}

// flush is one transaction's worth of work, taken from the store under its
// lock.
type flush struct {
	writes  *layer
	tiles   map[tileKey][]byte
	starts  []uint64
	blocks  [][]byte
	first   uint64 // position of the tail's first entry
	meta    meta
	pending int
	sealed  uint64        // how many segments were sealed before
	seals   []segmentInfo // of those that this flush seals

	archives []segmentInfo // of the segments that are archived: their files of leaves
	left     uint64        // for how many of them that file stood before
}

// openFrom is where the open segment starts once the flush is done.
func (f *flush) openFrom() uint64 {
	return f.meta.tree.Size() / segmentEntries * segmentEntries
}

// Flush writes everything applied so far to the database file in one fsynced
// transaction. When it fails nothing is lost: the changes stay in memory and
// in the replicated log.
func (s *Store) Flush() error {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	return s.flushLocked()
}

// flushLocked needs flushMu.
func (s *Store) flushLocked() error {
	f := s.beginFlush()
	if f == nil {
		return nil
	}
	err := s.write(f)
	s.endFlush(f, err)
	if err == nil {
		for number := f.left; number < uint64(len(f.archives)); number++ {
			s.segments.retire(number, s.segments.path(number))
		}
	}
	return err
}

// beginFlush takes what is to be written. It returns nil when there is
// nothing.
func (s *Store) beginFlush() *flush {
	f, tail := s.takeChanges()
	if f != nil {
		// Apply waits for the lock, and a second's worth of entries takes
		// milliseconds to encode. Entries never change.
		f.starts, f.blocks = blocks(f.first, tail)
		f.meta.onDisk.block = openStart(f.starts, f.blocks, f.meta.tree.Size())
	}
	return f
}

// takeChanges is the part of beginFlush that holds Apply up.
func (s *Store) takeChanges() (f *flush, tail []Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.meta.applied == s.flushed && s.active.empty() {
		return nil, nil
	}
	f = &flush{
		writes: s.active, tiles: s.ledger.tiles, meta: s.meta, pending: s.pending,
		first: s.ledger.first, sealed: uint64(len(s.ledger.sealed)),
		archives: s.ledger.archives, left: s.ledger.left,
	}
	s.flushing, s.flushingTiles = s.active, s.ledger.tiles
	s.active, s.ledger.tiles = newLayer(), map[tileKey][]byte{}
	return f, s.ledger.tail
}

// write makes the flush durable: first the files of segments that are full and
// of the leaves of those that are archived, then everything else and the word
// that those files count, in one transaction. After a crash in between they are
// made again, to the same bytes.
func (s *Store) write(f *flush) error {
	err := guarded(nil, func() error {
		if err := s.sealSegments(f); err != nil {
			return err
		}
		if err := s.keepLeaves(f); err != nil {
			return err
		}
		return s.db.Update(f.commit)
	})
	if err != nil {
		return tap.Wrap("store.flush", tap.Unavailable, err, "the state cannot be written to disk")
	}
	return nil
}

// sealSegments writes the files of the segments that became full.
func (s *Store) sealSegments(f *flush) error {
	f.seals = nil
	for number := f.sealed; number*segmentEntries < f.openFrom(); number++ {
		err := s.db.View(func(tx *bolt.Tx) error {
			info, err := s.segments.seal(number, f.segmentBlocks(tx, number))
			f.seals = append(f.seals, info)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// keepLeaves writes what stays of the segments that are archived.
func (s *Store) keepLeaves(f *flush) error {
	for number := f.left; number < uint64(len(f.archives)); number++ {
		made, err := s.leavesOf(number)
		if err == nil && made.info != f.archives[number] {
			err = damagedSegment(number, "its leaves are not what they were")
		}
		if err == nil {
			err = s.segments.keep(number, made)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// segmentBlocks yields the blocks of a full segment: those in the database
// file, then those of this flush.
func (f *flush) segmentBlocks(tx *bolt.Tx, number uint64) iter.Seq2[[]byte, error] {
	from, to := number*segmentEntries, (number+1)*segmentEntries
	return func(yield func([]byte, error) bool) {
		c := tx.Bucket([]byte(bucketNames[bucketBlocks])).Cursor()
		for k, raw := c.Seek(u64(from)); k != nil && readU64(k) < min(f.first, to); k, raw = c.Next() {
			block, ok := checked(bucketBlocks, k, raw)
			if !ok {
				yield(nil, damaged("the ledger block at position %d does not have its checksum", readU64(k)))
				return
			}
			if !yield(block, nil) {
				return
			}
		}
		for i, start := range f.starts {
			if start >= from && start < to && !yield(f.blocks[i], nil) {
				return
			}
		}
	}
}

// commit is the transaction.
func (f *flush) commit(tx *bolt.Tx) error {
	w := &recordWriter{tx, f.meta.onDisk.digest}
	for b, writes := range f.writes.writes {
		for _, k := range slices.Sorted(maps.Keys(writes)) { // in key order bbolt writes sequential pages
			if err := w.write(bucket(b), []byte(k), writes[k]); err != nil {
				return err
			}
		}
	}
	for i, info := range f.seals {
		if err := w.seal(f.sealed+uint64(i), info); err != nil {
			return err
		}
	}
	for i, start := range f.starts {
		if start < f.openFrom() {
			continue
		}
		if err := w.write(bucketBlocks, u64(start), f.blocks[i]); err != nil {
			return err
		}
	}
	for key, tile := range f.tiles {
		if key.level == 0 && key.index*tileWidth < f.openFrom() {
			continue
		}
		if err := w.write(bucketTiles, []byte(key.encode()), tile); err != nil {
			return err
		}
	}
	f.meta.onDisk.digest = w.digest
	raw, err := f.meta.encode()
	if err != nil {
		return err
	}
	return tx.Bucket([]byte(bucketNames[bucketMeta])).Put([]byte(metaKey), stored(bucketMeta, []byte(metaKey), raw))
}

// seal records a sealed segment and removes its blocks and leaf tiles.
func (w *recordWriter) seal(number uint64, info segmentInfo) error {
	if err := w.write(bucketSegments, u64(number), info.encode()); err != nil {
		return err
	}
	end := (number + 1) * segmentEntries
	if err := w.removeFrom(bucketBlocks, u64(number*segmentEntries), u64(end)); err != nil {
		return err
	}
	return w.removeFrom(bucketTiles, []byte(tileKey{0, number * segmentTiles}.encode()), []byte(tileKey{0, end / tileWidth}.encode()))
}

// removeFrom removes the keys from first on and before end.
func (w *recordWriter) removeFrom(b bucket, first, end []byte) error {
	var keys [][]byte // a cursor does not outlive a removal
	c := w.tx.Bucket([]byte(bucketNames[b])).Cursor()
	for k, _ := c.Seek(first); k != nil && bytes.Compare(k, end) < 0; k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		if err := w.write(b, k, nil); err != nil {
			return err
		}
	}
	return nil
}

// endFlush forgets what is on disk now, or takes it back when it is not.
func (s *Store) endFlush(f *flush, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushErr = err
	s.flushing, s.flushingTiles = nil, nil
	if err != nil {
		f.writes.absorb(s.active)
		s.active = f.writes
		maps.Copy(f.tiles, s.ledger.tiles)
		s.ledger.tiles = f.tiles
		s.room.Broadcast()
		return
	}
	s.flushed = f.meta.applied
	s.flushes++
	s.ledger.leave(uint64(len(f.archives)))
	s.meta.onDisk = f.meta.onDisk
	l := &s.ledger
	l.tail = slices.Clone(l.tail[f.meta.onDisk.block-l.first:])
	l.first = f.meta.onDisk.block
	s.pending -= f.pending
	if len(f.seals) > 0 {
		for _, info := range f.seals {
			l.seal(info)
		}
		for leaf, position := range l.recent {
			if position < l.openFrom() {
				delete(l.recent, leaf)
			}
		}
	}
	s.room.Broadcast()
}
