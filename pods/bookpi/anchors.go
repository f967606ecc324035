package bookpi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

const (
	anchorSpace     = "anchor"      // what is anchored, by size
	anchorNoteSpace = "anchor-note" // the cosigned checkpoints themselves, by size
	// maxAnchors is how many anchored checkpoints are kept.
	maxAnchors = 64
	// maxCosignatures bounds what comes back from witnesses, in bytes.
	maxCosignatures = 64 << 10
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

// checkpointFor is the checkpoint that proofs of the first size entries go with:
// the newest cosigned one that covers them, else the newest recorded; the query's
// "cosigned" insists on either.
func (p *Pod) checkpointFor(ctx context.Context, c *pods.Call, size uint64) (bookpi.Checkpoint, []byte, error) {
	wanted := c.Query["cosigned"]
	if wanted != "false" {
		cp, note, ok, err := p.anchored(c.View, size)
		if ok || err != nil {
			return cp, note, err
		}
	}
	if wanted == "true" {
		return bookpi.Checkpoint{}, nil, tap.E("bookpi.anchor", tap.NotFound, "not enough witnesses have cosigned a checkpoint that covers this yet").
			WithCode("not_anchored")
	}
	return p.notary.Covering(ctx, size)
}

// listAnchors says which witnesses saw what, and how far behind they are.
func (p *Pod) listAnchors(_ context.Context, c *pods.Call) (*pods.Result, error) {
	known, err := p.witnesses(c.View)
	if err != nil {
		return nil, err
	}
	all, err := p.anchors(c.View)
	if err != nil {
		return nil, err
	}
	size, _ := p.ledger.Size()
	reply := struct {
		Size      uint64         `json:"size"`
		Quorum    int            `json:"quorum"`
		Anchored  uint64         `json:"anchored"` // entries under a checkpoint that enough witnesses cosigned
		Witnesses []shownWitness `json:"witnesses"`
		Anchors   []anchor       `json:"anchors"`
	}{size, p.quorum(len(known)), 0, []shownWitness{}, []anchor{}}
	for _, w := range known {
		reply.Witnesses = append(reply.Witnesses, w.shown(size))
	}
	for _, a := range all {
		reply.Anchors = append(reply.Anchors, a.anchor)
		if p.satisfies(a.anchor, known) {
			reply.Anchored = max(reply.Anchored, a.Size)
		}
	}
	return &pods.Result{Body: reply}, nil
}

// request makes what a courier carries to a witness: C2SP tlog-witness's
// add-checkpoint, from the size that the witness saw last.
func (p *Pod) request(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	w, version, err := p.witness(c.View, c.Params["witness"])
	if err != nil {
		return nil, err
	}
	if version == 0 {
		return nil, noWitness()
	}
	r := bookpi.AddCheckpointRequest{OldSize: w.Size}
	if sent, ok := c.Query["old"]; ok {
		if r.OldSize, err = strconv.ParseUint(sent, 10, 62); err != nil {
			return nil, badQuery(`"old" is a ledger size`)
		}
	}
	cp, note, err := p.toCosign(ctx, c, w)
	if err != nil {
		return nil, err
	}
	if r.OldSize > cp.Size {
		return nil, badQuery("the checkpoint has %d entries, fewer than the witness saw", cp.Size)
	}
	if r.Proof, err = bookpi.ConsistencyProof(r.OldSize, cp.Size, p.ledger); err != nil {
		return nil, unprovable(err)
	}
	r.Checkpoint = note
	return &pods.Result{Raw: r.Encode(), Type: textType}, nil
}

// toCosign chooses the checkpoint for a witness: the one whose size was asked for;
// else one that lacks cosignatures and has others of witnesses that the site still
// knows, so that they come together under one checkpoint; else a new one.
func (p *Pod) toCosign(ctx context.Context, c *pods.Call, w witness) (bookpi.Checkpoint, []byte, error) {
	fail := func(err error) (bookpi.Checkpoint, []byte, error) { return bookpi.Checkpoint{}, nil, err }
	if sent, ok := c.Query["size"]; ok {
		size, err := strconv.ParseUint(sent, 10, 62)
		if err != nil {
			return fail(badQuery(`"size" is a ledger size`))
		}
		note, err := p.kept(c.View, size)
		if err != nil || note == nil {
			return fail(errorOr(err, tap.E("bookpi.anchor", tap.NotFound, "no checkpoint of this size is kept").WithCode("checkpoint")))
		}
		cp, err := bookpi.ParseCheckpoint(note)
		return cp, note, err
	}
	known, err := p.witnesses(c.View)
	if err != nil {
		return fail(err)
	}
	all, err := p.anchors(c.View)
	if err != nil {
		return fail(err)
	}
	for _, a := range all {
		if a.Size <= w.Size || p.satisfies(a.anchor, known) {
			break
		}
		if a.cosigners(known) == 0 { // who cosigned it is a witness no more
			continue
		}
		if note, err := p.anchorNote(c.View, a.Size); err == nil && note != nil && !slices.Contains(a.Witnesses, w.Name) {
			cp, err := bookpi.ParseCheckpoint(note)
			return cp, note, err
		}
	}
	size, _ := p.ledger.Size()
	return p.notary.Covering(ctx, size)
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

// addAnchor takes in what a courier brought back.
func (p *Pod) addAnchor(_ context.Context, c *pods.Call) (*pods.Result, error) {
	var body struct{ Checkpoint, Cosignatures string }
	if err := json.Unmarshal(c.Body, &body); err != nil {
		return nil, badAnchor("checkpoint", "nothing to take in")
	}
	known, err := p.witnesses(c.View)
	if err != nil {
		return nil, err
	}
	var note []byte
	if body.Checkpoint == "" {
		note, err = p.cosigned(c.View, known, []byte(body.Cosignatures))
	} else {
		var refused *pods.Result
		if note, refused, err = p.ownCheckpoint(c, []byte(body.Checkpoint)); refused != nil {
			return refused, nil
		}
	}
	if err != nil {
		return nil, err
	}
	cp, err := bookpi.ParseCheckpoint(note)
	if err != nil {
		return nil, badAnchor("checkpoint", "this is no checkpoint")
	}
	by, lines, err := bookpi.VerifyCosignatures(cp, []byte(body.Cosignatures), keysOf(known))
	if err != nil {
		return nil, notCosigned(known, body.Cosignatures)
	}
	return p.anchor(c, cp, note, by, lines)
}

func badAnchor(code, why string) *tap.Error {
	return tap.E("bookpi.anchor", tap.Invalid, "%s", why).WithCode(code)
}

// notCosigned says why no cosignature counts.
func notCosigned(known []witness, lines string) error {
	for _, w := range known {
		if strings.Contains("\n"+lines, "\n— "+w.Name+" ") {
			return badAnchor("cosignature", "a cosignature does not verify for this checkpoint")
		}
	}
	return badAnchor("unknown_witness", "none of these cosignatures is by a witness that the site knows")
}

func keysOf(known []witness) (keys []bookpi.VerifierKey) {
	for _, w := range known {
		keys = append(keys, w.Keys...)
	}
	return keys
}

// cosigned finds the checkpoint that cosignatures are for among those that are
// kept, the newest first.
func (p *Pod) cosigned(v store.View, known []witness, lines []byte) ([]byte, error) {
	var notes [][]byte
	err := p.ledger.Checkpoints(func(_ bookpi.Checkpoint, note []byte) bool {
		notes = append(notes, note)
		return true
	})
	if err != nil {
		return nil, err
	}
	all, err := p.anchors(v)
	if err != nil {
		return nil, err
	}
	for _, a := range slices.Backward(all) {
		note, err := p.anchorNote(v, a.Size)
		if err != nil {
			return nil, err
		}
		if note != nil {
			notes = append(notes, note)
		}
	}
	// Each costs a verification or two; older ones are kept for their segments.
	for _, note := range slices.Backward(notes[max(0, len(notes)-2*maxAnchors):]) {
		cp, err := bookpi.ParseCheckpoint(note)
		if err != nil {
			continue
		}
		if _, _, err := bookpi.VerifyCosignatures(cp, lines, keysOf(known)); err == nil {
			return note, nil
		}
	}
	if err := notCosigned(known, string(lines)); tap.AsError(err).Code == "unknown_witness" {
		return nil, err
	}
	return nil, badAnchor("checkpoint_needed", "no checkpoint that is kept has these cosignatures; send the checkpoint of the courier's request with them")
}

// ownCheckpoint holds a checkpoint that came from outside against the ledger and
// returns it with the log's own signatures alone. One that the log's key signed
// and that contradicts the ledger is evidence of the worst kind, and recorded.
func (p *Pod) ownCheckpoint(c *pods.Call, note []byte) ([]byte, *pods.Result, error) {
	claimed, err := bookpi.ParseCheckpoint(note)
	if err != nil {
		return nil, nil, badAnchor("checkpoint", "this is no checkpoint")
	}
	present, ever, err := p.notary.verifiers(claimed.Size)
	if err != nil {
		return nil, nil, err
	}
	size, _ := p.ledger.Size()
	root, rootErr := p.ledger.RootAt(min(claimed.Size, size))
	if rootErr != nil {
		return nil, nil, rootErr
	}
	keys := present
	contradicts := claimed.Size > size || claimed.Root != root
	if contradicts {
		keys = ever // whichever of the log's keys signed it
	}
	signed, err := bookpi.CheckAddCheckpoint(keys, bookpi.WitnessRecord{}, bookpi.AddCheckpointRequest{Checkpoint: note}.Encode())
	if err != nil {
		return nil, nil, badAnchor("checkpoint", "this checkpoint is not signed by this log")
	}
	if !contradicts {
		return signed.Checkpoint, nil, nil
	}
	refusal := tap.E("bookpi.anchor", tap.Conflict, "the log's key signed this checkpoint, and the ledger is another one: keep the file").
		WithCode("split_view").WithDetail("size", claimed.Size)
	return nil, &pods.Result{Error: refusal, Evidence: []store.Evidence{{
		Actor: c.Actor(), Action: "log.split_view", Outcome: "refused", Payload: signed.Checkpoint,
	}}}, nil
}

// anchor records verified cosignatures.
func (p *Pod) anchor(c *pods.Call, cp bookpi.Checkpoint, note []byte, by []bookpi.Cosignature, lines []byte) (*pods.Result, error) {
	key := store.K(p.tenant, anchorNoteSpace, anchorName(cp.Size))
	before, _, err := c.View.Get(key)
	if err != nil {
		return nil, err
	}
	if before.Value != nil {
		note = before.Value
	}
	merged, err := bookpi.AddCosignatures(note, lines)
	if err != nil {
		return nil, badAnchor("cosignature", "these cosignatures do not fit under the checkpoint")
	}
	a := anchorRecord{anchor: anchor{Size: cp.Size, Root: cp.Root}, key: store.K(p.tenant, anchorSpace, anchorName(cp.Size))}
	var ops []store.Op
	for _, s := range by {
		w, version, err := p.witness(c.View, s.Name)
		if err != nil {
			return nil, err
		}
		if slices.Contains(a.Witnesses, w.Name) {
			continue // its other key
		}
		a.Witnesses = append(a.Witnesses, w.Name)
		if cp.Size >= w.Size {
			seen := s.Time
			if seen.IsZero() { // not every cosignature says when
				seen = c.Now
			}
			w.Size, w.Time = cp.Size, max(w.Time, seen.UnixMicro())
		}
		put, err := p.put(w, version) // also unchanged, so that it is not removed meanwhile
		if err != nil {
			return nil, err
		}
		ops = append(ops, put...)
	}
	fresh := slices.Clone(a.Witnesses)
	all, err := p.anchors(c.View)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(all, func(b anchorRecord) bool { return b.Size == cp.Size }); i >= 0 {
		a.Witnesses, a.version = append(a.Witnesses, all[i].Witnesses...), all[i].version
	}
	slices.Sort(a.Witnesses)
	a.Witnesses = slices.Compact(a.Witnesses)
	if string(merged) == string(before.Value) {
		return &pods.Result{Body: anchorReply{a.anchor, fresh, true}}, nil
	}
	record, err := a.ops()
	payload, err2 := json.Marshal(anchorReply{a.anchor, fresh, false})
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	ops = append(append(ops, record...), store.Check(key, before.Version), store.Put(key, merged))
	for i, old := range all {
		if i >= maxAnchors-1 && old.Size != cp.Size {
			ops = append(ops, store.Delete(old.key),
				store.Delete(store.K(p.tenant, anchorNoteSpace, anchorName(old.Size))))
		}
	}
	return &pods.Result{Body: anchorReply{a.anchor, fresh, false}, Ops: ops, Evidence: []store.Evidence{{
		Actor: c.Actor(), Action: "log.anchored", Outcome: "ok", Payload: payload,
	}}}, nil
}

// anchorReply says what was taken in.
type anchorReply struct {
	anchor
	New       []string `json:"new"`                 // the witnesses whose cosignatures came
	Duplicate bool     `json:"duplicate,omitempty"` // they were there already
}
