package vector

// Delete removes id and reports whether it was there. See DeleteBatch.
func (x *Index) Delete(id string) bool { return x.DeleteBatch([]string{id}) == 1 }

// DeleteBatch removes the ids that are there and returns how many were. No search
// that begins afterwards returns them. Their slots and what was in them stay in
// memory, and in snapshots, until Consolidate.
func (x *Index) DeleteBatch(ids []string) (deleted int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return 0
	}
	for _, id := range ids {
		name := []byte(id)
		place, row, ok := x.find(name, x.hasher.hash(name))
		if !ok {
			continue
		}
		x.forget(place)
		x.kill(row)
		deleted++
	}
	if deleted > 0 {
		x.seq++
		x.publish()
		x.renumber()
	}
	return deleted
}
