package store

import (
	"bytes"
	"math"

	bolt "go.etcd.io/bbolt"
)

var (
	_ View   = (*Store)(nil)
	_ Ledger = (*Store)(nil)
)

// read returns the current value of a key in a bucket, nil when there is none.
func (s *Store) read(b bucket, key string) (value []byte, err error) {
	s.mu.RLock()
	if v, ok := s.unflushedLocked(b, key); ok {
		s.mu.RUnlock()
		return v, nil
	}
	tx, err := s.beginLocked()
	if err != nil {
		return nil, err
	}
	err = reading(tx, nil, func() error {
		v, err := get(tx, b, []byte(key))
		if v != nil {
			value = append([]byte{}, v...)
		}
		return err
	})
	return value, err
}

// unflushedLocked is what Apply wrote to a key that the database file may not
// have yet. It needs the read lock.
func (s *Store) unflushedLocked(b bucket, key string) (value []byte, known bool) {
	if value, known = s.active.get(b, key); !known && s.flushing != nil {
		value, known = s.flushing.get(b, key)
	}
	return value, known
}

// beginLocked begins a read transaction and lets go of the read lock, which
// the caller holds: a flush that ends in between would drop its layer before
// the read sees the file.
func (s *Store) beginLocked() (*bolt.Tx, error) {
	defer s.mu.RUnlock()
	tx, err := s.db.Begin(false)
	if err != nil {
		return nil, unreadable(err)
	}
	return tx, nil
}

// reading runs fn on a read transaction and ends it; see [guarded].
func reading(tx *bolt.Tx, calling *bool, fn func() error) error {
	defer func() { _ = tx.Rollback() }()
	return guarded(calling, fn)
}

// snapshotRead runs fn on what the database file holds now.
func (s *Store) snapshotRead(fn func(tx *bolt.Tx) error) error {
	s.mu.RLock()
	tx, err := s.beginLocked()
	if err != nil {
		return err
	}
	return reading(tx, nil, func() error { return fn(tx) })
}

// scan calls fn for the records of a bucket below prefix, starting at from, in
// key order. Keys and values are valid only during the call.
func (s *Store) scan(b bucket, prefix, from string, fn func(key string, value []byte) bool) error {
	s.mu.RLock()
	pending := collect(b, prefix, from, s.active, s.flushing)
	tx, err := s.beginLocked()
	if err != nil {
		return err
	}
	calling := false
	return reading(tx, &calling, func() error {
		return merge(tx, b, prefix, from, pending, func(key string, value []byte) bool {
			calling = true
			more := fn(key, value)
			calling = false
			return more
		})
	})
}

// Get returns the record at k.
func (s *Store) Get(k Key) (Item, bool, error) {
	raw, err := s.read(bucketRecords, string(k))
	if err != nil || raw == nil {
		return Item{}, false, err
	}
	r, ok := decodeRecord(raw)
	if !ok {
		return Item{}, false, damaged("a record is cut short")
	}
	if !r.live(s.Clock()) {
		return Item{}, false, nil
	}
	return Item{k, r.value, r.version, r.expires}, true, nil
}

// Scan calls fn for the records below prefix in key order.
func (s *Store) Scan(prefix, from Key, fn func(Item) bool) error {
	clock := s.Clock()
	return s.scan(bucketRecords, string(prefix), string(from), func(key string, value []byte) bool {
		r, ok := decodeRecord(value)
		if !ok || !r.live(clock) {
			return true
		}
		return fn(Item{Key(key), bytes.Clone(r.value), r.version, r.expires})
	})
}

// Counter is the value of a counter.
func (s *Store) Counter(k Key) (int64, error) {
	raw, err := s.read(bucketCounters, string(k))
	return int64(readU64(raw)), err
}

// Sequence calls fn for the values of a sequence, from number first on.
func (s *Store) Sequence(k Key, first uint64, fn func(uint64, []byte) bool) error {
	prefix := sequencePrefix(k)
	return s.scan(bucketSequences, prefix, sequenceKey(k, first), func(key string, value []byte) bool {
		return fn(readU64([]byte(key[len(prefix):])), bytes.Clone(value))
	})
}

// SequenceLast is the number of the sequence's last value.
func (s *Store) SequenceLast(k Key) (uint64, error) {
	raw, err := s.read(bucketLasts, string(k))
	return readU64(raw), err
}

// Balance is the account's balance in a currency.
func (s *Store) Balance(account Key, currency string) (Amount, error) {
	raw, err := s.read(bucketBalances, balanceKey(account, currency))
	if err != nil {
		return Amount{}, err
	}
	amount, ok := decodeAmount(raw)
	if !ok {
		return Amount{}, damaged("a balance does not parse")
	}
	return amount, nil
}

// dueKeys returns up to limit records of a bucket whose key starts with a time
// at or before until, and the time of the first one that it left.
func (s *Store) dueKeys(b bucket, until int64, limit int) (due []pair, next int64, err error) {
	next = math.MaxInt64
	err = s.scan(b, "", "", func(key string, value []byte) bool {
		at := int64(readU64([]byte(key[:8])))
		if at > until || len(due) == limit {
			next = at
			return false
		}
		due = append(due, pair{key, bytes.Clone(value)})
		return true
	})
	return due, next, err
}

// StateHash is a hash over the whole state but its place in the log: two
// machines that applied the same commands have the same one. It flushes first
// and reads everything; it is for tests and audits.
func (s *Store) StateHash() ([32]byte, error) {
	if err := s.Flush(); err != nil {
		return [32]byte{}, err
	}
	var sum [32]byte
	err := s.snapshotRead(func(tx *bolt.Tx) error {
		h := newFieldHash()
		for b, name := range bucketNames {
			h.field([]byte(name))
			in := tx.Bucket([]byte(name))
			if in == nil && bucket(b) >= firstLateBucket {
				continue
			}
			err := in.ForEach(func(k, v []byte) error {
				h.field(k)
				h.field(v)
				return nil
			})
			if err != nil {
				return unreadable(err)
			}
		}
		sum = h.sum()
		return nil
	})
	return sum, err
}
