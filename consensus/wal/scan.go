package wal

// scan is what a walk over the frames of a segment found.
type scan struct {
	offsets []uint32 // of the good frames
	end     int      // where the walk ended: behind the last good frame
	next    uint64   // the index expected there
}

// walk follows the frames of segment b from its first one, up to the first that is not good or has the index limit.
func walk(b []byte, h header, limit uint64) scan {
	s, seed := scan{end: headerSize, next: h.first}, seedOf(h.id)
	var place uint32
	for s.next != limit {
		f, ok := decodeFrame(b[s.end:], seed)
		// A place counts on from the one before or begins anew.
		if !ok || f.index != s.next || f.place != 0 && (f.place != place+1 || len(s.offsets) == 0) || !f.intact(b[s.end:]) {
			break
		}
		s.offsets = append(s.offsets, uint32(s.end))
		s.end += f.size()
		s.next++
		place = f.place
	}
	return s
}

// tornOff decides whether what stands behind the end of a walk in the newest segment is nothing, or the rest of an append
// that power loss tore. Otherwise it returns what speaks against it; see the package comment.
func (s scan) tornOff(b []byte, seed uint32) (objection string) {
	if allZero(b[s.end:]) {
		return ""
	}
	reach := s.end + frameSize
	if f, ok := decodeFrame(b[s.end:], seed); ok {
		if f.index != s.next || f.intact(b[s.end:]) {
			return "an entry out of sequence"
		}
		reach = s.end + f.size()
	}
	for f := range s.behind(b, seed) {
		if f.begin() > s.next {
			return "not what was written, yet later appends follow"
		}
	}
	if !unwritten(b, s.end, min(reach, len(b))) {
		return "not what was written"
	}
	return ""
}

// behind finds the frames behind the end of the walk whose fixed part is good, wherever they begin.
func (s scan) behind(b []byte, seed uint32) func(yield func(frame) bool) {
	return func(yield func(frame) bool) {
		for at := s.end + 8; at+frameSize <= len(b); at += 8 {
			// Every frame takes at least frameSize bytes, so an index cannot be further ahead than that.
			if be.Uint64(b[at+8:])-s.next > uint64(at-s.end)/frameSize {
				continue
			}
			if f, ok := decodeFrame(b[at:], seed); ok && !yield(f) {
				return
			}
		}
	}
}

// unwritten reports whether one of the sectors that hold the bytes from offset from to to was not written since the file was
// zeroed, as far as it lies behind from.
func unwritten(b []byte, from, to int) bool {
	for at := from; at < to; {
		end := min((at/sectorSize+1)*sectorSize, len(b))
		if allZero(b[at:end]) {
			return true
		}
		at = end
	}
	return false
}
