package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// File is one file of a snapshot.
type File struct {
	Name string   // a single path element, see the package comment
	Size int64    // bytes
	Sum  [32]byte // SHA-256 of the content
}

// Manifest lists the files of a snapshot, ordered by name.
type Manifest []File

const (
	// MaxManifest bounds an encoded manifest, in bytes: room for about 80,000 files.
	MaxManifest = 8 << 20

	maxName        = 100
	manifestHeader = "tamv-snapshot 1"
)

// ErrManifest means that bytes are not a manifest, or that files cannot form one.
var ErrManifest = errors.New("snapshot: malformed manifest")

// validName reports whether name can stand in a manifest. Uppercase letters are left out because some file systems do not
// tell them from lowercase ones.
func validName(name string) bool {
	if len(name) == 0 || len(name) > maxName || name == metaName || name == manifestName {
		return false
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == '-'):
		default:
			return false
		}
	}
	return true
}

// check returns an error that wraps ErrManifest unless m is ordered, free of duplicates and within the bounds.
func (m Manifest) check() error {
	var total int64
	for i, f := range m {
		switch {
		case !validName(f.Name):
			return fmt.Errorf("%w: file name %q", ErrManifest, f.Name)
		case i > 0 && m[i-1].Name >= f.Name:
			return fmt.Errorf("%w: %q after %q", ErrManifest, f.Name, m[i-1].Name)
		case f.Size < 0 || f.Size > math.MaxInt64-total:
			return fmt.Errorf("%w: size %d of %q", ErrManifest, f.Size, f.Name)
		}
		total += f.Size
	}
	return nil
}

// NewManifest orders files by name. Errors wrap ErrManifest.
func NewManifest(files []File) (Manifest, error) {
	m := Manifest(slices.Clone(files))
	slices.SortFunc(m, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return m, m.check()
}

// Size returns the bytes of all files.
func (m Manifest) Size() int64 {
	var total int64
	for _, f := range m {
		total += f.Size
	}
	return total
}

// Encode returns the text form. Errors wrap ErrManifest.
func (m Manifest) Encode() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString(manifestHeader + "\n")
	for _, f := range m {
		fmt.Fprintf(&b, "%x %d %s\n", f.Sum, f.Size, f.Name)
	}
	fmt.Fprintf(&b, "end %d\n", len(m))
	if b.Len() > MaxManifest {
		return nil, fmt.Errorf("%w: %d files are too many", ErrManifest, len(m))
	}
	return b.Bytes(), nil
}

// ParseManifest reads the text form, strictly: it accepts exactly what Encode writes. Errors wrap ErrManifest.
func ParseManifest(data []byte) (Manifest, error) {
	if len(data) > MaxManifest {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrManifest, len(data), MaxManifest)
	}
	text, ok := strings.CutSuffix(string(data), "\n")
	if !ok {
		return nil, fmt.Errorf("%w: cut off", ErrManifest)
	}
	lines := strings.Split(text, "\n")
	if len(lines) < 2 || lines[0] != manifestHeader || lines[len(lines)-1] != "end "+strconv.Itoa(len(lines)-2) {
		return nil, fmt.Errorf("%w: no header or no end", ErrManifest)
	}
	m := make(Manifest, 0, len(lines)-2)
	for _, line := range lines[1 : len(lines)-1] {
		f, err := parseFile(line)
		if err != nil {
			return nil, err
		}
		m = append(m, f)
	}
	return m, m.check()
}

// parseFile reads one line.
func parseFile(line string) (f File, err error) {
	sum, rest, _ := strings.Cut(line, " ")
	size, name, _ := strings.Cut(rest, " ")
	if len(sum) != 2*sha256.Size {
		return f, fmt.Errorf("%w: line %.200q", ErrManifest, line)
	}
	if _, err := hex.Decode(f.Sum[:], []byte(sum)); err != nil || hex.EncodeToString(f.Sum[:]) != sum {
		return f, fmt.Errorf("%w: hash %q", ErrManifest, sum)
	}
	if f.Size, err = strconv.ParseInt(size, 10, 64); err != nil || strconv.FormatInt(f.Size, 10) != size {
		return f, fmt.Errorf("%w: size %.40q", ErrManifest, size)
	}
	f.Name = name
	return f, nil
}
