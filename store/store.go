package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

const (
	flushInterval = 50 * time.Millisecond
	flushBytes    = 8 << 20  // flush at once when this much waits
	maxPending    = 32 << 20 // Apply waits for the flusher beyond this
	// mappedBytes of address space are mapped at once. bbolt maps anew when the
	// file outgrows its map, and that waits for every open read and holds up
	// every new one: a snapshot being sent would stop the node.
	mappedBytes = 64 << 30
)

// Store is the state machine. One goroutine calls Apply; any number read.
type Store struct {
	path      string
	observers map[string][]Observer // by space; fixed after Open

	mu            sync.RWMutex // guards what follows up to the blank line
	room          *sync.Cond   // on mu: the flusher made room, or gave up
	db            *bolt.DB
	meta          meta
	ledger        ledger
	active        *layer             // written by Apply since the last flush began
	flushing      *layer             // on its way to disk; nil = none
	flushingTiles map[tileKey][]byte // likewise
	pending       int                // bytes of ledger entries not on disk
	flushErr      error              // of the last flush; nil = it worked
	flushed       uint64             // applied index that is on disk
	closed        bool
	stopping      bool // Apply no longer waits for the disk

	nextExpiry int64 // no record expires before this; owned by Apply
	nextWindow int64 // no request id is forgotten before this; owned by Apply

	flushMu sync.Mutex // one flush, snapshot or restore at a time
	dirty   chan struct{}
	full    chan struct{}
	stop    context.CancelFunc
	done    chan struct{}
}

// Observer is told of every record and sequence value of a space that Apply wrote
// or removed, in order, before the batch is acknowledged. reset means that the whole state was
// replaced: forget everything and load again. Observers run on Apply's
// goroutine and must be quick.
type Observer func(changes []Change, reset bool)

// Open opens or creates the state in a folder and starts its flusher.
// Observers are keyed by the space they watch.
func Open(dir string, observers map[string][]Observer) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, tap.Wrap("store.open", tap.Unavailable, err, "the state folder cannot be made")
	}
	s := &Store{
		path: filepath.Join(dir, "state.db"), observers: observers,
		dirty: make(chan struct{}, 1), full: make(chan struct{}, 1), done: make(chan struct{}),
	}
	s.room = sync.NewCond(&s.mu)
	if err := s.load(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.flusher(ctx)
	return s, nil
}

// load opens the database file and rebuilds what is kept in memory.
func (s *Store) load() error {
	db, err := bolt.Open(s.path, 0o600, &bolt.Options{
		FreelistType: bolt.FreelistMapType, NoFreelistSync: true, Timeout: 2 * time.Second, InitialMmapSize: mappedBytes,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return tap.Wrap("store.open", tap.Unavailable, err, "the state file %s is in use: another tamvd runs on this folder", s.path)
	}
	if err != nil {
		return tap.Wrap("store.open", tap.Unavailable, errors.Join(ErrDamaged, err), "the state file %s cannot be opened; when it is damaged, move it away and restart: the log rebuilds what it holds", s.path)
	}
	m, l := meta{}, newLedger()
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range bucketNames {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		if raw := tx.Bucket([]byte(bucketNames[bucketMeta])).Get([]byte(metaKey)); raw != nil {
			if err := m.decode(raw); err != nil {
				return err
			}
		}
		return l.load(tx, &m)
	})
	if err != nil {
		_ = db.Close()
		return tap.Wrap("store.open", tap.KindOf(err), err, "the state in %s cannot be used", s.path)
	}
	s.mu.Lock()
	s.db, s.meta, s.ledger = db, m, l
	s.active, s.flushing, s.flushingTiles, s.pending, s.flushErr = newLayer(), nil, nil, 0, nil
	s.flushed = m.applied
	s.mu.Unlock()
	s.nextExpiry, s.nextWindow = math.MinInt64, math.MinInt64
	return nil
}

// load rebuilds the ledger's open block, open tiles and the hash index of the
// open segment, and checks that the last entry is the head that meta names.
func (l *ledger) load(tx *bolt.Tx, m *meta) error {
	size := m.tree.Size()
	l.first, l.segment = m.block, size/segmentEntries
	if raw := tx.Bucket([]byte(bucketNames[bucketBlocks])).Get(u64(m.block)); raw != nil {
		tail, err := parseBlock(bytes.Clone(raw), m.block)
		if err != nil {
			return err
		}
		l.tail = tail
	}
	if l.first+uint64(len(l.tail)) != size {
		return damaged(fmt.Sprintf("the ledger ends at %d instead of %d", l.first+uint64(len(l.tail)), size))
	}
	if n := len(l.tail); n > 0 && bookpi.LeafHash(l.tail[n-1].Entry) != m.head {
		return damaged("the last ledger entry does not have the head's hash")
	}
	tiles := tx.Bucket([]byte(bucketNames[bucketTiles]))
	for level, n := uint8(0), size; n > 0; level, n = level+1, n/tileWidth {
		if n%tileWidth == 0 {
			continue
		}
		raw := tiles.Get([]byte(tileKey{level, n / tileWidth}.encode()))
		if uint64(len(raw)) != n%tileWidth*bookpi.HashSize {
			return damaged("an open tile of the Merkle tree has the wrong length")
		}
		l.open[level] = append(make([]byte, 0, tileWidth*bookpi.HashSize), raw...)
	}
	for position := l.segment * segmentEntries; position < size; position += tileWidth {
		raw := tiles.Get([]byte(tileKey{0, position / tileWidth}.encode()))
		for i := 0; i+bookpi.HashSize <= len(raw); i += bookpi.HashSize {
			l.recent[bookpi.Hash(raw[i:i+bookpi.HashSize])] = position + uint64(i/bookpi.HashSize)
		}
	}
	return nil
}

// Close flushes and closes the state. Applying or reading afterwards is an
// error.
func (s *Store) Close() error {
	s.stop()
	<-s.done
	err := s.Flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.room.Broadcast()
	return errors.Join(err, s.db.Close())
}

// Applied is the index of the last applied log entry. On Open it is the last
// one that is durably part of the state.
func (s *Store) Applied() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.meta.applied
}

// Clock is the machine's time: the stamp of the last applied pack,
// microseconds since the Unix epoch.
func (s *Store) Clock() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.meta.clock
}

// NextDue is a time (microseconds) before which no record expires. When the
// wall clock passes it, an empty pack makes Apply remove what is due.
func (s *Store) NextDue() (int64, error) {
	_, next, err := s.dueKeys(bucketExpiry, math.MinInt64, 1)
	return next, err
}

// Health is nil when the last flush reached the disk.
func (s *Store) Health() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.flushErr
}
