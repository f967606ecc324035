package memory

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"

	"tamv.internal/tamv/store"
)

// spool is the documents of an index as they were at a marker, in the order of
// their ids, in a file without a name: the state goes on meanwhile, and holding it
// back for as long as an index takes to make would make its file grow.
type spool struct {
	file *os.File
	w    *bufio.Writer
	err  error

	documents int
}

const (
	spoolPrefix = "frozen-"
	spoolBuffer = 1 << 20
)

func newSpool(dir string) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, spoolPrefix)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &spool{file: f, w: bufio.NewWriterSize(f, spoolBuffer)}, nil
}

func (s *spool) close() error { return s.file.Close() }

// frozen is a document of a spool.
type frozen struct {
	known
	kind    string
	updated int64
	vector  []byte // as in a record; valid until the next is read
}

// add appends a document. The first failure is reported by each.
func (s *spool) add(d *frozen) error {
	if s.err != nil {
		return s.err
	}
	head := appendText(appendText(nil, d.id), d.kind)
	head = binary.LittleEndian.AppendUint64(head, d.version)
	head = binary.LittleEndian.AppendUint32(head, d.sum)
	head = binary.LittleEndian.AppendUint64(head, uint64(d.updated))
	s.documents++
	_, s.err = s.w.Write(head)
	if s.err == nil {
		_, s.err = s.w.Write(d.vector)
	}
	return s.err
}

// freeze fills the spool with the documents of a tenant whose vectors belong to
// the index. It calls began once the view stands, and no later change is seen, or
// when there is nothing to see.
func (s *spool) freeze(view store.View, tenant string, of vectorSpace, own bool, goOn func() bool, began func()) error {
	once := sync.OnceFunc(began)
	defer once()
	err := view.Scan(store.K(tenant, space).Prefix(), "", func(i store.Item) bool {
		once()
		r, err := decodeRecord(i.Value)
		if err != nil || r.Model != of.model || len(r.Vector) != 4*of.dim || own && !r.Own || unusable(decodeVector(r.Vector)) != "" {
			return true // a document that no index has
		}
		return s.add(&frozen{
			known: known{id: i.Key.Last(), version: i.Version, sum: r.checksum()},
			kind:  r.Type, updated: r.Updated, vector: r.Vector,
		}) == nil && goOn()
	})
	if s.err == nil {
		s.err = s.w.Flush()
	}
	return errors.Join(err, s.err)
}

// each calls fn with every document until that fails.
func (s *spool) each(dim int, fn func(*frozen) error) error {
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r := bufio.NewReaderSize(s.file, spoolBuffer)
	vector := make([]byte, 4*dim)
	var fixed [20]byte
	for {
		id, err := readText(r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		d := frozen{known: known{id: id}, vector: vector}
		if err == nil {
			d.kind, err = readText(r)
		}
		if err == nil {
			_, err = io.ReadFull(r, fixed[:])
		}
		if err == nil {
			_, err = io.ReadFull(r, vector)
		}
		if err != nil {
			return err
		}
		d.version, d.sum = binary.LittleEndian.Uint64(fixed[:]), binary.LittleEndian.Uint32(fixed[8:])
		d.updated = int64(binary.LittleEndian.Uint64(fixed[12:]))
		if err := fn(&d); err != nil {
			return err
		}
	}
}

func readText(r *bufio.Reader) (string, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return "", err
	}
	b := make([]byte, binary.LittleEndian.Uint16(length[:]))
	_, err := io.ReadFull(r, b)
	return string(b), err
}
