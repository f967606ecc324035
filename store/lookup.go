package store

import bolt "go.etcd.io/bbolt"

// lookups reads values for Apply. They share a read transaction, because
// beginning one costs more than reading a value. It belongs to one goroutine,
// which ends it before it waits for anything of the store: a flush for which
// bbolt maps a larger file waits until no transaction is open, and who began one
// meanwhile waits for that flush, with the store's lock in his hand.
type lookups struct {
	store   *Store
	tx      *bolt.Tx // nil = none is open
	flushes uint64   // how many flushes tx sees
	buckets [bucketCount]*bolt.Bucket
}

// read is [Store.read].
func (l *lookups) read(b bucket, key string) (value []byte, err error) {
	s := l.store
	if !s.mu.TryRLock() {
		l.end()
		s.mu.RLock()
	}
	if v, ok := s.unflushedLocked(b, key); ok {
		s.mu.RUnlock()
		return v, nil
	}
	if l.tx != nil && l.flushes == s.flushes {
		s.mu.RUnlock()
	} else {
		l.end() // what was flushed since is in the file, and not in tx
		l.flushes = s.flushes
		if l.tx, err = s.beginLocked(); err != nil {
			return nil, err
		}
	}
	err = guarded(nil, func() error {
		if l.buckets[b] == nil {
			l.buckets[b] = l.tx.Bucket([]byte(bucketNames[b]))
		}
		v, err := getIn(l.buckets[b], b, []byte(key))
		if v != nil {
			value = append([]byte{}, v...)
		}
		return err
	})
	return value, err
}

// end lets go of the transaction; a later read begins another.
func (l *lookups) end() {
	if l.tx != nil {
		_ = l.tx.Rollback()
		l.tx, l.buckets = nil, [bucketCount]*bolt.Bucket{}
	}
}
