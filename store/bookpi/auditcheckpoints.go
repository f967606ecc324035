package bookpi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// milestone is a root that the tree must have when it reaches a size.
type milestone struct {
	size     uint64
	root     Hash
	what     string // for people
	recorded bool   // counted in the report
	earlier  bool   // known independently of the newest checkpoint
}

// begin reads the checkpoints and what they are trusted by. The order matters while the
// log grows: no listed size is beyond the newest checkpoint, and the key history knows
// the keys of them all.
func (a *audit) begin(ctx context.Context) error {
	sizes, err := a.recordedSizes(ctx)
	if err != nil {
		return err
	}
	newest, err := fetch(ctx, a.src, CheckpointPath, MaxCheckpointSize)
	if err != nil {
		return err
	}
	if err := a.readKeys(ctx); err != nil {
		return err
	}
	if newest.problem == "" {
		if a.cp, a.report.CosignedBy, err = a.trust.open(newest.data, true); err != nil {
			newest.problem = err.Error()
		}
	}
	if newest.problem != "" {
		return cmp.Or(a.damaged(broken(PartCheckpoint, newest.problem, err)), errEnough)
	}
	a.report.Origin, a.report.Size, a.report.Root = a.cp.Origin, a.cp.Size, a.cp.Root
	a.milestones = []milestone{{size: a.cp.Size, root: a.cp.Root, what: "the newest"}}
	if err := a.remember(); err != nil {
		return err
	}
	if err := a.resume(ctx); err != nil {
		return err
	}
	sizes = slices.DeleteFunc(sizes, func(size uint64) bool { return size < a.report.From })
	if err := a.readRecorded(ctx, sizes); err != nil {
		return err
	}
	slices.SortStableFunc(a.milestones, func(x, y milestone) int { return cmp.Compare(x.size, y.size) })
	for i := len(a.milestones) - 1; a.milestones[i].size > a.cp.Size; i-- {
		m := a.milestones[i]
		a.milestones = a.milestones[:i]
		reason := fmt.Sprintf("it covers %d entries, %s covers %d", a.cp.Size, m.what, m.size)
		if err := a.damaged(broken(PartCheckpoint, reason, ErrRolledBack)); err != nil {
			return err
		}
	}
	return a.reach(ctx, &a.tree)
}

// trust says which checkpoints to believe.
type trust struct {
	policy  Policy
	history KeyHistory // without records if the log has no history that the policy's keys are in
}

func newTrust(opts *AuditOptions) (trust, error) {
	if opts.Policy != nil {
		return trust{policy: *opts.Policy}, opts.Policy.Check()
	}
	key, err := newVerifier(opts.VerifierKey)
	return trust{policy: Policy{Logs: []PolicyLog{{Key: key}}, Quorum: QuorumNone}}, err
}

// open reads a checkpoint. Only the newest needs the policy's quorum: the others were
// recorded before any witness saw them.
func (t *trust) open(note []byte, newest bool) (Checkpoint, []Cosignature, error) {
	p := t.policy
	if !newest {
		p.Quorum = QuorumNone
	}
	if len(t.history.Records) > 0 {
		cp, err := t.history.OpenCheckpoint(note)
		if err != nil {
			return Checkpoint{}, nil, err
		}
		p.Logs = []PolicyLog{{Key: t.history.At(cp.Size)[0]}}
	}
	return VerifyCheckpoint(note, p)
}

// readKeys follows the log's key history from the keys that are trusted already, if the
// source has one.
func (a *audit) readKeys(ctx context.Context) error {
	f, err := fetch(ctx, a.src, KeysPath, MaxKeyHistory)
	if err != nil || f.missing {
		return err
	}
	var history KeyHistory
	if f.problem == "" {
		if history, err = ParseKeyHistory(f.data); err != nil {
			f.problem = err.Error()
		} else if !slices.ContainsFunc(a.trust.policy.Logs, func(l PolicyLog) bool { return history.Has(l.Key) }) {
			f.problem = "no trusted key is in it"
		}
	}
	if f.problem != "" {
		return a.damaged(broken(PartKeys, f.problem, err))
	}
	a.trust.history = history
	return nil
}

// remember makes the auditor's last visit a milestone.
func (a *audit) remember() error {
	last := a.opts.Last
	if last == nil {
		return nil
	}
	if last.Origin != a.cp.Origin {
		reason := fmt.Sprintf("its origin is %q, at the last visit it was %q", a.cp.Origin, last.Origin)
		return a.damaged(broken(PartCheckpoint, reason, ErrOtherLog))
	}
	a.milestones = append(a.milestones, milestone{size: last.Size, root: last.Root, what: "the one of the last visit", earlier: true})
	return nil
}

// readRecorded makes the checkpoints recorded earlier milestones.
func (a *audit) readRecorded(ctx context.Context, sizes []uint64) error {
	for _, size := range sizes {
		m, err := a.readOneRecorded(ctx, size)
		var d *BrokenError
		switch {
		case errors.As(err, &d):
			err = a.damaged(d)
		case err == nil && m != nil:
			a.milestones = append(a.milestones, *m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// recordedSizes returns the sizes that the source lists, none if it has no list.
func (a *audit) recordedSizes(ctx context.Context) ([]uint64, error) {
	f, err := fetch(ctx, a.src, CheckpointsPath, MaxSizes)
	if err != nil || f.missing {
		return nil, err
	}
	var sizes []uint64
	if f.problem == "" {
		if sizes, err = ParseSizes(f.data); err == nil {
			return sizes, nil
		}
		f.problem = err.Error()
	}
	return nil, a.damaged(broken(PartStructure, f.problem, err))
}

// readOneRecorded opens a recorded checkpoint; damage is a [*BrokenError]. It returns nil
// if the log has dropped this checkpoint since it was listed.
func (a *audit) readOneRecorded(ctx context.Context, size uint64) (*milestone, error) {
	m := milestone{size: size, what: fmt.Sprintf("the one recorded at size %d", size), recorded: true, earlier: true}
	f, err := fetch(ctx, a.src, RecordedPath(size), MaxCheckpointSize)
	if err != nil {
		return nil, err
	}
	if f.missing {
		sizes, err := a.recordedSizes(ctx)
		if _, listed := slices.BinarySearch(sizes, size); err != nil || !listed {
			return nil, err
		}
	}
	if f.problem != "" {
		return nil, broken(PartCheckpoint, m.what+": "+f.problem, nil)
	}
	cp, _, err := a.trust.open(f.data, false)
	if err != nil {
		return nil, broken(PartCheckpoint, m.what+": "+err.Error(), err)
	}
	if cp.Size != size {
		return nil, broken(PartCheckpoint, fmt.Sprintf("%s: it is for size %d", m.what, cp.Size), nil)
	}
	m.root = cp.Root
	return &m, nil
}

// reach compares the tree with the milestones at its size.
func (a *audit) reach(ctx context.Context, tree *Tree) error {
	for len(a.milestones) > 0 && a.milestones[0].size == tree.Size() {
		m := a.milestones[0]
		a.milestones = a.milestones[1:]
		root := tree.Root()
		if root == m.root {
			if m.recorded {
				a.report.Recorded++
			}
			continue
		}
		d := broken(PartCheckpoint, fmt.Sprintf("%s has another root for these %d entries", m.what, m.size), nil)
		if m.earlier && a.isPrefix(ctx, m.size, root) {
			d.Err = ErrSplitView
		}
		if err := a.damaged(d); err != nil {
			return err
		}
	}
	return nil
}

// isPrefix reports whether the entries read so far are those that the newest checkpoint
// stands for, along the tiles that the source has.
func (a *audit) isPrefix(ctx context.Context, size uint64, root Hash) bool {
	proof, err := ConsistencyProof(size, a.cp.Size, sourceTiles{ctx: ctx, src: a.src, size: a.cp.Size})
	return err == nil && VerifyConsistency(size, a.cp.Size, root, a.cp.Root, proof) == nil
}

// sourceTiles reads the tiles of a tree from a source, or the one tile of level 0 that
// leaves are for from memory.
type sourceTiles struct {
	ctx    context.Context
	src    Source
	size   uint64
	index  uint64
	leaves []Hash
}

func (s sourceTiles) Tile(level uint8, index uint64) ([]Hash, error) {
	if level == 0 && index == s.index && s.leaves != nil {
		return s.leaves, nil
	}
	hashes, problem, err := fetchTile(s.ctx, s.src, Tile{level, index, TileSpan(level, index, s.size)})
	if err == nil && problem != "" {
		err = fmt.Errorf("%w: %s", ErrTile, problem)
	}
	return hashes, err
}

// file is one file of the source.
type file struct {
	data    []byte
	problem string // why it cannot be used, for people; empty if it can
	missing bool   // that is the problem
}

// fetch tells damaged files, which the audit is about, from failure to read them, which
// is an error.
func fetch(ctx context.Context, src Source, path string, limit int64) (file, error) {
	data, err := src.Fetch(ctx, path, limit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return file{problem: path + " is missing", missing: true}, nil
	case errors.Is(err, ErrOversize), err == nil && int64(len(data)) > limit:
		return file{problem: path + " is too long"}, nil
	case err != nil:
		return file{}, fmt.Errorf("bookpi: audit: %s: %w", path, err)
	}
	return file{data: data}, nil
}

// fetchSpan fetches a tile or bundle of the given width. Where a partial one is gone,
// the full one may be there instead (C2SP tlog-tiles); got is the width of what came.
func fetchSpan(ctx context.Context, src Source, path func(width int) string, width int, limit int64) (f file, got int, err error) {
	f, err = fetch(ctx, src, path(width), limit)
	if err == nil && f.missing && width < TileWidth {
		full, err := fetch(ctx, src, path(TileWidth), limit)
		if err != nil || !full.missing {
			return full, TileWidth, err
		}
	}
	return f, width, err
}
