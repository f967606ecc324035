package bookpi

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
)

const (
	// MaxCourierRequest is the longest request to a witness that is read, in bytes.
	MaxCourierRequest = MaxCheckpointSize + 4<<10
	// maxConsistencyProof is the most hashes C2SP tlog-witness allows.
	maxConsistencyProof = 63
)

// Why a witness refuses a checkpoint. [CheckAddCheckpoint] wraps one of them in a
// [*RefusedError].
var (
	// ErrRequest: bytes that are no request.
	ErrRequest = errors.New("bookpi: malformed witness request")
	// ErrUnknownLog: the witness has no key for that origin.
	ErrUnknownLog = errors.New("bookpi: unknown log")
	// ErrUnsigned: no known key of the log signed the checkpoint, or one's signature is
	// wrong.
	ErrUnsigned = errors.New("bookpi: checkpoint not signed by the log")
	// ErrStale: the request starts from another size than the witness saw last.
	ErrStale = errors.New("bookpi: the witness has seen another size")
	// ErrSmaller: the checkpoint is older than the one the witness saw last.
	ErrSmaller = errors.New("bookpi: the witness has seen a larger checkpoint")
	// ErrSplitView: the log signed two roots for one size. This is proof of
	// misbehaviour that convinces anybody: keep both checkpoints.
	ErrSplitView = errors.New("bookpi: the log signed two histories")
)

// AddCheckpointRequest asks a witness to cosign a checkpoint. It is the body of the
// add-checkpoint call of C2SP tlog-witness, verbatim, also when it travels as a file:
//
//	old <size the witness saw last, decimal, 0 if none>
//	<hash of the consistency proof, base64>       0..63 lines
//
//	<the signed checkpoint, verbatim>
type AddCheckpointRequest struct {
	OldSize    uint64
	Proof      []Hash     // from OldSize to the checkpoint; empty if OldSize is 0
	Checkpoint []byte     // the signed note
	Claimed    Checkpoint // what the note states, unverified; [ParseAddCheckpointRequest] fills it
}

// Encode returns the request. It checks nothing.
func (r AddCheckpointRequest) Encode() []byte {
	out := fmt.Appendf(nil, "old %d\n", r.OldSize)
	out = appendHashLines(out, r.Proof)
	return append(append(out, '\n'), r.Checkpoint...)
}

// ParseAddCheckpointRequest reads a request in its only spelling, without checking
// signatures or proof: that is [CheckAddCheckpoint]. Errors wrap [ErrRequest].
func ParseAddCheckpointRequest(data []byte) (AddCheckpointRequest, error) {
	malformed := func(what string) (AddCheckpointRequest, error) {
		return AddCheckpointRequest{}, fmt.Errorf("%w: %s", ErrRequest, what)
	}
	if len(data) > MaxCourierRequest {
		return malformed(fmt.Sprintf("%d bytes, limit %d", len(data), MaxCourierRequest))
	}
	first, rest, _ := bytes.Cut(data, []byte("\n"))
	number, ok := bytes.CutPrefix(first, []byte("old "))
	var r AddCheckpointRequest
	var err error
	if r.OldSize, err = parseDecimal(string(number)); !ok || err != nil || r.OldSize > MaxSize {
		return malformed("the first line is not an old size")
	}
	if r.Proof, rest, ok = cutHashLines(rest, maxConsistencyProof); !ok {
		return malformed("the proof is malformed, too long or does not end")
	}
	if r.Claimed, err = ParseCheckpoint(rest); err != nil {
		return AddCheckpointRequest{}, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	r.Checkpoint = bytes.Clone(rest)
	return r, nil
}

// appendHashLines writes one hash a line, in base64.
func appendHashLines(out []byte, hashes []Hash) []byte {
	for i := range hashes {
		out = append(base64.StdEncoding.AppendEncode(out, hashes[i][:]), '\n')
	}
	return out
}

// cutHashLines reads lines of one hash each up to an empty line and returns what
// follows it.
func cutHashLines(text []byte, limit int) (hashes []Hash, rest []byte, ok bool) {
	for {
		line, rest, ended := bytes.Cut(text, []byte("\n"))
		if !ended {
			return nil, nil, false
		}
		if len(line) == 0 {
			return hashes, rest, true
		}
		hash, err := decodeLimited(line, HashSize)
		if err != nil || len(hash) != HashSize || len(hashes) == limit {
			return nil, nil, false
		}
		hashes, text = append(hashes, Hash(hash)), rest
	}
}

// WitnessRecord is what a witness remembers of a log: the largest checkpoint it
// cosigned. The zero value remembers nothing.
type WitnessRecord struct {
	Origin     string
	Size       uint64
	Root       Hash
	Checkpoint []byte // the note with the signatures of the log's known keys only
}

// RefusedError says why a witness does not cosign. It wraps one of ErrRequest,
// ErrUnknownLog, ErrUnsigned, ErrStale, ErrSmaller, ErrProof and ErrSplitView.
type RefusedError struct {
	Err  error  // the reason, and the detail if there is one
	Size uint64 // what the witness saw last: where to start from, for ErrStale and ErrSmaller
	// For ErrSplitView, the two checkpoints that the log signed, as notes with its
	// signatures: the one the witness remembers and the one it was offered.
	Known, Offered []byte
}

// Error implements error.
func (e *RefusedError) Error() string {
	if errors.Is(e.Err, ErrStale) || errors.Is(e.Err, ErrSmaller) {
		return fmt.Sprintf("%v: its last is %d", e.Err, e.Size)
	}
	return e.Err.Error()
}

// Unwrap returns the reason.
func (e *RefusedError) Unwrap() error { return e.Err }

// Status returns the HTTP status that C2SP tlog-witness asks for. The body of a 409
// is Size in decimal and a line feed, of type text/x.tlog.size.
func (e *RefusedError) Status() int {
	switch {
	case errors.Is(e.Err, ErrUnknownLog):
		return 404
	case errors.Is(e.Err, ErrUnsigned):
		return 403
	case errors.Is(e.Err, ErrStale), errors.Is(e.Err, ErrSmaller), errors.Is(e.Err, ErrSplitView):
		return 409
	case errors.Is(e.Err, ErrProof):
		return 422
	}
	return 400
}

// CheckAddCheckpoint decides as a witness. known are the log keys it trusts, have is
// what it remembers of the request's origin, request the bytes it was given. On
// success next is what it must remember, on stable storage, before it hands out a
// [Cosign] of next; reading have and writing next must be one step, so that two
// requests at once cannot make it forget.
//
// A checkpoint of a size it knows with another root is reported as [ErrSplitView]
// whatever else the request says. Errors are [*RefusedError]; have stands.
func CheckAddCheckpoint(known []VerifierKey, have WitnessRecord, request []byte) (next WitnessRecord, err error) {
	r, err := ParseAddCheckpointRequest(request)
	if err != nil {
		return WitnessRecord{}, &RefusedError{Err: err}
	}
	cp := r.Claimed
	stripped, err := keepLogSignatures(r.Checkpoint, known)
	if err != nil {
		return WitnessRecord{}, &RefusedError{Err: err}
	}
	if have.Size == 0 {
		have = WitnessRecord{Origin: cp.Origin, Root: emptyRoot()}
	}
	refused := func(err error) (WitnessRecord, error) {
		return WitnessRecord{}, &RefusedError{Err: err, Size: have.Size}
	}
	switch {
	case have.Origin != cp.Origin:
		return refused(fmt.Errorf("%w: the record is of %q, the checkpoint of %q", ErrUnknownLog, have.Origin, cp.Origin))
	case have.Size > 0 && cp.Size == have.Size && cp.Root != have.Root:
		return WitnessRecord{}, &RefusedError{Err: ErrSplitView, Size: have.Size, Known: have.Checkpoint, Offered: stripped}
	case r.OldSize > cp.Size:
		return refused(fmt.Errorf("%w: old size %d beyond the checkpoint's %d", ErrRequest, r.OldSize, cp.Size))
	case cp.Size < have.Size:
		return refused(ErrSmaller)
	case r.OldSize != have.Size:
		return refused(ErrStale)
	}
	if err := VerifyConsistency(have.Size, cp.Size, have.Root, cp.Root, r.Proof); err != nil {
		return refused(err)
	}
	return WitnessRecord{cp.Origin, cp.Size, cp.Root, stripped}, nil
}

// keepLogSignatures returns the note with the lines of known log keys alone, all of
// which must verify: what is remembered must not carry a stranger's bytes.
func keepLogSignatures(text []byte, known []VerifierKey) ([]byte, error) {
	n, err := parseNote(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	kept := []byte(n.checkpoint.text() + "\n")
	bare := len(kept)
	ofOrigin := false
	for _, k := range known {
		if k.Name() != n.checkpoint.Origin || !k.Algorithm().signsLogs() {
			continue
		}
		ofOrigin = true
		line, signed, err := n.verify(k)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnsigned, err)
		}
		if signed {
			kept = append(kept, line.text...)
		}
	}
	switch {
	case !ofOrigin:
		return nil, fmt.Errorf("%w: %q", ErrUnknownLog, n.checkpoint.Origin)
	case len(kept) == bare:
		return nil, fmt.Errorf("%w: %q", ErrUnsigned, n.checkpoint.Origin)
	}
	return kept, nil
}
