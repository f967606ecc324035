package bookpi

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// LogKeys are the keys a log signs its checkpoints with: Ed25519, which every
// client of transparency logs understands, and ML-DSA-44, which withstands quantum
// computers. A log made before the second existed has the first alone. Printing
// LogKeys shows the verifier keys.
type LogKeys struct {
	keys []*SigningKey // Ed25519, then ML-DSA-44 if the log has it; same name
}

// GenerateKeys makes both keys for the log called origin, reading 64 bytes from
// rand. Origins are named as [GenerateSigningKey] says. Errors wrap [ErrKey].
func GenerateKeys(rand io.Reader, origin string) (LogKeys, error) {
	var made LogKeys
	for _, a := range []Algorithm{AlgorithmEd25519, AlgorithmMLDSA44} {
		k, err := GenerateSigningKey(rand, origin, a)
		if err != nil {
			return LogKeys{}, err
		}
		made.keys = append(made.keys, k)
	}
	return made, nil
}

// ParseLogKeys reads the file that [LogKeys.Text] writes: two lines (Ed25519 alone)
// or four, each ended by one line feed. Verifier keys must be those of the signer
// keys above them, and names must agree. Errors wrap [ErrKey] and contain no secret.
func ParseLogKeys(text string) (LogKeys, error) {
	lines := strings.Split(text, "\n")
	if n := len(lines); (n != 3 && n != 5) || lines[n-1] != "" {
		return LogKeys{}, fmt.Errorf("%w: a log key file has two lines or four", ErrKey)
	}
	want := []Algorithm{AlgorithmEd25519, AlgorithmMLDSA44}
	var read LogKeys
	for i := 0; i+1 < len(lines); i += 2 {
		k, err := ParseSigningKey(lines[i])
		switch {
		case err != nil:
			return LogKeys{}, fmt.Errorf("line %d: %w", i+1, err)
		case k.verifier.Algorithm() != want[i/2]:
			return LogKeys{}, fmt.Errorf("%w: line %d is not a key for %v", ErrKey, i+1, want[i/2])
		case k.verifier.String() != lines[i+1]:
			return LogKeys{}, fmt.Errorf("%w: line %d is not the verifier key of line %d", ErrKey, i+2, i+1)
		case i > 0 && k.verifier.Name() != read.Origin():
			return LogKeys{}, fmt.Errorf("%w: line %d is for another log", ErrKey, i+1)
		}
		read.keys = append(read.keys, k)
	}
	return read, nil
}

// Text returns the key file, which is secret: for Ed25519, then for ML-DSA-44, one
// line with the signer key and one with the verifier key.
func (k LogKeys) Text() string {
	var b strings.Builder
	for _, key := range k.keys {
		fmt.Fprintf(&b, "%s\n%s\n", key.Text(), key.Verifier())
	}
	return b.String()
}

// Origin returns the log's name, empty for the zero value.
func (k LogKeys) Origin() string {
	if len(k.keys) == 0 {
		return ""
	}
	return k.keys[0].verifier.Name()
}

// Verifiers returns the verifier keys as text, Ed25519 first.
func (k LogKeys) Verifiers() []string {
	var list []string
	for _, key := range k.keys {
		list = append(list, key.verifier.String())
	}
	return list
}

// VerifierKeys returns the verifier keys, Ed25519 first.
func (k LogKeys) VerifierKeys() []VerifierKey {
	var list []VerifierKey
	for _, key := range k.keys {
		list = append(list, key.verifier)
	}
	return list
}

// String returns the verifier keys, so that logs and error texts cannot leak the
// secrets.
func (k LogKeys) String() string { return strings.Join(k.Verifiers(), " ") }

// GoString does for %#v what String does for the other verbs.
func (k LogKeys) GoString() string { return k.String() }

// Sign returns the checkpoint as a note signed by every key of the log,
//
//	<origin>
//	<size, decimal>
//	<root, base64>
//
//	— <origin> <base64 of key hash and signature>
//
// with one such line for each key. The ML-DSA-44 signature also states the time at, in
// seconds since the Unix epoch. Errors wrap [ErrCheckpoint], or [ErrKey] for the zero
// value.
func (k LogKeys) Sign(cp Checkpoint, at time.Time) ([]byte, error) {
	if len(k.keys) == 0 {
		return nil, fmt.Errorf("%w: no key to sign with", ErrKey)
	}
	if cp.Origin != k.Origin() {
		return nil, fmt.Errorf("%w: origin %q, but the key is for %q", ErrCheckpoint, cp.Origin, k.Origin())
	}
	if err := cp.check(); err != nil {
		return nil, err
	}
	note := []byte(cp.text() + "\n")
	for _, key := range k.keys {
		line, err := key.line(cp, at)
		if err != nil {
			return nil, err
		}
		note = append(note, line...)
	}
	return note, nil
}
