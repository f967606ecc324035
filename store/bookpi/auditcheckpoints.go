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
	err      error  // what a contradiction means; nil if only the log's files can be to blame
}

// begin reads the checkpoints. The newest comes last, so that none of the others may be
// ahead of it even while the log grows.
func (a *audit) begin(ctx context.Context) error {
	if err := a.readRecorded(ctx); err != nil {
		return err
	}
	f, err := fetch(ctx, a.src, CheckpointPath, MaxCheckpointSize)
	if err != nil {
		return err
	}
	if f.problem == "" {
		if a.cp, err = a.open(f.data); err != nil {
			f.problem = err.Error()
		}
	}
	if f.problem != "" {
		return cmp.Or(a.damaged(broken(PartCheckpoint, f.problem, err)), errEnough)
	}
	a.report.Origin, a.report.Size, a.report.Root = a.cp.Origin, a.cp.Size, a.cp.Root
	if err := a.remember(); err != nil {
		return err
	}
	a.milestones = append(a.milestones, milestone{size: a.cp.Size, root: a.cp.Root, what: "the newest"})
	slices.SortStableFunc(a.milestones, func(x, y milestone) int { return cmp.Compare(x.size, y.size) })
	for i := len(a.milestones) - 1; a.milestones[i].size > a.cp.Size; i-- {
		m := a.milestones[i]
		a.milestones = a.milestones[:i]
		reason := fmt.Sprintf("it covers %d entries, %s covers %d", a.cp.Size, m.what, m.size)
		if err := a.damaged(broken(PartCheckpoint, reason, ErrRolledBack)); err != nil {
			return err
		}
	}
	return a.reach(&a.tree)
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
	a.milestones = append(a.milestones, milestone{size: last.Size, root: last.Root, what: "the one of the last visit", err: ErrForked})
	return nil
}

// readRecorded makes the checkpoints recorded earlier milestones.
func (a *audit) readRecorded(ctx context.Context) error {
	sizes, err := a.recordedSizes(ctx)
	if err != nil {
		return err
	}
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
	m := milestone{size: size, what: fmt.Sprintf("the one recorded at size %d", size), recorded: true, err: ErrForked}
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
	cp, err := a.open(f.data)
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
func (a *audit) reach(tree *Tree) error {
	for len(a.milestones) > 0 && a.milestones[0].size == tree.Size() {
		m := a.milestones[0]
		a.milestones = a.milestones[1:]
		if tree.Root() != m.root {
			reason := fmt.Sprintf("%s has another root for these %d entries", m.what, m.size)
			if err := a.damaged(broken(PartCheckpoint, reason, m.err)); err != nil {
				return err
			}
		} else if m.recorded {
			a.report.Recorded++
		}
	}
	return nil
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
