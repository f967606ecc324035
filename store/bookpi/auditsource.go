package bookpi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
)

// Source is where [Audit] reads a log from: a mirror folder, a server's /log/, a test.
type Source interface {
	// Fetch returns the file at path, which is one of the paths of this package. A
	// missing file is an error matching fs.ErrNotExist, one longer than limit bytes an
	// error matching [ErrOversize]. The caller owns the bytes. Fetch may be called from
	// several goroutines.
	Fetch(ctx context.Context, path string, limit int64) ([]byte, error)
}

// ErrOversize: a file that is longer than anything valid can be.
var ErrOversize = errors.New("bookpi: file too long")

const (
	// MaxSizes is the longest list of sizes that is read, in bytes: recorded checkpoints
	// of a log of four billion entries.
	MaxSizes = 4 << 20
	// maxSizesText is the longest line of such a list.
	maxSizesText = 20
)

// ErrSizes: bytes that are no list of sizes.
var ErrSizes = errors.New("bookpi: malformed list of sizes")

// AppendSizes appends the list at "checkpoints": each size in decimal on its own line.
// The sizes ascend, none twice.
func AppendSizes(dst []byte, sizes []uint64) []byte {
	for _, size := range sizes {
		dst = append(strconv.AppendUint(dst, size, 10), '\n')
	}
	return dst
}

// ParseSizes reads what [AppendSizes] writes and nothing else. An empty list is no
// bytes. Errors wrap [ErrSizes].
func ParseSizes(data []byte) ([]uint64, error) {
	if len(data) > MaxSizes {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrSizes, len(data), MaxSizes)
	}
	var sizes []uint64
	for len(data) > 0 {
		line, rest, found := bytes.Cut(data, []byte("\n"))
		if !found || len(line) > maxSizesText {
			return nil, fmt.Errorf("%w: line %d does not end", ErrSizes, len(sizes)+1)
		}
		size, err := parseDecimal(string(line))
		if err != nil || size > MaxSize {
			return nil, fmt.Errorf("%w: line %d is not a size", ErrSizes, len(sizes)+1)
		}
		if n := len(sizes); n > 0 && sizes[n-1] >= size {
			return nil, fmt.Errorf("%w: line %d does not ascend", ErrSizes, n+1)
		}
		sizes = append(sizes, size)
		data = rest
	}
	return sizes, nil
}

// DirSource returns a mirror folder as a [Source]. Where a server lists its recorded
// checkpoints, a folder has a folder: DirSource lists the files in "checkpoints" that
// have a size for a name, and ignores others.
func DirSource(fsys fs.FS) Source { return dirSource{fsys} }

type dirSource struct{ fsys fs.FS }

func (d dirSource) Fetch(ctx context.Context, path string, limit int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if path == CheckpointsPath {
		return d.sizes()
	}
	f, err := d.fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("bookpi: %s is not a file: %w", path, fs.ErrInvalid)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes, limit %d", ErrOversize, path, info.Size(), limit)
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("bookpi: %s: %w", path, err)
	}
	return data, nil
}

func (d dirSource) sizes() ([]byte, error) {
	files, err := fs.ReadDir(d.fsys, CheckpointsPath)
	if err != nil {
		return nil, err
	}
	var sizes []uint64
	for _, file := range files {
		if size, err := ParseRecordedPath(CheckpointsPath + "/" + file.Name()); err == nil {
			sizes = append(sizes, size)
		}
	}
	slices.Sort(sizes)
	return AppendSizes(nil, sizes), nil
}
