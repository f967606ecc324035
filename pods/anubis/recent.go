package anubis

// recent is a table of which the least recently used entries make room for new
// ones. It is not safe for concurrent use.
type recent[K comparable, V any] struct {
	capacity int
	table    map[K]*entry[K, V]
	ring     entry[K, V] // ring.next is the most recently used
}

type entry[K comparable, V any] struct {
	key        K
	value      V
	prev, next *entry[K, V]
}

func newRecent[K comparable, V any](capacity int) *recent[K, V] {
	r := &recent[K, V]{capacity: capacity, table: map[K]*entry[K, V]{}}
	r.ring.prev, r.ring.next = &r.ring, &r.ring
	return r
}

// use makes the key the most recently used one and returns its value; a key that
// was not there gets a zero value and fresh is true.
func (r *recent[K, V]) use(key K) (value *V, fresh bool) {
	e := r.table[key]
	switch {
	case e != nil:
		e.unlink()
	case len(r.table) >= r.capacity:
		// The oldest entry is used again, so that a full table does not grow.
		e = r.ring.prev
		e.unlink()
		delete(r.table, e.key)
		*e, fresh = entry[K, V]{key: key}, true
		r.table[key] = e
	default:
		e, fresh = &entry[K, V]{key: key}, true
		r.table[key] = e
	}
	e.prev, e.next = &r.ring, r.ring.next
	e.prev.next, e.next.prev = e, e
	return &e.value, fresh
}

// peek returns the key's value without using it; nil when there is none.
func (r *recent[K, V]) peek(key K) *V {
	if e := r.table[key]; e != nil {
		return &e.value
	}
	return nil
}

func (r *recent[K, V]) forget(key K) {
	if e := r.table[key]; e != nil {
		e.unlink()
		delete(r.table, key)
	}
}

func (e *entry[K, V]) unlink() { e.prev.next, e.next.prev = e.next, e.prev }
