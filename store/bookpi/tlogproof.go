package bookpi

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
)

const (
	tlogProofMagic = "c2sp.org/tlog-proof@v1"
	// MaxTLogProof is the longest tlog-proof that is read, in bytes.
	MaxTLogProof = MaxCheckpointSize + 16<<10
	maxExtra     = 4 << 10 // bytes of extra data
)

// ErrTLogProof: bytes that encode no tlog-proof.
var ErrTLogProof = errors.New("bookpi: malformed tlog-proof")

// TLogProof is the proof that one entry is in a log, in the format of C2SP
// tlog-proof, which other transparency logs' tools read too (extension .tlog-proof):
//
//	c2sp.org/tlog-proof@v1
//	extra <base64>                    the encoded entry; the line may be missing
//	index <position, decimal>
//	<hash of the inclusion proof, base64>   0..62 lines
//
//	<the signed checkpoint, verbatim>
//
// With the entry as extra data the file says by itself what it proves. [Bundle] is
// the format for several entries and for payloads.
type TLogProof struct {
	Extra      []byte // the encoded entry, or empty
	Index      uint64 // position in the ledger
	Proof      []Hash // inclusion proof in the checkpoint's tree
	Checkpoint []byte // the signed note, with its cosignatures
}

// Encode returns the proof's file. It checks nothing.
func (p TLogProof) Encode() []byte {
	out := []byte(tlogProofMagic + "\n")
	if len(p.Extra) > 0 {
		out = append(out, "extra "...)
		out = append(base64.StdEncoding.AppendEncode(out, p.Extra), '\n')
	}
	out = append(out, "index "...)
	out = append(strconv.AppendUint(out, p.Index, 10), '\n')
	out = appendHashLines(out, p.Proof)
	return append(append(out, '\n'), p.Checkpoint...)
}

// ParseTLogProof reads a proof in its only spelling without checking what it claims:
// that is [VerifyTLogProof]. Errors wrap [ErrTLogProof].
func ParseTLogProof(data []byte) (TLogProof, error) {
	malformed := func(what string) (TLogProof, error) {
		return TLogProof{}, fmt.Errorf("%w: %s", ErrTLogProof, what)
	}
	if len(data) > MaxTLogProof {
		return malformed(fmt.Sprintf("%d bytes, limit %d", len(data), MaxTLogProof))
	}
	line, rest, _ := bytes.Cut(data, []byte("\n"))
	if string(line) != tlogProofMagic {
		return malformed("not a tlog-proof of version 1")
	}
	var p TLogProof
	var err error
	line, rest, _ = bytes.Cut(rest, []byte("\n"))
	if extra64, ok := bytes.CutPrefix(line, []byte("extra ")); ok {
		if p.Extra, err = decodeLimited(extra64, maxExtra); err != nil || len(p.Extra) == 0 {
			return malformed("the extra line is malformed, empty or too long")
		}
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
	}
	number, ok := bytes.CutPrefix(line, []byte("index "))
	if p.Index, err = parseDecimal(string(number)); !ok || err != nil {
		return malformed("the index line is malformed")
	}
	if p.Proof, rest, ok = cutHashLines(rest, maxProofLength); !ok {
		return malformed("the proof is malformed, too long or does not end")
	}
	if _, err := ParseCheckpoint(rest); err != nil {
		return TLogProof{}, fmt.Errorf("%w: %w", ErrTLogProof, err)
	}
	p.Checkpoint = bytes.Clone(rest)
	return p, nil
}

// ProvenEntry is what a verified tlog-proof shows.
type ProvenEntry struct {
	Position   uint64
	Entry      Entry
	Encoded    []byte // the entry's encoding
	Checkpoint Checkpoint
	CosignedBy []Cosignature // by witnesses of the policy
}

// VerifyTLogProof checks a proof's file offline: that the policy believes the
// checkpoint and that the entry is in its tree. entry is the entry's encoding; it may
// be nil if the proof carries it. If both are given they must be the same, because
// nothing else vouches for extra data. Errors wrap [ErrTLogProof], [ErrEntry],
// [ErrProof], [ErrRange] or what [VerifyCheckpoint] returns.
func VerifyTLogProof(data, entry []byte, policy Policy) (ProvenEntry, error) {
	p, err := ParseTLogProof(data)
	if err != nil {
		return ProvenEntry{}, err
	}
	switch {
	case entry == nil && p.Extra == nil:
		return ProvenEntry{}, fmt.Errorf("%w: it does not carry the entry, and none was given", ErrTLogProof)
	case entry == nil:
		entry = p.Extra
	case p.Extra != nil && !bytes.Equal(entry, p.Extra):
		return ProvenEntry{}, fmt.Errorf("%w: it carries another entry", ErrTLogProof)
	}
	parsed, err := ParseEntry(entry)
	if err != nil {
		return ProvenEntry{}, err
	}
	cp, by, err := VerifyCheckpoint(p.Checkpoint, policy)
	if err != nil {
		return ProvenEntry{}, err
	}
	if err := VerifyInclusion(LeafHash(entry), p.Index, cp.Size, p.Proof, cp.Root); err != nil {
		return ProvenEntry{}, err
	}
	return ProvenEntry{p.Index, parsed, bytes.Clone(entry), cp, by}, nil
}
