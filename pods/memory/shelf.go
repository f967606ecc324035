package memory

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"tamv.internal/tamv/vector"
)

// shelf is where one index is saved: a folder named after it, in it one for each
// time it was saved, with a number that grows. What is saved is complete once its
// folder has its number; until then it has unfinished behind it.
type shelf struct {
	dir  string
	name indexName
}

const (
	catalogueFile = "documents"
	unfinished    = ".tmp"
)

var errNothingSaved = errors.New("memory: no saved index")

func (p *Pod) shelf(tenant string, s vectorSpace) shelf {
	name := nameOf(tenant, s)
	return shelf{filepath.Join(p.config.Dir, hex.EncodeToString(name[:16])), name}
}

// saves are the numbers of what is complete, ascending.
func (s shelf) saves() ([]uint64, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var numbers []uint64
	for _, e := range entries {
		if n, err := strconv.ParseUint(e.Name(), 10, 64); err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func (s shelf) folder(number uint64) string {
	return filepath.Join(s.dir, strconv.FormatUint(number, 10))
}

// save writes an index and its catalogue, which built completes with the digest,
// and takes away what was there before. After a crash there is the old or the new.
func (s shelf) save(x *vector.Index, c *catalogue, built func(vector.Digest)) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	old, err := s.saves()
	if err != nil {
		return err
	}
	number := uint64(1)
	if len(old) > 0 {
		number = old[len(old)-1] + 1
	}
	folder := s.folder(number)
	temporary := folder + unfinished
	if err := errors.Join(os.RemoveAll(temporary), os.Mkdir(temporary, 0o700)); err != nil {
		return err
	}
	digest, err := x.Save(temporary)
	if err == nil {
		built(digest)
		c.name = s.name
		err = writeFile(filepath.Join(temporary, catalogueFile), c.encode())
	}
	if err == nil {
		err = errors.Join(syncDir(temporary), os.Rename(temporary, folder), syncDir(s.dir), syncDir(filepath.Dir(s.dir)))
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(temporary))
	}
	for _, n := range old {
		err = errors.Join(err, os.RemoveAll(s.folder(n)))
	}
	return err
}

func writeFile(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// open loads the newest index that can be used. The error says why the newest
// could not; it is errNothingSaved when there is none.
func (s shelf) open(cfg vector.Config) (*vector.Index, *catalogue, error) {
	numbers, err := s.saves()
	if err != nil {
		return nil, nil, err
	}
	first := error(nil)
	for _, n := range slices.Backward(numbers) {
		x, c, err := s.load(s.folder(n), cfg)
		if err == nil {
			return x, c, first
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = errNothingSaved
	}
	return nil, nil, first
}

func (s shelf) load(folder string, cfg vector.Config) (*vector.Index, *catalogue, error) {
	raw, err := os.ReadFile(filepath.Join(folder, catalogueFile))
	if err != nil {
		return nil, nil, err
	}
	c, err := decodeCatalogue(raw)
	if err != nil {
		return nil, nil, err
	}
	if c.name != s.name {
		return nil, nil, fmt.Errorf("%w: it is of another index", errCatalogue)
	}
	x, err := vector.Open(folder, cfg)
	if err != nil {
		return nil, nil, err
	}
	if x.Len() != len(c.documents) {
		err = fmt.Errorf("%w: %d documents for %d vectors", errCatalogue, len(c.documents), x.Len())
		x.Close()
		return nil, nil, err
	}
	return x, c, nil
}

var shelfPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)

// sweep takes away what a crash left unfinished and the shelves of indexes that
// are no more.
func sweep(dir string, keep []shelf) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case !shelfPattern.MatchString(e.Name()):
			if strings.HasPrefix(e.Name(), spoolPrefix) {
				err = errors.Join(err, os.Remove(path))
			}
		case !slices.ContainsFunc(keep, func(s shelf) bool { return s.dir == path }):
			err = errors.Join(err, os.RemoveAll(path))
		default:
			parts, listed := os.ReadDir(path)
			err = errors.Join(err, listed)
			for _, part := range parts {
				if strings.HasSuffix(part.Name(), unfinished) {
					err = errors.Join(err, os.RemoveAll(filepath.Join(path, part.Name())))
				}
			}
		}
	}
	return err
}
