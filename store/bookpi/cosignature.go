package bookpi

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"filippo.io/mldsa"
)

// Cosignature says that a witness saw a checkpoint as the newest of its log, without
// contradiction to any it saw before.
type Cosignature struct {
	Witness   string    // what the policy calls the witness
	Name      string    // what the witness's key is called
	KeyHash   uint32    // of that key
	Algorithm Algorithm // cosignature/v1 or ml-dsa-44
	Time      time.Time // when, UTC, to the second; the zero Time if it does not say
}

const (
	timestampSize = 8
	// maxTimestamp is the last second of the year 9999, the last that RFC 3339 and
	// JSON can show. C2SP allows more; no witness needs it.
	maxTimestamp = 253402300799
	// mldsaLabel separates checkpoints from whatever else the key may sign.
	mldsaLabel = "subtree/v1\n\x00"
)

// Cosign returns a cosignature of the checkpoint by a witness's key as one signature
// line, ended by a line feed (C2SP tlog-cosignature). The line holds the key hash,
// the time as 8 big-endian bytes of seconds since the Unix epoch, and the signature:
// 64 bytes of Ed25519 or 2,420 of ML-DSA-44.
//
// Cosigning is a promise about everything the witness has seen: call it only on what
// [CheckAddCheckpoint] allowed, after recording it. Errors wrap [ErrKey] if the key is
// a log's plain Ed25519 key, and [ErrCheckpoint] otherwise.
func Cosign(cp Checkpoint, k *SigningKey, at time.Time) ([]byte, error) {
	if !k.verifier.Algorithm().cosigns() {
		return nil, fmt.Errorf("%w: a witness does not cosign with %v", ErrKey, k.verifier.Algorithm())
	}
	if err := cp.check(); err != nil {
		return nil, err
	}
	return k.line(cp, at)
}

// line returns the key's signature line under a checkpoint that has been checked.
func (k *SigningKey) line(cp Checkpoint, at time.Time) ([]byte, error) {
	algorithm := k.verifier.Algorithm()
	signature := binary.BigEndian.AppendUint32(nil, k.verifier.KeyHash())
	timestamp := at.Unix()
	if algorithm != AlgorithmEd25519 {
		if timestamp <= 0 || timestamp > maxTimestamp {
			return nil, fmt.Errorf("%w: %v cannot be the time of a signature", ErrCheckpoint, at)
		}
		signature = binary.BigEndian.AppendUint64(signature, uint64(timestamp))
	}
	raw, err := k.signRaw(cp.message(k.verifier, uint64(timestamp)), "")
	if err != nil {
		return nil, err
	}
	signature = append(signature, raw...)
	return fmt.Appendf(nil, "%s%s %s\n", signaturePrefix, k.verifier.Name(), base64.StdEncoding.EncodeToString(signature)), nil
}

// message returns the bytes that the key signs for a checkpoint. The timestamp does
// not matter for a log's plain Ed25519 signature.
func (cp Checkpoint) message(k VerifierKey, timestamp uint64) []byte {
	switch k.Algorithm() {
	case AlgorithmCosignatureEd25519:
		return fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", timestamp, cp.text())
	case AlgorithmMLDSA44:
		// struct cosigned_message in the notation of RFC 8446.
		m := append([]byte(mldsaLabel), byte(len(k.Name())))
		m = append(m, k.Name()...)
		m = binary.BigEndian.AppendUint64(m, timestamp)
		m = append(m, byte(len(cp.Origin)))
		m = append(m, cp.Origin...)
		m = binary.BigEndian.AppendUint64(m, 0) // the subtree begins at entry 0
		m = binary.BigEndian.AppendUint64(m, cp.Size)
		return append(m, cp.Root[:]...)
	}
	return []byte(cp.text())
}

// verifyLine checks what a signature line holds after the key hash and returns the
// time it states, 0 if none.
func (k VerifierKey) verifyLine(cp Checkpoint, signature []byte) (timestamp uint64, ok bool) {
	if k.Algorithm() != AlgorithmEd25519 {
		if len(signature) < timestampSize {
			return 0, false
		}
		timestamp, signature = binary.BigEndian.Uint64(signature), signature[timestampSize:]
		if timestamp > maxTimestamp {
			return 0, false
		}
	}
	if len(signature) != k.Algorithm().signatureSize() {
		return 0, false
	}
	return timestamp, k.verifyRaw(cp.message(k, timestamp), signature, "")
}

// signatureSize returns the length of a bare signature.
func (a Algorithm) signatureSize() int {
	if a == AlgorithmMLDSA44 {
		return mldsa.MLDSA44SignatureSize
	}
	return ed25519.SignatureSize
}

// Verify reports whether signature is this key's under a checkpoint with the text
// msg. It lets golang.org/x/mod/sumdb/note open notes with keys it does not know.
func (k VerifierKey) Verify(msg, signature []byte) bool {
	cp, err := parseCheckpointBody(string(msg))
	if err != nil {
		return false
	}
	_, ok := k.verifyLine(cp, signature)
	return ok
}

// cosignature describes a line that verified.
func (k VerifierKey) cosignature(witness string, timestamp uint64) Cosignature {
	c := Cosignature{Witness: witness, Name: k.Name(), KeyHash: k.KeyHash(), Algorithm: k.Algorithm()}
	if timestamp != 0 {
		c.Time = time.Unix(int64(timestamp), 0).UTC()
	}
	return c
}

// AddCosignatures returns the checkpoint with further signature lines after those it
// has. A key that has signed already keeps the line it has. It checks the form of
// both, not the signatures; the result reads the same to whoever does not know the new
// keys. Errors wrap [ErrCheckpoint].
func AddCosignatures(checkpoint, lines []byte) ([]byte, error) {
	n, err := parseNote(checkpoint)
	if err != nil {
		return nil, err
	}
	added, err := parseSignatureLines(string(lines))
	if err != nil {
		return nil, err
	}
	merged := append([]byte(nil), checkpoint...)
	for _, line := range added {
		if !n.signedBy(line.name, line.hash) {
			merged = append(merged, line.text...)
			n.lines = append(n.lines, line)
		}
	}
	if _, err := parseNote(merged); err != nil {
		return nil, err
	}
	return merged, nil
}

// VerifyCosignatures checks signature lines that came back from witnesses, without
// the checkpoint above them, against that checkpoint and the keys one knows. Lines of
// unknown keys are skipped, as C2SP demands; one known key must have signed and no
// known key's line may be wrong. It returns what verified, in the order of the lines,
// and those lines alone. Errors wrap [ErrCheckpoint].
func VerifyCosignatures(cp Checkpoint, lines []byte, known []VerifierKey) (by []Cosignature, verified []byte, err error) {
	parsed, err := parseSignatureLines(string(lines))
	if err != nil {
		return nil, nil, err
	}
	for _, line := range parsed {
		for _, k := range known {
			if !line.by(k) {
				continue
			}
			timestamp, ok := k.verifyLine(cp, line.signature)
			if !ok {
				return nil, nil, fmt.Errorf("%w: the signature of %s does not verify", ErrCheckpoint, k.ID())
			}
			by = append(by, k.cosignature("", timestamp))
			verified = append(verified, line.text...)
			break
		}
	}
	if len(by) == 0 {
		return nil, nil, fmt.Errorf("%w: no known key has signed", ErrCheckpoint)
	}
	return by, verified, nil
}
