package store

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// A signed checkpoint is a promise about the whole ledger, so no two of one
// size may ever differ, whoever leads and whoever holds the key. Therefore it
// is recorded by the machine itself before it is handed out: Apply compares
// what it says with the tree that this member has at that size, and every
// member comes to the same answer. A leader that signs a second root finds no
// replica that records it.
//
// Kept are the newest [KeptCheckpoints] and, for good, the first one at or
// beyond the end of each segment: an old entry is proved under one of those
// long after the others are gone. The state file has them as they came, by
// size.

// KeptCheckpoints is how many of the newest recorded checkpoints are kept.
const KeptCheckpoints = 64

// maxNoteBytes is the longest signed checkpoint that is recorded.
const maxNoteBytes = 64 << 10

// CheckpointBatch is the batch that records a signed checkpoint: its only
// operation and, alone of all, without evidence, because the checkpoint is
// evidence of the ledger and an entry about it would need the next one. The
// outcome is a [Receipt] without entries; Duplicate when one of this size was
// recorded before, which stays. A note that does not say exactly cp or does
// not fit this machine's tree is refused: Conflict, code "split_view".
func CheckpointBatch(tenant string, requestID uuid.UUID, cp bookpi.Checkpoint, note []byte) Batch {
	return Batch{
		RequestID: requestID, Tenant: tenant,
		Ops: []Op{{Type: OpCheckpoint, Number: int64(cp.Size), Value: note}},
	}
}

// recordsCheckpoint says whether the batch does that and nothing else.
func (b *Batch) recordsCheckpoint() bool {
	return len(b.Ops) == 1 && b.Ops[0].Type == OpCheckpoint && len(b.Evidence) == 0
}

// ReadCheckpoint returns what a signed checkpoint says. It does not check its
// signatures. The form is that of [bookpi.LogKeys.Sign], read here by rules
// of its own: every release must make the same of a note in the log.
func ReadCheckpoint(note []byte) (bookpi.Checkpoint, error) {
	body, signatures, _ := bytes.Cut(note, []byte("\n\n"))
	lines := strings.Split(string(body), "\n")
	if len(note) > maxNoteBytes || len(lines) != 3 || !bytes.HasPrefix(signatures, []byte("— ")) || signatures[len(signatures)-1] != '\n' {
		return bookpi.Checkpoint{}, errNote()
	}
	cp := bookpi.Checkpoint{Origin: lines[0]}
	size, err1 := strconv.ParseUint(lines[1], 10, 62)
	root, err2 := base64.StdEncoding.DecodeString(lines[2])
	if err1 != nil || err2 != nil || len(root) != bookpi.HashSize || cp.Origin == "" || len(cp.Origin) > bookpi.MaxOrigin {
		return bookpi.Checkpoint{}, errNote()
	}
	cp.Size, cp.Root = size, bookpi.Hash(root)
	if string(body) != fmt.Sprintf("%s\n%d\n%s", cp.Origin, cp.Size, base64.StdEncoding.EncodeToString(root)) {
		return bookpi.Checkpoint{}, errNote()
	}
	return cp, nil
}

func errNote() error {
	return tap.E("store.checkpoint", tap.Invalid, "this is no signed checkpoint of a ledger").WithCode("checkpoint")
}

// recorded is what is kept in memory of the recorded checkpoints.
type recorded struct {
	sizes  []uint64 // of all that are kept, ascending; never changed in place
	newest bookpi.Checkpoint
	note   []byte // of the newest; nil = there is none
}

// add puts one more in and says which sizes are no longer kept.
func (r recorded) add(cp bookpi.Checkpoint, note []byte) (next recorded, dropped []uint64) {
	at, _ := slices.BinarySearch(r.sizes, cp.Size)
	sizes := slices.Insert(slices.Clone(r.sizes), at, cp.Size)
	next = recorded{sizes: make([]uint64, 0, len(sizes)), newest: r.newest, note: r.note}
	for i, size := range sizes {
		segment, before := size/segmentEntries, uint64(0)
		if i > 0 {
			before = sizes[i-1] / segmentEntries
		}
		if i < len(sizes)-KeptCheckpoints && segment == before {
			dropped = append(dropped, size)
		} else {
			next.sizes = append(next.sizes, size)
		}
	}
	if r.note == nil || cp.Size > r.newest.Size {
		next.newest, next.note = cp, note
	}
	return next, dropped
}

// load reads the list of the state file.
func (r *recorded) load(tx *bolt.Tx, size uint64) error {
	in := tx.Bucket([]byte(bucketNames[bucketCheckpoints]))
	if in == nil {
		return nil
	}
	c := in.Cursor()
	for k, raw := c.First(); k != nil; k, raw = c.Next() {
		value, ok := checked(bucketCheckpoints, k, raw)
		cp, err := ReadCheckpoint(value)
		if !ok || err != nil || cp.Size != readU64(k) || cp.Size > size {
			return damaged("the recorded checkpoint of size %d is wrong", readU64(k))
		}
		r.sizes = append(r.sizes, cp.Size)
		r.newest, r.note = cp, bytes.Clone(value)
	}
	return nil
}

// checkpoint records a signed checkpoint. known says that one of its size
// stands already, with the same root.
func (p *packApply) checkpoint(op *Op) (known bool, refusal, err error) {
	size := uint64(op.Number)
	cp, invalid := ReadCheckpoint(op.Value)
	if invalid != nil || cp.Size != size || size > p.meta.tree.Size() {
		return false, errSplitView(size), nil
	}
	first, err := p.read(bucketCheckpoints, string(u64(size)))
	if err != nil {
		return false, nil, err
	}
	if first != nil {
		if stands, err := ReadCheckpoint(first); err != nil || stands.Root != cp.Root {
			return false, errSplitView(size), nil
		}
		return true, nil, nil
	}
	// The entries of this pack are not in the tree yet, on any replica.
	root := p.meta.tree.Root()
	if size < p.meta.tree.Size() {
		p.lookups.end()
		if root, err = p.store.RootAt(size); err != nil {
			return false, nil, err
		}
	}
	if cp.Root != root {
		return false, errSplitView(size), nil
	}
	note := slices.Clone(op.Value)
	next, dropped := p.recorded.add(cp, note)
	p.recorded = next
	p.batch.put(bucketCheckpoints, string(u64(size)), note)
	for _, old := range dropped {
		p.batch.put(bucketCheckpoints, string(u64(old)), nil)
	}
	return false, nil, nil
}

func errSplitView(size uint64) error {
	return tap.E("store.checkpoint", tap.Conflict, "this checkpoint of size %d is not one of this ledger; it is not recorded", size).
		WithCode("split_view").WithDetail("size", size)
}

// Checkpoint is the newest recorded checkpoint and its signed note; ok is
// false when there is none.
func (s *Store) Checkpoint() (cp bookpi.Checkpoint, note []byte, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := &s.ledger.recorded
	return r.newest, r.note, r.note != nil
}

// CheckpointFor is the oldest kept checkpoint of a tree of at least so many
// entries; ok is false when there is none.
func (s *Store) CheckpointFor(size uint64) (cp bookpi.Checkpoint, note []byte, ok bool, err error) {
	for {
		s.mu.RLock()
		sizes := s.ledger.recorded.sizes
		s.mu.RUnlock()
		at, _ := slices.BinarySearch(sizes, size)
		if at == len(sizes) {
			return cp, nil, false, nil
		}
		note, err = s.read(bucketCheckpoints, string(u64(sizes[at])))
		if err == nil && note == nil {
			continue // it is no longer kept; a newer one is
		}
		if err == nil {
			cp, err = ReadCheckpoint(note)
		}
		return cp, note, err == nil, err
	}
}

// Checkpoints calls fn for the kept checkpoints, smallest first, until fn
// returns false.
func (s *Store) Checkpoints(fn func(cp bookpi.Checkpoint, note []byte) bool) error {
	for from := uint64(0); ; {
		cp, note, ok, err := s.CheckpointFor(from)
		if err != nil || !ok || !fn(cp, note) {
			return err
		}
		from = cp.Size + 1
	}
}
