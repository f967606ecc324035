package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Source is somewhere else that has files.
type Source interface {
	// Fetch writes the bytes of the file with this SHA-256 to w, from offset to the end. When it fails, what it wrote
	// before stays valid. It must end when the other side is silent for long.
	Fetch(ctx context.Context, sum [32]byte, offset int64, w io.Writer) error
}

const (
	partSuffix = ".part"
	linkSuffix = ".link"

	// maxFailures is the number of attempts in a row without a single byte after which Pull gives up; with the pauses
	// in between they take at least 6 seconds.
	maxFailures = 8
	// maxBad is the number of times that a file may arrive with the wrong content. It is at least the number of members
	// that can be asked, so that one damaged copy does not hide a good one.
	maxBad     = 5
	firstPause = 100 * time.Millisecond
	longPause  = 2 * time.Second
)

// Pull brings all files of a manifest into the staging folder, so that a sink that is given the manifest finds them. A file
// that a snapshot here has, or that have finds (it may be nil), is linked; the others are fetched from the sources, the next
// one after each failure. Every file is verified. What was fetched before an error is kept for the next Pull, and what
// belongs to other manifests is removed, so the folder never holds more than one snapshot. progress (it may be nil) is called
// after each piece with the number of bytes that arrived.
//
// It returns ErrDamaged if a file kept arriving with the wrong content.
func (s *Store) Pull(ctx context.Context, m Manifest, sources []Source, have func(sum [32]byte) (path string, ok bool), progress func(bytes int)) error {
	if err := m.check(); err != nil {
		return err
	}
	s.pull.Lock()
	defer s.pull.Unlock()
	if err := s.keepOnly(m); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	for _, f := range m {
		if s.staged(ctx, f) || s.reuse(ctx, f, have) {
			continue
		}
		if err := s.fetch(ctx, f, sources, progress); err != nil {
			return err
		}
	}
	return nil
}

// Ready reports whether every file of a manifest was pulled and verified since the store was opened.
func (s *Store) Ready(m Manifest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range m {
		if !s.verified[f.Sum] {
			return false
		}
	}
	return true
}

// staged reports whether a file is complete. One left by an earlier process is read first.
func (s *Store) staged(ctx context.Context, f File) bool {
	s.mu.Lock()
	known := s.verified[f.Sum]
	s.mu.Unlock()
	if known {
		return true
	}
	path := s.stagePath(f.Sum)
	if err := verifyFile(ctx, path, f, nil); err != nil {
		if ctx.Err() == nil {
			os.Remove(path) // the file is fetched anew, over whatever is left
		}
		return false
	}
	s.accept(f.Sum)
	return true
}

// reuse links a file that is on this machine already, if its content is right.
func (s *Store) reuse(ctx context.Context, f File, have func(sum [32]byte) (string, bool)) bool {
	var paths []string
	if held, err := s.File(f.Sum); err == nil {
		paths = append(paths, held.Name())
		held.Close()
	}
	if have != nil {
		if path, ok := have(f.Sum); ok {
			paths = append(paths, path)
		}
	}
	link := s.stagePath(f.Sum) + linkSuffix
	for _, path := range paths {
		os.Remove(link)
		if s.disk.link(path, link) != nil {
			continue
		}
		if verifyFile(ctx, link, f, nil) == nil && s.disk.rename(link, s.stagePath(f.Sum)) == nil {
			s.accept(f.Sum)
			return true
		}
		os.Remove(link)
	}
	return false
}

// fetch brings one file from the sources.
func (s *Store) fetch(ctx context.Context, f File, sources []Source, progress func(bytes int)) error {
	p, err := openPart(s.stagePath(f.Sum)+partSuffix, f, progress)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer p.file.Close()
	bad, failures := 0, 0
	for try := 0; ; try++ {
		before := p.size
		var failure error
		if p.size < f.Size {
			if len(sources) == 0 {
				return fmt.Errorf("%w: %s, and nobody to ask", ErrNotFound, f.Name)
			}
			failure = sources[try%len(sources)].Fetch(ctx, f.Sum, p.size, p)
		}
		switch {
		case p.size == f.Size && p.matches():
			return s.complete(p)
		case p.size == f.Size:
			if bad++; bad == maxBad {
				return fmt.Errorf("%w: %s arrived %d times with another content", ErrDamaged, f.Name, bad)
			}
			if err := p.reset(); err != nil {
				return fmt.Errorf("snapshot: %w", err)
			}
		case p.err != nil:
			return fmt.Errorf("snapshot: %w", p.err) // our disk, not the source
		case p.size > before:
			failures = 0
		default:
			failures++
		}
		if failures == maxFailures {
			return fmt.Errorf("snapshot: fetch %s: %w", f.Name, errors.Join(failure, ErrIncomplete))
		}
		if err := pause(ctx, min(firstPause<<failures, longPause)); err != nil {
			return err
		}
	}
}

// complete makes a fetched file durable and gives it its name.
func (s *Store) complete(p *part) error {
	if err := p.file.Sync(); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if err := s.disk.rename(p.file.Name(), s.stagePath(p.want.Sum)); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	s.accept(p.want.Sum)
	return nil
}

// take links the staged files of a manifest into a folder. The caller holds pull.
func (s *Store) take(m Manifest, dir string) error {
	if !s.Ready(m) {
		return fmt.Errorf("%w: %d files, %d bytes in all", ErrIncomplete, len(m), m.Size())
	}
	for _, f := range m {
		if err := s.disk.link(s.stagePath(f.Sum), filepath.Join(dir, f.Name)); err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
	}
	return nil
}

// clear empties the staging folder. The caller holds pull.
func (s *Store) clear() {
	if err := s.keepOnly(nil); err != nil {
		s.log.Warn("received files that are not needed any more were not removed", "error", err)
	}
}

// keepOnly removes what does not belong to a manifest from the staging folder. The caller holds pull.
func (s *Store) keepOnly(m Manifest) error {
	wanted := make(map[string]bool, len(m))
	for _, f := range m {
		wanted[hex.EncodeToString(f.Sum[:])] = true
	}
	s.mu.Lock()
	for sum := range s.verified {
		if !wanted[hex.EncodeToString(sum[:])] {
			delete(s.verified, sum)
		}
	}
	s.mu.Unlock()
	files, err := os.ReadDir(s.staging)
	if err != nil {
		return err
	}
	for _, f := range files {
		if base := strings.TrimSuffix(f.Name(), partSuffix); !wanted[base] {
			err = errors.Join(err, s.disk.removeAll(filepath.Join(s.staging, f.Name())))
		}
	}
	return err
}

// Temp creates a file in the staging folder. The caller removes it; if it cannot, the next Pull does.
func (s *Store) Temp() (*os.File, error) {
	f, err := os.CreateTemp(s.staging, "temp-")
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return f, nil
}

// accept remembers that a staged file is complete.
func (s *Store) accept(sum [32]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verified[sum] = true
}

func (s *Store) stagePath(sum [32]byte) string {
	return filepath.Join(s.staging, hex.EncodeToString(sum[:]))
}

// part is a file that is being fetched. It takes bytes up to the size that the manifest says.
type part struct {
	want     File
	file     *os.File
	size     int64
	hash     hash.Hash // of the bytes so far
	err      error     // of our disk
	progress func(bytes int)
}

// openPart continues a file, or begins it.
func openPart(path string, want File, progress func(bytes int)) (*part, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	p := &part{want: want, file: file, hash: sha256.New(), progress: progress}
	if p.size, err = io.Copy(p.hash, file); err == nil && p.size > want.Size {
		err = p.reset()
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return p, nil
}

var errTooLong = errors.New("snapshot: more bytes than the file has")

// Write implements io.Writer.
func (p *part) Write(data []byte) (int, error) {
	if int64(len(data)) > p.want.Size-p.size {
		return 0, errTooLong
	}
	n, err := p.file.Write(data)
	p.hash.Write(data[:n])
	p.size += int64(n)
	if p.progress != nil && n > 0 {
		p.progress(n)
	}
	p.err = err
	return n, err
}

func (p *part) matches() bool { return [32]byte(p.hash.Sum(nil)) == p.want.Sum }

// reset begins anew.
func (p *part) reset() error {
	p.size = 0
	p.hash.Reset()
	_, err := p.file.Seek(0, io.SeekStart)
	return errors.Join(err, p.file.Truncate(0))
}

// pause waits, or returns the context's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
