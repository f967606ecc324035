package bookpi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// maxCosignatures bounds what comes back from witnesses, in bytes.
const maxCosignatures = 64 << 10

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

// anchor records verified cosignatures of a checkpoint.
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
	all, err := p.anchors(c.View)
	if err != nil {
		return nil, err
	}
	fresh, ops, err := p.saw(c, cp, by)
	if err != nil {
		return nil, err
	}
	a := p.joined(all, cp, fresh)
	reply := anchorReply{a.anchor, fresh, bytes.Equal(merged, before.Value)}
	if reply.Duplicate {
		return &pods.Result{Body: reply}, nil
	}
	record, err := a.ops()
	payload, err2 := json.Marshal(reply)
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	ops = slices.Concat(ops, record, []store.Op{store.Check(key, before.Version), store.Put(key, merged)}, p.pruned(all, cp.Size))
	return &pods.Result{Body: reply, Ops: ops, Evidence: []store.Evidence{{
		Actor: c.Actor(), Action: "log.anchored", Outcome: "ok", Payload: payload,
	}}}, nil
}

// saw writes down what the witnesses of these cosignatures have seen by now, and
// names them.
func (p *Pod) saw(c *pods.Call, cp bookpi.Checkpoint, by []bookpi.Cosignature) (names []string, ops []store.Op, err error) {
	for _, s := range by {
		w, version, err := p.witness(c.View, s.Name)
		if err != nil {
			return nil, nil, err
		}
		if slices.Contains(names, w.Name) {
			continue // its other key
		}
		names = append(names, w.Name)
		if cp.Size >= w.Size {
			seen := s.Time
			if seen.IsZero() { // not every cosignature says when
				seen = c.Now
			}
			w.Size, w.Time = cp.Size, max(w.Time, seen.UnixMicro())
		}
		put, err := p.put(w, version) // also unchanged, so that it is not removed meanwhile
		if err != nil {
			return nil, nil, err
		}
		ops = append(ops, put...)
	}
	return names, ops, nil
}

// anchorReply says what was taken in.
type anchorReply struct {
	anchor
	New       []string `json:"new"`                 // the witnesses whose cosignatures came
	Duplicate bool     `json:"duplicate,omitempty"` // they were there already
}
