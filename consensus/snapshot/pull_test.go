package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// peer is another member's files in memory, with faults.
type peer struct {
	files map[[32]byte][]byte
	sent  int64
	asked int
	// fault is called before each piece; it returns the piece to send instead, and whether the connection breaks after it.
	fault func(sum [32]byte, offset int64, piece []byte) ([]byte, error)
}

const pieceSize = 1000

func (p *peer) Fetch(_ context.Context, sum [32]byte, offset int64, w io.Writer) error {
	p.asked++
	data, ok := p.files[sum]
	if !ok || offset > int64(len(data)) {
		return errors.New("no such file")
	}
	for at := offset; at < int64(len(data)); {
		piece, broken := data[at:min(at+pieceSize, int64(len(data)))], error(nil)
		at += int64(len(piece))
		if p.fault != nil {
			piece, broken = p.fault(sum, at-int64(len(piece)), bytes.Clone(piece))
		}
		n, err := w.Write(piece)
		p.sent += int64(n)
		if err := errors.Join(err, broken); err != nil {
			return err
		}
	}
	return nil
}

// state makes random files and their manifest.
func state(t testing.TB, sizes ...int) (Manifest, map[[32]byte][]byte) {
	t.Helper()
	var files []File
	contents := map[[32]byte][]byte{}
	for i, size := range sizes {
		data := make([]byte, size)
		rand.NewChaCha8([32]byte{byte(i)}).Read(data)
		sum := sha256.Sum256(data)
		contents[sum] = data
		files = append(files, File{fmt.Sprintf("part-%03d", i), int64(size), sum})
	}
	m, err := NewManifest(files)
	if err != nil {
		t.Fatal(err)
	}
	return m, contents
}

// install gives a store the manifest, as Raft does, and checks what became of it.
func install(t *testing.T, s *Store, m Manifest, contents map[[32]byte][]byte) {
	t.Helper()
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	sink, err := s.Create(1, 50, 2, members, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	dir, _, release, err := s.Locate(data)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for _, f := range m {
		if got, err := os.ReadFile(filepath.Join(dir, f.Name)); err != nil || !bytes.Equal(got, contents[f.Sum]) {
			t.Fatalf("%s: %d bytes, error %v", f.Name, len(got), err)
		}
	}
	if left, err := os.ReadDir(s.staging); len(left) != 0 || err != nil {
		t.Errorf("left in the staging folder: %v, %v", left, err)
	}
}

func TestPullTakesOnlyWhatIsMissing(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	m, contents := state(t, 3000, 0, 5000, 2500, 5000)
	m[4].Sum = m[2].Sum // the same content twice
	// One file is part of an older snapshot, one is in the state; one in the state is not what it should be.
	mustCreate(t, s, 7, map[string]string{"old": string(contents[m[0].Sum])})
	elsewhere := t.TempDir()
	for name, content := range map[string][]byte{"good": contents[m[3].Sum], "bad": contents[m[0].Sum]} {
		if err := os.WriteFile(filepath.Join(elsewhere, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	have := func(sum [32]byte) (string, bool) {
		switch sum {
		case m[3].Sum:
			return filepath.Join(elsewhere, "good"), true
		case m[2].Sum:
			return filepath.Join(elsewhere, "bad"), true
		}
		return "", false
	}
	p := &peer{files: contents}
	var heard int
	if s.Ready(m) {
		t.Error("ready before anything came")
	}
	if err := s.Pull(t.Context(), m, []Source{p}, have, func(n int) { heard += n }); err != nil {
		t.Fatal(err)
	}
	if p.sent != 5000 || heard != 5000 || p.asked != 1 || !s.Ready(m) {
		t.Errorf("%d bytes sent, %d heard of, in %d requests, ready %v", p.sent, heard, p.asked, s.Ready(m))
	}
	install(t, s, m, contents)
	if s.Ready(m) {
		t.Error("ready after the files were taken")
	}
	if data, err := os.ReadFile(filepath.Join(elsewhere, "bad")); err != nil || !bytes.Equal(data, contents[m[0].Sum]) {
		t.Error("a file of the state was changed")
	}
}

func TestPullResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		m, contents := state(t, 10_000, 20_000, 30_000)
		cuts := 0
		p := &peer{files: contents, fault: func(_ [32]byte, _ int64, piece []byte) ([]byte, error) {
			if cuts++; cuts%7 == 0 {
				return piece[:len(piece)/2], io.ErrUnexpectedEOF
			}
			return piece, nil
		}}
		// The process ends in the middle of each try and another goes on.
		for tries := 1; ; tries++ {
			s := mustOpen(t, dir)
			ctx, cancel := context.WithCancel(t.Context())
			got := 0
			err := s.Pull(ctx, m, []Source{p}, nil, func(n int) {
				if got += n; got > 8000 {
					cancel()
				}
			})
			cancel()
			if err == nil {
				if tries < 4 {
					t.Errorf("done after %d tries", tries)
				}
				install(t, s, m, contents)
				break
			}
			if !errors.Is(err, context.Canceled) || tries > 20 {
				t.Fatalf("try %d: %v", tries, err)
			}
		}
		if p.sent > 60_000*12/10 {
			t.Errorf("%d bytes were sent for 60,000", p.sent)
		}
	})
}

func TestPullRefusesWrongContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, contents := state(t, 5000)
		liar := &peer{files: contents, fault: func(_ [32]byte, at int64, piece []byte) ([]byte, error) {
			if at == 3000 {
				piece[17] ^= 1
			}
			return piece, nil
		}}
		s := mustOpen(t, t.TempDir())
		if err := s.Pull(t.Context(), m, []Source{liar}, nil, nil); !errors.Is(err, ErrDamaged) {
			t.Fatalf("error %v", err)
		}
		if s.Ready(m) || liar.asked != maxBad {
			t.Errorf("ready %v after %d requests", s.Ready(m), liar.asked)
		}
		// Another member has the right content.
		if err := s.Pull(t.Context(), m, []Source{liar, &peer{files: contents}}, nil, nil); err != nil {
			t.Fatal(err)
		}
		install(t, s, m, contents)

		// Silent, forgetful and talkative ones.
		long := &peer{files: map[[32]byte][]byte{m[0].Sum: make([]byte, 9000)}}
		for name, sources := range map[string][]Source{"nobody": nil, "nothing": {&peer{}}, "too much": {long}} {
			s := mustOpen(t, t.TempDir())
			if err := s.Pull(t.Context(), m, sources, nil, nil); err == nil || s.Ready(m) {
				t.Errorf("%s: error %v", name, err)
			}
		}
		if err := s.Pull(t.Context(), Manifest{{Name: "A"}}, nil, nil, nil); !errors.Is(err, ErrManifest) {
			t.Errorf("a bad manifest: %v", err)
		}
	})
}

func TestStagedFilesAreVerifiedAnew(t *testing.T) {
	dir := t.TempDir()
	m, contents := state(t, 5000, 3000)
	p := &peer{files: contents}
	if err := mustOpen(t, dir).Pull(t.Context(), m, []Source{p}, nil, nil); err != nil {
		t.Fatal(err)
	}
	// After a crash one of the files is not what it was; the other is believed only after it was read.
	s := mustOpen(t, dir)
	path := s.stagePath(m[0].Sum)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[100] ^= 4
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if s.Ready(m) {
		t.Error("ready without a look at the files")
	}
	sink, err := s.Create(1, 50, 2, members, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Write(encoded); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); !errors.Is(err, ErrIncomplete) {
		t.Errorf("a snapshot was made of files that nobody looked at: %v", err)
	}
	p.sent = 0
	if err := s.Pull(t.Context(), m, []Source{p}, nil, nil); err != nil || p.sent != 5000 {
		t.Errorf("%d bytes sent anew, error %v", p.sent, err)
	}
	install(t, s, m, contents)
	// Pulling another snapshot first throws away what belongs to this one.
	if err := s.Pull(t.Context(), m, []Source{p}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if f, err := s.Temp(); err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	if err := s.Pull(t.Context(), nil, nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(s.staging); len(left) != 0 || err != nil {
		t.Errorf("left %v, error %v", left, err)
	}
}

// Feature: tamv-hardened-backend, Property 2: whatever breaks on the way, a pulled snapshot is the one that was sent, or there is none
func TestPullUnderFaults(t *testing.T) {
	base := t.TempDir()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		dir := filepath.Join(base, fmt.Sprint(runs))
		sizes := rapid.SliceOfN(rapid.IntRange(0, 4000), 0, 4).Draw(rt, "sizes")
		m, contents := state(t, sizes...)
		synctest.Test(t, func(t *testing.T) {
			faults := rapid.SliceOfN(rapid.IntRange(0, 5), 1, 40).Draw(rt, "faults")
			step := 0
			p := &peer{files: contents, fault: func(_ [32]byte, _ int64, piece []byte) ([]byte, error) {
				kind := faults[step%len(faults)]
				step++
				switch kind {
				case 0:
					return piece[:len(piece)/2], io.ErrUnexpectedEOF
				case 1:
					piece[len(piece)/2] ^= 0x80
				case 2:
					return nil, io.ErrUnexpectedEOF
				}
				return piece, nil
			}}
			for range 3 {
				s := mustOpen(t, dir)
				if s.Pull(t.Context(), m, []Source{p, &peer{files: contents}}, nil, nil) != nil {
					continue
				}
				for _, f := range m {
					got, err := os.ReadFile(s.stagePath(f.Sum))
					if err != nil || sha256.Sum256(got) != f.Sum {
						rt.Fatalf("%s was accepted with another content, error %v", hex.EncodeToString(f.Sum[:4]), err)
					}
				}
				install(t, s, m, contents)
				return
			}
		})
	})
}
