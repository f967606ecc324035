package bookpi

import (
	"encoding/json"
	"fmt"
	"slices"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

const (
	anchorSpace     = "anchor"      // what is anchored, by size
	anchorNoteSpace = "anchor-note" // the cosigned checkpoints themselves, by size
	// maxAnchors is how many anchored checkpoints are kept.
	maxAnchors = 64
)

// anchor is the record of a checkpoint that witnesses cosigned.
type anchor struct {
	Size      uint64      `json:"size"`
	Root      bookpi.Hash `json:"root"`
	Witnesses []string    `json:"witnesses"` // names of the keys
}

// anchorName sorts sizes as numbers.
func anchorName(size uint64) string { return fmt.Sprintf("%020d", size) }

// anchorRecord is an anchor as it is in the state.
type anchorRecord struct {
	anchor
	key     store.Key
	version uint64 // 0 = there is none
}

// ops write the record, on condition that nobody else did.
func (a *anchorRecord) ops() ([]store.Op, error) {
	value, err := json.Marshal(a.anchor)
	return []store.Op{store.Check(a.key, a.version), store.Put(a.key, value)}, err
}

// anchors lists the records, the newest first.
func (p *Pod) anchors(v store.View) ([]anchorRecord, error) {
	var all []anchorRecord
	damaged := false
	err := v.Scan(store.K(p.tenant, anchorSpace).Prefix(), "", func(item store.Item) bool {
		a := anchorRecord{key: item.Key, version: item.Version}
		damaged = damaged || json.Unmarshal(item.Value, &a.anchor) != nil
		all = append(all, a)
		return true
	})
	if damaged {
		err = tap.E("bookpi.anchor", tap.Internal, "the record of an anchor is damaged")
	}
	slices.Reverse(all)
	return all, err
}

// discount takes a witness off the anchors that count it.
func (p *Pod) discount(v store.View, name string) (ops []store.Op, err error) {
	all, err := p.anchors(v)
	for i := 0; err == nil && i < len(all); i++ {
		a := &all[i]
		counted := len(a.Witnesses)
		a.Witnesses = slices.DeleteFunc(a.Witnesses, func(w string) bool { return w == name })
		if len(a.Witnesses) < counted {
			var put []store.Op
			put, err = a.ops()
			ops = append(ops, put...)
		}
	}
	return ops, err
}

// joined is the record of a checkpoint, among all that there are or new, with
// these witnesses besides those that it has.
func (p *Pod) joined(all []anchorRecord, cp bookpi.Checkpoint, witnesses []string) anchorRecord {
	a := anchorRecord{anchor: anchor{Size: cp.Size, Root: cp.Root}, key: store.K(p.tenant, anchorSpace, anchorName(cp.Size))}
	a.Witnesses = slices.Clone(witnesses)
	if i := slices.IndexFunc(all, func(b anchorRecord) bool { return b.Size == cp.Size }); i >= 0 {
		a.Witnesses, a.version = append(a.Witnesses, all[i].Witnesses...), all[i].version
	}
	slices.Sort(a.Witnesses)
	a.Witnesses = slices.Compact(a.Witnesses)
	return a
}

// pruned removes the oldest anchors, so that with the one of this size there are
// maxAnchors.
func (p *Pod) pruned(all []anchorRecord, size uint64) (ops []store.Op) {
	for i, old := range all {
		if i >= maxAnchors-1 && old.Size != size {
			ops = append(ops, store.Delete(old.key), store.Delete(store.K(p.tenant, anchorNoteSpace, anchorName(old.Size))))
		}
	}
	return ops
}

// anchorNote reads the cosigned checkpoint of a size; nil when there is none.
func (p *Pod) anchorNote(v store.View, size uint64) ([]byte, error) {
	item, _, err := v.Get(store.K(p.tenant, anchorNoteSpace, anchorName(size)))
	return item.Value, err
}

// quorum is how many of so many witnesses this site's proofs wait for.
func (p *Pod) quorum(witnesses int) int { return min(max(p.config.Quorum, 1), max(witnesses, 1)) }

// satisfies says whether enough of the site's present witnesses cosigned.
func (p *Pod) satisfies(a anchor, known []witness) bool {
	return len(known) > 0 && a.cosigners(known) >= p.quorum(len(known))
}

// cosigners is how many of the witnesses that the site knows cosigned it.
func (a *anchor) cosigners(known []witness) int {
	n := 0
	for _, w := range known {
		if slices.Contains(a.Witnesses, w.Name) {
			n++
		}
	}
	return n
}

// anchored is the newest checkpoint of at least so many entries that enough
// witnesses cosigned.
func (p *Pod) anchored(v store.View, size uint64) (cp bookpi.Checkpoint, note []byte, ok bool, err error) {
	known, err := p.witnesses(v)
	if err != nil || len(known) == 0 {
		return cp, nil, false, err
	}
	all, err := p.anchors(v)
	if err != nil {
		return cp, nil, false, err
	}
	for _, a := range all {
		if a.Size < size {
			break
		}
		if !p.satisfies(a.anchor, known) {
			continue
		}
		if note, err = p.anchorNote(v, a.Size); err != nil || note == nil {
			continue // pruned since
		}
		cp, err = bookpi.ParseCheckpoint(note)
		return cp, note, err == nil, err
	}
	return cp, nil, false, nil
}

// kept is the checkpoint of exactly this size, anchored or recorded; nil when
// there is none.
func (p *Pod) kept(v store.View, size uint64) ([]byte, error) {
	if note, err := p.anchorNote(v, size); note != nil || err != nil {
		return note, err
	}
	cp, note, ok, err := p.ledger.CheckpointFor(size)
	if err != nil || !ok || cp.Size != size {
		return nil, err
	}
	return note, nil
}
