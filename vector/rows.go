package vector

import (
	"fmt"
	"runtime"
)

// NoRow is the row of an id that is not stored.
const NoRow = ^uint32(0)

// Rows returns the slot of each id, NoRow for those that are not stored. A slot is
// its id's until that is stored anew or deleted; Consolidate and Open leave it
// where it is. It waits for a writer.
func (x *Index) Rows(ids []string) []uint32 {
	rows := make([]uint32, len(ids))
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, id := range ids {
		rows[i] = NoRow
		if x.closed {
			continue
		}
		name := []byte(id)
		if _, row, ok := x.find(name, x.hasher.hash(name)); ok {
			rows[i] = row
		}
	}
	return rows
}

// SearchRows is an exact search among the given slots alone, which ascend. It is
// the way to search by what a [Filter] does not know when few vectors match: it
// takes some ten nanoseconds for each slot. Slots without a vector are passed
// over. Recall and EF do not count. The errors are those of Search, with
// ErrOptions for slots that do not ascend.
func (x *Index) SearchRows(query []float32, rows []uint32, o Options) ([]Hit, error) {
	if o.K < 1 {
		return nil, fmt.Errorf("%w: got %d", ErrK, o.K)
	}
	for i := 1; i < len(rows); i++ {
		if rows[i] <= rows[i-1] {
			return nil, fmt.Errorf("%w: row %d after row %d", ErrOptions, rows[i], rows[i-1])
		}
	}
	unit, err := x.prepare(nil, query)
	if err != nil {
		return nil, err
	}
	v := x.pin()
	defer runtime.KeepAlive(x) // whose cleanup releases what v shows
	defer v.release()
	if v.closed {
		return nil, ErrClosed
	}
	m, err := v.match(o.Filter)
	if err != nil {
		return nil, err
	}
	among := new(posting)
	among.rows.Store(&rows)
	m.all, m.lists = false, []*posting{among}
	s := x.borrow(v)
	defer x.scratch.Put(s)
	s.query.ask(v, unit)
	v.scan(s, &m, o.K)
	return s.hits(v), nil
}
