package bookpi

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"runtime"
	"slices"
	"sync"
)

// More parts of evidence that a [BrokenError] can name: [Audit] finds them.
const (
	PartTile = "tile" // a stored hash of the tree, against the entries
	PartTime = "time" // the timestamp, against the entry before
	PartKeys = "keys" // the log's key history
)

// What a log's newest checkpoint can contradict, besides [ErrSplitView]. [Audit] wraps
// these in a [*BrokenError].
var (
	// ErrOtherLog: the log has another name than at the last visit.
	ErrOtherLog = errors.New("bookpi: another log")
	// ErrRolledBack: the log is smaller than a checkpoint of it that is already known.
	ErrRolledBack = errors.New("bookpi: log rolled back")
)

// Visit is what an auditor remembers of a log between two audits. Keep it where the
// log's operator cannot reach it.
type Visit struct {
	Origin string
	Size   uint64
	Root   Hash
}

// PayloadCheck says what [Audit] does with payloads.
type PayloadCheck uint8

const (
	// PayloadsIfPresent checks each payload that the source has against the digest in
	// its entry, and counts the others.
	PayloadsIfPresent PayloadCheck = iota
	// PayloadsRequired takes a payload that is missing or withheld for damage.
	PayloadsRequired
	// PayloadsIgnored does not ask the source for payloads.
	PayloadsIgnored
)

// AuditOptions says what an audit trusts, and how it works. Either VerifierKey or Policy
// must be set; the zero value of every other field is usable.
type AuditOptions struct {
	// VerifierKey is one of the log's public keys, from a place other than the log.
	VerifierKey string
	// Policy, if not nil, stands in place of VerifierKey and says which witnesses must
	// have cosigned the newest checkpoint.
	Policy *Policy
	// Last is the auditor's last visit, nil at the first.
	Last *Visit
	// SinceLast walks only what came since Last. See [Audit].
	SinceLast bool
	// Payloads says which payloads must be there.
	Payloads PayloadCheck
	// Damages is how many damages to list before stopping; below 2, the first ends it.
	Damages int
	// Workers bounds how many bundles are fetched and hashed at a time; 0 takes one per
	// processor. Memory is bounded by it: Workers+1 entry bundles and payload bundles.
	Workers int
	// Progress, if set, is called after every bundle, in order, by the goroutine that
	// called Audit, with the entries done so far and the entries in all.
	Progress func(done, total uint64)
}

// AuditReport says what an audit looked at, and what it found.
type AuditReport struct {
	Origin         string
	Size           uint64         // entries that the newest checkpoint covers
	Root           Hash           // of the tree then
	From           uint64         // position of the first entry looked at; 0 unless the walk was since the last visit
	Entries        uint64         // entries looked at; Size - From unless the audit ended early
	Payloads       uint64         // entries whose payload is there and matches
	Withheld       uint64         // entries whose payload is not there
	CosignedBy     []Cosignature  // witnesses of the policy that cosigned the newest checkpoint
	Recorded       int            // checkpoints recorded earlier that are signed and agree with the tree
	FirstTimestamp int64          // of the first entry, microseconds since the Unix epoch; 0 if none
	LastTimestamp  int64          // of the last entry
	Damages        []*BrokenError // in the order found; at most AuditOptions.Damages, or 1
}

// Visit returns what to remember for the next audit. It means something only if the
// audit found no damage.
func (r *AuditReport) Visit() Visit { return Visit{r.Origin, r.Size, r.Root} }

// Audit walks a whole log, from entry 0 to its newest checkpoint, and trusts nothing of
// it but the log's key. It checks that
//
//   - the newest checkpoint and every one recorded earlier are signed, by the keys that
//     the key history has for their size if there is one, carry no cosignature of a known
//     witness that does not verify, and have the root that the entries give at their size,
//   - the newest checkpoint is cosigned as the policy asks,
//   - every entry is in its one encoding and names the entry before as its previous,
//   - no timestamp is before that of the entry before,
//   - every stored hash of the tree is the one that the entries give,
//   - every payload that is there is the one its entry commits to,
//   - the log contains what it contained at the auditor's last visit.
//
// It returns nil only if all of this holds. A contradiction is a [*BrokenError], the
// first one found; with opts.Damages the report lists more. When an entry and its stored
// hash disagree, the signed root decides which of them is broken. The error wraps
// [ErrSplitView] if the log's newest checkpoint stands for entries that contradict an
// earlier one: that is its operator's doing, while other damage may be a disk's. Any
// other error means that the audit could not be carried through: [ErrKey], [ErrPolicy],
// or what the source returned.
//
// What it does not look at: files that the newest checkpoint does not call for, and the
// files key and policy, which are for people. It cannot know whether a recorded
// checkpoint was removed, for logs keep only some of them. A source may offer a full tile
// where a partial one was asked for (C2SP tlog-tiles); the hashes beyond the checkpoint
// are not looked at either.
//
// With opts.SinceLast, and a last visit, the walk begins up to 256 entries before the end of
// that visit; AuditReport.From says where. What was there before is not read again:
// that it is still the same follows from the root that the auditor remembers, to which
// the walk's hashes have to lead, and what it is was checked then. Damage to entries,
// payloads, tiles and recorded checkpoints of before From is not found. Without a last visit the walk is
// whole.
//
// Everything is read once, in one pass. The work is one [LeafHash] and one [NodeHash]
// per entry, spread over opts.Workers goroutines.
func Audit(ctx context.Context, src Source, opts AuditOptions) (AuditReport, error) {
	if opts.Workers < 1 {
		opts.Workers = runtime.GOMAXPROCS(0)
	}
	trusted, err := newTrust(&opts)
	if err != nil {
		return AuditReport{}, err
	}
	a := &audit{src: src, opts: opts, trust: trusted}
	err = a.run(ctx)
	if err != nil && !errors.Is(err, errEnough) {
		return a.report, err
	}
	if len(a.report.Damages) > 0 {
		return a.report, a.report.Damages[0]
	}
	return a.report, nil
}

// errEnough ends an audit that has found as much damage as it may list, or that cannot
// go on behind the damage found.
var errEnough = errors.New("bookpi: enough damage found")

// audit is the state of one walk. Everything but src, opts and cp belongs to the
// goroutine that called Audit.
type audit struct {
	src   Source
	opts  AuditOptions
	trust trust // set before any checkpoint is opened

	cp         Checkpoint  // the newest; set before any bundle is read
	milestones []milestone // sizes ahead whose root is known, ascending
	tree       Tree
	row        [8][]Hash // per level from 1: hashes of the tile that is being filled
	head       Hash      // leaf hash of the last entry
	time       int64     // timestamp of the last readable entry
	report     AuditReport
}

func (a *audit) run(ctx context.Context) error {
	if err := a.begin(ctx); err != nil {
		return err
	}
	for b := range a.bundles(ctx) {
		if err := a.take(ctx, b); err != nil {
			return err
		}
		a.report.Entries = a.tree.Size() - a.report.From
		if a.opts.Progress != nil {
			a.opts.Progress(a.tree.Size(), a.cp.Size)
		}
	}
	return a.finish(ctx)
}

// damaged lists a damage and says whether to go on.
func (a *audit) damaged(d *BrokenError) error {
	a.report.Damages = append(a.report.Damages, d)
	if len(a.report.Damages) >= a.opts.Damages {
		return errEnough
	}
	return nil
}

// bundles yields the bundles of the log in order, while workers are busy with those
// ahead. It returns when all of its goroutines have ended.
func (a *audit) bundles(ctx context.Context) iter.Seq[auditedBundle] {
	return func(yield func(auditedBundle) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var workers sync.WaitGroup
		defer workers.Wait()
		defer cancel()

		count := (a.cp.Size + TileWidth - 1) / TileWidth
		var ahead []chan auditedBundle // in order, at most opts.Workers
		for started := a.report.From / TileWidth; started < count || len(ahead) > 0; {
			for started < count && len(ahead) < a.opts.Workers {
				index, done := started, make(chan auditedBundle, 1)
				workers.Go(func() { done <- a.bundle(ctx, index) })
				ahead = append(ahead, done)
				started++
			}
			b := <-ahead[0]
			ahead = ahead[1:]
			if !yield(b) {
				return
			}
		}
	}
}

// take puts the next bundle behind what was seen before.
func (a *audit) take(ctx context.Context, b auditedBundle) error {
	if b.err != nil {
		return b.err
	}
	known := b.first == a.report.From && b.first > 0 // the remembered root covers the entry and the one before
	if b.linked && !known && b.previous != a.head {
		b.damages = append(b.damages, brokenAt(b.first, PartChain, reasonLink, nil))
	}
	if b.timed && b.firstTime < a.time {
		b.damages = append(b.damages, brokenAt(b.firstTimed, PartTime, reasonTime, nil))
	}
	slices.SortStableFunc(b.damages, func(x, y *BrokenError) int { return cmp.Compare(x.Position, y.Position) })
	for _, d := range b.damages {
		if err := a.damaged(d); err != nil {
			return err
		}
	}
	if len(b.leaves) == 0 {
		return errEnough // neither entries nor hashes: nothing to build the tree from
	}
	if b.timed {
		if a.report.FirstTimestamp == 0 {
			a.report.FirstTimestamp = b.firstTime
		}
		a.time = b.lastTime
		a.report.LastTimestamp = b.lastTime
	}
	a.head = b.leaves[len(b.leaves)-1]
	a.report.Payloads += b.payloads
	a.report.Withheld += b.withheld
	return a.grow(ctx, b)
}

// grow appends the bundle's leaves to the tree and looks at the milestones and the tiles
// that this completes.
func (a *audit) grow(ctx context.Context, b auditedBundle) error {
	end := b.first + uint64(len(b.leaves))
	if a.milestones[0].size < end {
		within := a.tree
		for _, leaf := range b.leaves[:len(b.leaves)-1] {
			within.Append(leaf, nil)
			if err := a.reach(ctx, &within); err != nil {
				return err
			}
		}
	}
	emit := func(level uint8, _ uint64, h Hash) {
		if level > 0 {
			a.row[level] = append(a.row[level], h)
		}
	}
	if len(b.leaves) == TileWidth {
		a.tree.appendComplete(TileHeight, b.root, emit)
	} else {
		for _, leaf := range b.leaves {
			a.tree.Append(leaf, emit)
		}
	}
	for level := range a.row {
		if len(a.row[level]) == TileWidth {
			if err := a.compareRow(ctx, uint8(level)); err != nil {
				return err
			}
		}
	}
	return a.reach(ctx, &a.tree)
}

// finish compares the tiles that the last entries left partial.
func (a *audit) finish(ctx context.Context) error {
	for level := range a.row {
		if len(a.row[level]) > 0 {
			if err := a.compareRow(ctx, uint8(level)); err != nil {
				return err
			}
		}
	}
	return nil
}

// compareRow compares the hashes collected for a tile with the stored ones, and makes
// room for the next tile of that level.
func (a *audit) compareRow(ctx context.Context, level uint8) error {
	row := a.row[level]
	a.row[level] = row[:0]
	end := a.tree.Size() >> (TileHeight * uint(level))
	tile := Tile{level, (end - 1) / TileWidth, len(row)}
	stored, problem, err := fetchTile(ctx, a.src, tile)
	if err != nil {
		return err
	}
	if problem != "" {
		return a.damaged(brokenAt(tile.first(), PartTile, problem, nil))
	}
	for i := range row {
		if row[i] != stored[i] {
			return a.damaged(brokenHash(tile, i))
		}
	}
	return nil
}

// appendComplete appends 2^level leaves at once, given their root; the size must be a
// multiple of that. It calls emit as [Tree.Append] does, but not for what lies below.
func (t *Tree) appendComplete(level int, root Hash, emit func(level uint8, index uint64, h Hash)) {
	if level%TileHeight == 0 {
		emit(uint8(level/TileHeight), t.size>>level, root)
	}
	leaves := uint64(1) << level
	for ; t.size>>level&1 == 1; level++ {
		root = NodeHash(t.peaks[level], root)
		if above := level + 1; above%TileHeight == 0 {
			emit(uint8(above/TileHeight), t.size>>above, root)
		}
	}
	t.peaks[level] = root
	t.size += leaves
}
