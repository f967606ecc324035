package chat

import "sync"

// statement is one sentence of a passage with what it is matched by.
type statement struct {
	text  string
	stems []uint64
}

// maxRead bounds the passages that a reader remembers, in bytes of their text.
const maxRead = 4 << 20

// reader takes passages apart. The same few are recalled again and again, so
// it remembers what it took apart, by text: a changed passage is another one.
// It is safe for concurrent use.
type reader struct {
	mu    sync.RWMutex // guards what follows
	known map[string][]statement
	bytes int
}

func newReader() *reader { return &reader{known: map[string][]statement{}} }

// read returns a passage's statements, which must not be changed.
func (r *reader) read(passage string) []statement {
	r.mu.RLock()
	found, ok := r.known[passage]
	r.mu.RUnlock()
	if ok {
		return found
	}
	var out []statement
	for _, text := range statements(sentences(passage)) {
		out = append(out, statement{text, stems(text)})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bytes+len(passage) > maxRead {
		clear(r.known)
		r.bytes = 0
	}
	if _, ok := r.known[passage]; !ok {
		r.known[passage] = out
		r.bytes += len(passage)
	}
	return out
}
