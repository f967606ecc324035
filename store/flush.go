package store

import (
	"context"
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
	writes   *layer
	tiles    map[tileKey][]byte
	starts   []uint64
	blocks   [][]byte
	segments map[uint64][]byte // indexes of segments that are now sealed
	meta     meta
	metaRaw  []byte
	pending  int
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
	f, err := s.beginFlush()
	if err != nil || f == nil {
		return err
	}
	err = s.write(f)
	s.endFlush(f, err)
	return err
}

// beginFlush takes what is to be written. It returns nil when there is
// nothing.
func (s *Store) beginFlush() (*flush, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.meta.applied == s.flushed && s.active.empty() {
		return nil, nil
	}
	f := &flush{writes: s.active, tiles: s.ledger.tiles, meta: s.meta, pending: s.pending, segments: map[uint64][]byte{}}
	f.starts, f.blocks = blocks(s.ledger.first, s.ledger.tail)
	size := s.meta.tree.Size()
	for segment := s.ledger.segment; (segment+1)*segmentEntries <= size; segment++ {
		f.segments[segment] = sealedIndex(s.ledger.recent, segment)
	}
	f.meta.block = openStart(f.starts, f.blocks, size)
	raw, err := f.meta.encode()
	if err != nil {
		return nil, tap.Wrap("store.flush", tap.Internal, err, "the meta record cannot be encoded")
	}
	f.metaRaw = raw
	s.flushing, s.flushingTiles = s.active, s.ledger.tiles
	s.active, s.ledger.tiles = newLayer(), map[tileKey][]byte{}
	return f, nil
}

func (s *Store) write(f *flush) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		for b, writes := range f.writes.writes {
			if err := putAll(tx.Bucket([]byte(bucketNames[b])), writes); err != nil {
				return err
			}
		}
		entries := tx.Bucket([]byte(bucketNames[bucketBlocks]))
		entries.FillPercent = 0.95 // positions only grow
		for i, start := range f.starts {
			if err := entries.Put(u64(start), f.blocks[i]); err != nil {
				return err
			}
		}
		tiles := tx.Bucket([]byte(bucketNames[bucketTiles]))
		for key, tile := range f.tiles {
			if err := tiles.Put([]byte(key.encode()), tile); err != nil {
				return err
			}
		}
		for segment, index := range f.segments {
			if err := tx.Bucket([]byte(bucketNames[bucketSegments])).Put(u64(segment), index); err != nil {
				return err
			}
		}
		return tx.Bucket([]byte(bucketNames[bucketMeta])).Put([]byte(metaKey), f.metaRaw)
	})
	if err != nil {
		return tap.Wrap("store.flush", tap.Unavailable, err, "the state cannot be written to disk")
	}
	return nil
}

// putAll writes in key order, which bbolt turns into sequential pages.
func putAll(b *bolt.Bucket, writes map[string][]byte) error {
	for _, k := range slices.Sorted(maps.Keys(writes)) {
		var err error
		if v := writes[k]; v != nil {
			err = b.Put([]byte(k), v)
		} else {
			err = b.Delete([]byte(k))
		}
		if err != nil {
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
	l := &s.ledger
	l.tail = slices.Clone(l.tail[f.meta.block-l.first:])
	l.first = f.meta.block
	s.meta.block = f.meta.block
	s.pending -= f.pending
	l.segment = f.meta.tree.Size() / segmentEntries
	for leaf, position := range l.recent {
		if position < l.segment*segmentEntries {
			delete(l.recent, leaf)
		}
	}
	s.room.Broadcast()
}
