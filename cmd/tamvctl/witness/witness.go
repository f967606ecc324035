package witness

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tamv.internal/tamv/cmd/tamvctl/durable"
	"tamv.internal/tamv/store/bookpi"
)

const (
	keysFile        = "keys"
	verifiersFile   = "verifiers"
	logsFile        = "logs"
	recordsFolder   = "records"
	conflictsFolder = "conflicts"

	private, public = fs.FileMode(0o600), fs.FileMode(0o644)
	maxFile         = 1 << 20 // bytes of any file of the folder
)

// ErrFolder: a folder that holds no witness, or a damaged one.
var ErrFolder = errors.New("witness: not a witness's folder, or damaged")

// Folder is an open witness. It is for one goroutine.
type Folder struct {
	path   string
	keys   []*bookpi.SigningKey
	logs   []bookpi.VerifierKey
	unlock func()
}

// algorithms are those of a witness's keys: the one that every client of transparency
// logs understands, and the one that withstands quantum computers.
var algorithms = []bookpi.Algorithm{bookpi.AlgorithmCosignatureEd25519, bookpi.AlgorithmMLDSA44}

// Init makes a witness called name in a folder that has none, with keys made from
// random, 64 bytes of it. The error is fs.ErrExist if there is one, or bookpi.ErrKey
// if the name cannot be that of a key.
func Init(path, name string, random io.Reader) ([]bookpi.VerifierKey, error) {
	var secret, verifiers bytes.Buffer
	var made []bookpi.VerifierKey
	for _, a := range algorithms {
		key, err := bookpi.GenerateSigningKey(random, name, a)
		if err != nil {
			return nil, err
		}
		fmt.Fprintln(&secret, key.Text())
		fmt.Fprintln(&verifiers, key.Verifier())
		made = append(made, key.Verifier())
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	unlock, err := durable.Lock(path)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := os.Lstat(filepath.Join(path, keysFile)); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = &fs.PathError{Op: "init", Path: path, Err: fs.ErrExist}
		}
		return nil, err
	}
	err = durable.WriteFile(filepath.Join(path, verifiersFile), verifiers.Bytes(), public)
	if err == nil {
		// Last, because it is what makes the folder a witness's.
		err = durable.WriteFile(filepath.Join(path, keysFile), secret.Bytes(), private)
	}
	return made, err
}

// Open opens a witness's folder for this process alone. It refuses secret keys that
// others can read, with fs.ErrPermission.
func Open(path string) (*Folder, error) {
	info, err := os.Stat(filepath.Join(path, keysFile))
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, &fs.PathError{Op: "open (others can read the secret keys)", Path: filepath.Join(path, keysFile), Err: fs.ErrPermission}
	}
	unlock, err := durable.Lock(path)
	if err != nil {
		return nil, err
	}
	w := &Folder{path: path, unlock: unlock}
	if err := w.load(); err != nil {
		unlock()
		return nil, err
	}
	return w, nil
}

// Close gives the folder back.
func (w *Folder) Close() { w.unlock() }

func (w *Folder) load() error {
	text, err := w.read(keysFile)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		key, err := bookpi.ParseSigningKey(strings.TrimSuffix(line, "\n"))
		if err != nil || !slices.Contains(algorithms, key.Verifier().Algorithm()) {
			return fmt.Errorf("%w: %s", ErrFolder, keysFile)
		}
		w.keys = append(w.keys, key)
	}
	if len(w.keys) == 0 {
		return fmt.Errorf("%w: %s is empty", ErrFolder, keysFile)
	}
	text, err = w.read(logsFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for line := range strings.Lines(string(text)) {
		key, err := bookpi.ParseVerifierKey(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrFolder, logsFile, err)
		}
		w.logs = append(w.logs, key)
	}
	return nil
}

func (w *Folder) read(name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(w.path, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%w: %s is too long", ErrFolder, name)
	}
	return data, err
}

// Keys returns the verifier keys of the witness.
func (w *Folder) Keys() []bookpi.VerifierKey {
	keys := make([]bookpi.VerifierKey, len(w.keys))
	for i, k := range w.keys {
		keys[i] = k.Verifier()
	}
	return keys
}

// Logs returns the log keys that the witness knows, in the order of their coming.
func (w *Folder) Logs() []bookpi.VerifierKey { return slices.Clone(w.logs) }

// Trust makes log keys known. Known ones are ignored; it returns the new ones. The
// error wraps bookpi.ErrKey for a key that is no log's.
func (w *Folder) Trust(keys ...bookpi.VerifierKey) (added []bookpi.VerifierKey, err error) {
	logs := slices.Clone(w.logs)
	for _, k := range keys {
		if a := k.Algorithm(); a != bookpi.AlgorithmEd25519 && a != bookpi.AlgorithmMLDSA44 {
			return nil, fmt.Errorf("%w: a log signs with ed25519 or ml-dsa-44, not %v", bookpi.ErrKey, a)
		}
		if !slices.Contains(logs, k) {
			logs, added = append(logs, k), append(added, k)
		}
	}
	if len(added) == 0 {
		return nil, nil
	}
	var text bytes.Buffer
	for _, k := range logs {
		fmt.Fprintln(&text, k)
	}
	if err := durable.WriteFile(filepath.Join(w.path, logsFile), text.Bytes(), private); err != nil {
		return nil, err
	}
	w.logs = logs
	return added, nil
}

// digest names a log or a checkpoint in a file name.
func digest(data string) string {
	sum := sha256.Sum256([]byte(data))
	return hex.EncodeToString(sum[:8])
}

// Record returns what the witness remembers of a log; the zero value if it has not seen
// it. The error wraps ErrFolder for a record that cannot be believed.
func (w *Folder) Record(origin string) (bookpi.WitnessRecord, error) {
	name := filepath.Join(recordsFolder, digest(origin))
	note, err := w.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return bookpi.WitnessRecord{}, nil
	}
	if err != nil {
		return bookpi.WitnessRecord{}, err
	}
	for _, k := range w.logs {
		if k.Name() != origin {
			continue
		}
		if cp, err := bookpi.OpenCheckpoint(note, k.String()); err == nil {
			return bookpi.WitnessRecord{Origin: cp.Origin, Size: cp.Size, Root: cp.Root, Checkpoint: note}, nil
		}
	}
	return bookpi.WitnessRecord{}, fmt.Errorf("%w: %s is not a checkpoint signed by a known key of %q", ErrFolder, name, origin)
}

// Cosigned is what a witness hands out.
type Cosigned struct {
	Checkpoint bookpi.Checkpoint
	Note       []byte // the checkpoint, with the log's signatures only
	Lines      []byte // the cosignatures, one line a key
}

// Cosign decides about a request, remembers, and only then signs. A checkpoint that is
// the one remembered is cosigned again wherever the request starts from: a courier may
// have lost the answer. A refusal is a
// [*bookpi.RefusedError], for a conflict inside a [*ConflictError].
func (w *Folder) Cosign(request []byte, at time.Time) (Cosigned, error) {
	parsed, err := bookpi.ParseAddCheckpointRequest(request)
	if err != nil {
		return Cosigned{}, &bookpi.RefusedError{Err: err}
	}
	have, err := w.Record(parsed.Claimed.Origin)
	if err != nil {
		return Cosigned{}, err
	}
	next, err := bookpi.CheckAddCheckpoint(w.logs, have, request)
	if errors.Is(err, bookpi.ErrStale) && parsed.Claimed == (bookpi.Checkpoint{Origin: have.Origin, Size: have.Size, Root: have.Root}) {
		next, err = have, nil
	}
	if err != nil {
		return Cosigned{}, w.keepConflict(err, have, parsed)
	}
	if err := durable.WriteFile(filepath.Join(w.path, recordsFolder, digest(next.Origin)), next.Checkpoint, private); err != nil {
		return Cosigned{}, err
	}
	done := Cosigned{Checkpoint: bookpi.Checkpoint{Origin: next.Origin, Size: next.Size, Root: next.Root}, Note: next.Checkpoint}
	for _, k := range w.keys {
		line, err := bookpi.Cosign(done.Checkpoint, k, at)
		if err != nil {
			return Cosigned{}, err
		}
		done.Lines = append(done.Lines, line...)
	}
	return done, nil
}

// ConflictError is a refusal whose two checkpoints were kept. It wraps the refusal.
type ConflictError struct {
	File    string // where they are
	Refused *bookpi.RefusedError
}

// Error implements error.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("%v; both checkpoints are in %s", e.Refused, e.File)
}

// Unwrap returns the refusal.
func (e *ConflictError) Unwrap() error { return e.Refused }

// keepConflict keeps what contradicts the record, if the refusal says that something
// does.
func (w *Folder) keepConflict(err error, have bookpi.WitnessRecord, r bookpi.AddCheckpointRequest) error {
	var refused *bookpi.RefusedError
	if !errors.As(err, &refused) {
		return err
	}
	known, offered := refused.Known, refused.Offered
	switch {
	case errors.Is(err, bookpi.ErrSplitView):
	case errors.Is(err, bookpi.ErrProof) && have.Size > 0:
		known, offered = have.Checkpoint, r.Checkpoint
	default:
		return err
	}
	file := filepath.Join(w.path, conflictsFolder, digest(have.Origin)+"-"+digest(string(offered)))
	if failed := durable.WriteFile(file, encodeConflict(known, offered), private); failed != nil {
		return errors.Join(err, failed)
	}
	return &ConflictError{file, refused}
}

func encodeConflict(known, offered []byte) []byte {
	out := fmt.Appendf(nil, "tamv-conflict/1\nknown %d\n%s", len(known), known)
	return fmt.Appendf(out, "offered %d\n%s", len(offered), offered)
}

// Conflicts returns the paths of the conflicts kept, in order of their names.
func (w *Folder) Conflicts() ([]string, error) {
	files, err := os.ReadDir(filepath.Join(w.path, conflictsFolder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var paths []string
	for _, f := range files {
		paths = append(paths, filepath.Join(w.path, conflictsFolder, f.Name()))
	}
	return paths, err
}
