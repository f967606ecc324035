package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
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
	path      string // of the database file
	segments  *segments
	filters   hashFilters           // of the segments
	observers map[string][]Observer // by space; fixed after Open
	folds     atomic.Pointer[foldCache]

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
	flushes       uint64             // that ended well since Open
	grown         chan struct{}      // closed when the ledger grows; nil = nobody waits
	closed        bool
	stopping      bool // Apply no longer waits for the disk

	nextExpiry int64 // no record expires before this; owned by Apply
	nextWindow int64 // no request id is forgotten before this; owned by Apply

	flushMu sync.Mutex // one flush, snapshot or restore at a time
	dirty   chan struct{}
	full    chan struct{}
	stop    context.CancelFunc
	done    chan struct{}
	retired sync.WaitGroup // database files that a restore replaced and readers still hold
}

// Observer is told of every record and sequence value of a space that Apply wrote
// or removed, in order, before the batch is acknowledged. reset means that the whole state was
// replaced: forget everything and load again. Observers run on Apply's
// goroutine and must be quick.
type Observer func(changes []Change, reset bool)

// Open opens or creates the state in a folder and starts its flusher. The
// whole state file is checked first, so that what opens can be read: an
// ErrDamaged means to rebuild it. Segments of the ledger are checked when they
// are read, and by [Store.Scrub].
// Observers are keyed by the space they watch.
func Open(dir string, observers map[string][]Observer) (*Store, error) {
	ledger := filepath.Join(dir, "ledger")
	if err := os.MkdirAll(ledger, 0o700); err != nil {
		return nil, tap.Wrap("store.open", tap.Unavailable, err, "the state folder cannot be made")
	}
	s := &Store{
		path: filepath.Join(dir, "state.db"), segments: newSegments(ledger), filters: hashFilters{of: map[uint64]*hashFilter{}}, observers: observers,
		dirty: make(chan struct{}, 1), full: make(chan struct{}, 1), done: make(chan struct{}),
	}
	s.room = sync.NewCond(&s.mu)
	if err := os.Remove(s.path + incomingSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, tap.Wrap("store.open", tap.Unavailable, err, "an unfinished restore cannot be removed")
	}
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
	if err := checkFile(s.path); err != nil {
		return err
	}
	db, err := openDatabase(s.path, false)
	if err != nil {
		return err
	}
	m, l := newMeta(), newLedger()
	err = guarded(nil, func() error { return read(db, &m, &l) })
	if err == nil {
		err = s.segments.settle(l.files())
	}
	if err != nil {
		_ = db.Close()
		return tap.Wrap("store.open", tap.KindOf(err), err, "the state in %s cannot be used", s.path)
	}
	s.adopt(db, m, l)
	return nil
}

func openDatabase(path string, readOnly bool) (*bolt.DB, error) {
	options := &bolt.Options{FreelistType: bolt.FreelistMapType, NoFreelistSync: true, Timeout: 2 * time.Second, ReadOnly: readOnly}
	if !readOnly {
		options.InitialMmapSize = mappedBytes
	}
	db, err := bolt.Open(path, 0o600, options)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, tap.Wrap("store.open", tap.Unavailable, err, "the state file %s is in use: another tamvd runs on this folder", path)
	case err != nil && !notADatabase(path, err): // the file may be sound: no memory, no file descriptor, no permission
		return nil, tap.Wrap("store.open", tap.Unavailable, err, "the state file %s cannot be opened now: %v", path, err)
	case err != nil:
		return nil, tap.Wrap("store.open", tap.Unavailable, errors.Join(&Damage{DamagedState, 0, "it is no database file"}, err),
			"the state file %s cannot be opened; when it is damaged, move it away and restart: it is rebuilt from a snapshot, the log or another node", path).WithCode("damaged")
	}
	return db, nil
}

// notADatabase says whether bbolt means the file's content. It also says so of a
// file that it could not read.
func notADatabase(path string, err error) bool {
	content := []error{bolterrors.ErrInvalid, bolterrors.ErrChecksum, bolterrors.ErrVersionMismatch, bolterrors.ErrInvalidMapping}
	if !slices.ContainsFunc(content, func(e error) bool { return errors.Is(err, e) }) {
		return false
	}
	f, openErr := os.Open(path)
	if openErr != nil {
		return false
	}
	defer f.Close()
	_, readErr := f.ReadAt(make([]byte, 1), 0)
	return readErr == nil || errors.Is(readErr, io.EOF)
}

// checkFile walks the whole database file before bbolt maps it. While it is
// checked it is locked, as a reader locks it.
func checkFile(path string) error {
	if stat, err := os.Stat(path); errors.Is(err, os.ErrNotExist) || err == nil && stat.Size() == 0 {
		return nil // a new one
	}
	lock, err := openDatabase(path, true)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	_, err = inspectFile(path)
	return err
}

// inspectFile is what a database file holds; the first damage is the error.
func inspectFile(path string) (*inspection, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, tap.Wrap("store.open", tap.Unavailable, err, "the state file cannot be opened")
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return nil, unreadable(err)
	}
	var bad *Damage
	state, err := committed(file, stat.Size(), 0)
	if errors.As(err, &bad) {
		return nil, bad.report()
	}
	found, err := inspect(file, state, func(int) error { return nil })
	if err != nil {
		return nil, err
	}
	return found, found.err()
}

// read takes from the database file what is kept in memory, and makes its
// buckets when it is new.
func read(db *bolt.DB, m *meta, l *ledger) error {
	isNew := false
	err := db.View(func(tx *bolt.Tx) error {
		if isNew = tx.Bucket([]byte(bucketNames[bucketMeta])) == nil; isNew {
			return nil
		}
		if raw, err := get(tx, bucketMeta, []byte(metaKey)); err != nil {
			return err
		} else if raw != nil {
			if err := m.decode(raw); err != nil {
				return err
			}
		}
		return l.load(tx, m)
	})
	if err != nil || !isNew {
		return err
	}
	return db.Update(func(tx *bolt.Tx) error {
		for _, name := range bucketNames[:firstLateBucket] {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
}

// adopt makes an open database file the state. Apply does not run meanwhile.
func (s *Store) adopt(db *bolt.DB, m meta, l ledger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.adoptLocked(db, m, l)
}

// adoptLocked needs mu.
func (s *Store) adoptLocked(db *bolt.DB, m meta, l ledger) {
	s.db, s.meta, s.ledger = db, m, l
	s.active, s.flushing, s.flushingTiles, s.pending, s.flushErr = newLayer(), nil, nil, 0, nil
	s.flushed = m.applied
	s.folds.Store(newFoldCache(foldBytes)) // it may be another history
	s.announceLocked()
	s.nextExpiry, s.nextWindow = math.MinInt64, math.MinInt64
}

// load rebuilds the ledger's open block, open tiles, list of segments and the
// hashes of the open one, and checks that the last entry is the head that meta
// names.
func (l *ledger) load(tx *bolt.Tx, m *meta) error {
	size := m.tree.Size()
	c := tx.Bucket([]byte(bucketNames[bucketSegments])).Cursor()
	for k, raw := c.First(); k != nil; k, raw = c.Next() {
		value, ok := checked(bucketSegments, k, raw)
		info, parsed := decodeSegmentInfo(value)
		if !ok || !parsed || readU64(k) != uint64(len(l.sealed)) {
			return damaged("the list of ledger segments is wrong at %d", len(l.sealed))
		}
		l.seal(info)
	}
	if uint64(len(l.sealed)) != size/segmentEntries {
		return damaged("a ledger of %d entries has %d sealed segments", size, len(l.sealed))
	}
	if err := l.loadArchives(tx); err != nil {
		return err
	}
	if err := l.loadTail(tx, m); err != nil {
		return err
	}
	if err := l.recorded.load(tx, size); err != nil {
		return err
	}
	for level, n := uint8(0), size; n > 0; level, n = level+1, n/tileWidth {
		if n%tileWidth == 0 {
			continue
		}
		raw, err := get(tx, bucketTiles, []byte(tileKey{level, n / tileWidth}.encode()))
		if err != nil {
			return err
		}
		if uint64(len(raw)) != n%tileWidth*bookpi.HashSize {
			return damaged("an open tile of the Merkle tree has the wrong length")
		}
		l.open[level] = append(make([]byte, 0, tileWidth*bookpi.HashSize), raw...)
	}
	for position := l.openFrom(); position < size; position += tileWidth {
		raw, err := get(tx, bucketTiles, []byte(tileKey{0, position / tileWidth}.encode()))
		if err != nil {
			return err
		}
		for i := 0; i+bookpi.HashSize <= len(raw); i += bookpi.HashSize {
			l.recent[bookpi.Hash(raw[i:i+bookpi.HashSize])] = position + uint64(i/bookpi.HashSize)
		}
	}
	return nil
}

// loadArchives reads which segments are archived.
func (l *ledger) loadArchives(tx *bolt.Tx) error {
	in := tx.Bucket([]byte(bucketNames[bucketArchives]))
	if in == nil {
		return nil
	}
	c := in.Cursor()
	for k, raw := c.First(); k != nil; k, raw = c.Next() {
		value, ok := checked(bucketArchives, k, raw)
		info, parsed := decodeSegmentInfo(value)
		if !ok || !parsed || readU64(k) != uint64(len(l.archives)) || len(l.archives) == len(l.sealed) {
			return damaged("the list of archived segments is wrong at %d", len(l.archives))
		}
		info.archived = true
		l.archives = append(l.archives, info)
	}
	l.leave(uint64(len(l.archives)))
	return nil
}

// loadTail reads the open block and follows the chain through it.
func (l *ledger) loadTail(tx *bolt.Tx, m *meta) error {
	l.first = m.onDisk.block
	raw, err := get(tx, bucketBlocks, u64(l.first))
	if err != nil {
		return err
	}
	if l.tail, err = parseBlock(bytes.Clone(raw), l.first); err != nil {
		return err
	}
	if end := l.first + uint64(len(l.tail)); end != m.tree.Size() {
		return damaged("the ledger ends at %d instead of %d", end, m.tree.Size())
	}
	// The scrub goes over the rest of the chain in the background.
	want := m.head
	for _, r := range slices.Backward(l.tail) {
		e, err := bookpi.ParseEntry(r.Entry)
		if err != nil || bookpi.LeafHash(r.Entry) != want || bookpi.PayloadDigest(r.Payload) != e.PayloadDigest {
			return damaged("ledger entry %d is not the one that the next one names", r.Position)
		}
		want = e.Previous
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
	err = errors.Join(err, s.db.Close())
	s.segments.close()
	s.retired.Wait()
	return err
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
