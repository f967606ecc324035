package wal

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
)

// Set stores a value under a key, durably. All keys and values together take at most about 4,000 bytes. It needs no disk space.
func (l *Log) Set(key, value []byte) error {
	l.write.Lock()
	defer l.write.Unlock()
	if l.closed {
		return ErrClosed
	}
	if old, ok := l.meta.read().table[string(key)]; ok && bytes.Equal(old, value) {
		return l.meta.settle()
	}
	return l.meta.update(func(m *meta) {
		m.table = maps.Clone(m.table)
		m.table[string(key)] = slices.Clone(value)
		m.floor = l.floor()
	})
}

// Get returns the value under a key, or ErrKeyNotFound.
func (l *Log) Get(key []byte) ([]byte, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return nil, ErrClosed
	}
	value, ok := l.meta.read().table[string(key)]
	if !ok {
		return nil, ErrKeyNotFound
	}
	return slices.Clone(value), nil
}

// SetUint64 stores a number under a key; see Set.
func (l *Log) SetUint64(key []byte, value uint64) error {
	return l.Set(key, be.AppendUint64(nil, value))
}

// GetUint64 returns the number under a key, or ErrKeyNotFound.
func (l *Log) GetUint64(key []byte) (uint64, error) {
	value, err := l.Get(key)
	if err != nil {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("wal: the value of %q is no number: %d bytes", key, len(value))
	}
	return be.Uint64(value), nil
}
