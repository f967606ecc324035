package vectors

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"tamv.internal/tamv/tap"
)

const (
	// MaxDim is the most dimensions of a row that are read.
	MaxDim = 4096
	// MaxRows is the most rows of a file that are read.
	MaxRows = 1 << 30
	// MaxNeighbours is the most neighbours a query may have in a truth file.
	MaxNeighbours = 1000

	headerBytes = 8
)

const opRead = "bench.vector.read"

// Rows reads a .fbin file from the front, a block at a time.
type Rows struct {
	N, Dim int

	r     *bufio.Reader
	close func() error
	name  string
	next  int
	raw   []byte
	block [][]float32
	cells []float32
}

// OpenRows opens a .fbin file. The error says what is wrong with the file and
// what helps; its kind is Invalid, or NotFound when there is none.
func OpenRows(path string) (*Rows, error) {
	f, size, err := open(path)
	if err != nil {
		return nil, err
	}
	rows, err := NewRows(f, size, path)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	rows.close = f.Close
	return rows, nil
}

// NewRows reads size bytes in the .fbin format from r; name stands in errors.
func NewRows(r io.Reader, size int64, name string) (*Rows, error) {
	rows := &Rows{r: bufio.NewReaderSize(r, 1<<18), name: name, close: func() error { return nil }}
	var err error
	rows.N, rows.Dim, err = readHeader(rows.r, size, name, MaxDim)
	return rows, err
}

// Close closes the file.
func (r *Rows) Close() error { return r.close() }

// Next returns the next rows, at most limit of them, which are valid until it is
// called again; after the last it returns io.EOF. Every component is finite.
func (r *Rows) Next(limit int) ([][]float32, error) {
	n := min(limit, r.N-r.next)
	if n <= 0 {
		return nil, io.EOF
	}
	if need := n * r.Dim; len(r.cells) < need {
		r.raw, r.cells = make([]byte, 4*need), make([]float32, need)
	}
	raw := r.raw[:4*n*r.Dim]
	if _, err := io.ReadFull(r.r, raw); err != nil {
		return nil, tap.Wrap(opRead, tap.Invalid, err, "%s: rows %d and following cannot be read", r.name, r.next)
	}
	r.block = r.block[:0]
	for i := range n {
		row := r.cells[i*r.Dim:][:r.Dim]
		for j := range row {
			row[j] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*(i*r.Dim+j):]))
			if math.IsNaN(float64(row[j])) || math.IsInf(float64(row[j]), 0) {
				return nil, tap.E(opRead, tap.Invalid, "%s: component %d of row %d is not a finite number; leave such rows out", r.name, j, r.next+i)
			}
		}
		r.block = append(r.block, row)
	}
	r.next += n
	return r.block, nil
}

// ReadRows reads a whole .fbin file. Use it for queries, which are few.
func ReadRows(path string) ([][]float32, error) {
	r, err := OpenRows(path)
	if err != nil {
		return nil, err
	}
	all, err := r.Next(r.N)
	return all, errors.Join(err, r.Close())
}

// ReadTruth reads an .ibin file: for each of the given number of queries the
// rows, of so many, that are nearest to it, nearest first.
func ReadTruth(path string, queries, rows int) ([][]int32, error) {
	f, size, err := open(path)
	if err != nil {
		return nil, err
	}
	truth, err := DecodeTruth(f, size, path, queries, rows)
	return truth, errors.Join(err, f.Close())
}

// DecodeTruth is [ReadTruth] for size bytes from r; name stands in errors.
func DecodeTruth(r io.Reader, size int64, name string, queries, rows int) ([][]int32, error) {
	r = bufio.NewReader(r)
	n, k, err := readHeader(r, size, name, MaxNeighbours)
	if err != nil {
		return nil, err
	}
	if n != queries || k < K {
		return nil, tap.E(opRead, tap.Invalid, "%s holds %d neighbours of %d queries; needed are at least %d of %d: make it with tamvbench vector truth", name, k, n, K, queries)
	}
	truth := make([][]int32, n)
	raw := make([]byte, 4*k)
	for i := range truth {
		if _, err := io.ReadFull(r, raw); err != nil {
			return nil, tap.Wrap(opRead, tap.Invalid, err, "%s: row %d cannot be read", name, i)
		}
		seen := make(map[int32]bool, k)
		truth[i] = make([]int32, k)
		for j := range k {
			row := int32(binary.LittleEndian.Uint32(raw[4*j:]))
			if row < 0 || int(row) >= rows || seen[row] {
				return nil, tap.E(opRead, tap.Invalid, "%s: neighbour %d of query %d is row %d, twice or not in a base of %d rows: does it belong to this base?", name, j, i, row, rows)
			}
			seen[row] = true
			truth[i][j] = row
		}
	}
	return truth, nil
}

func open(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		kind := tap.Invalid
		if errors.Is(err, os.ErrNotExist) {
			kind = tap.NotFound
		}
		return nil, 0, tap.Wrap(opRead, kind, err, "no vectors to read; tamvbench vector data makes some")
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		return nil, 0, errors.Join(tap.Wrap(opRead, tap.Invalid, err, "%s cannot be read", path), f.Close())
	}
	return f, info.Size(), nil
}

// readHeader reads the two numbers and holds them against the size of the file.
func readHeader(r io.Reader, size int64, name string, maxDim int) (n, dim int, err error) {
	var header [headerBytes]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, 0, tap.Wrap(opRead, tap.Invalid, err, "%s is shorter than a header of %d bytes", name, headerBytes)
	}
	n = int(int32(binary.LittleEndian.Uint32(header[:])))
	dim = int(int32(binary.LittleEndian.Uint32(header[4:])))
	if n < 1 || n > MaxRows || dim < 1 || dim > maxDim {
		return 0, 0, tap.E(opRead, tap.Invalid, "%s claims %d rows of %d numbers; allowed are 1 to %d of 1 to %d: is it little-endian, int32 rows, int32 columns, then the rows?", name, n, dim, MaxRows, maxDim)
	}
	if want := headerBytes + 4*int64(n)*int64(dim); size != want {
		return 0, 0, tap.E(opRead, tap.Invalid, "%s has %d bytes, but %d rows of %d numbers take %d: make or copy it again", name, size, n, dim, want)
	}
	return n, dim, nil
}

// writeBin writes a file of either format. fill is called with each row's number
// and appends its cells. The file appears under its name when it is complete.
func writeBin(path string, n, dim int, fill func(row int, out []byte) []byte) (err error) {
	f, err := os.Create(path + ".part")
	if err != nil {
		return tap.Wrap(opWrite, tap.Invalid, err, "%s cannot be written", path)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err == nil {
			err = os.Rename(f.Name(), path)
		}
		if err != nil {
			err = errors.Join(tap.Wrap(opWrite, tap.Unavailable, err, "%s cannot be written", path), os.Remove(f.Name()))
		}
	}()
	w := bufio.NewWriterSize(f, 1<<18)
	line := binary.LittleEndian.AppendUint32(nil, uint32(n))
	line = binary.LittleEndian.AppendUint32(line, uint32(dim))
	for row := 0; ; row++ {
		if _, err := w.Write(line); err != nil {
			return err
		}
		if row == n {
			return w.Flush()
		}
		if line = fill(row, line[:0]); len(line) != 4*dim {
			return fmt.Errorf("row %d has %d bytes instead of %d", row, len(line), 4*dim)
		}
	}
}

const opWrite = "bench.vector.write"

// WriteRows writes a .fbin file of n rows of dim components each; row(i) need
// only stay valid until it is called again.
func WriteRows(path string, n, dim int, row func(i int) []float32) error {
	return writeBin(path, n, dim, func(i int, out []byte) []byte {
		for _, c := range row(i) {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(c))
		}
		return out
	})
}

// WriteTruth writes an .ibin file.
func WriteTruth(path string, truth [][]int32) error {
	return writeBin(path, len(truth), len(truth[0]), func(i int, out []byte) []byte {
		for _, row := range truth[i] {
			out = binary.LittleEndian.AppendUint32(out, uint32(row))
		}
		return out
	})
}
