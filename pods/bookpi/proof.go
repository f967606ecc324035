package bookpi

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"strconv"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

const (
	bundleType = "application/vnd.tamv.evidence"
	maxRange   = 10_000 // entries in one bundle
	// itemOverhead is what an entry adds to a bundle besides its bytes: labels,
	// position, hash and up to 63 proof lines.
	itemOverhead = 4 << 10
)

type proofReply struct {
	Position   uint64        `json:"position"`
	Size       uint64        `json:"size"`
	Proof      []bookpi.Hash `json:"proof"`
	Root       bookpi.Hash   `json:"root"`
	Checkpoint string        `json:"checkpoint"`
}

// proof shows that an entry is in the ledger. One that is archived has a proof
// for whoever knows its hash: the proof is made of public hashes, and whose the
// entry was can be read nowhere on the site. As a tlog-proof it does not carry the
// entry then.
func (p *Pod) proof(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	r, _, err := p.find(c)
	if err != nil && tap.AsError(err).StableCode() != "archived" {
		return nil, err
	}
	cp, note, err := p.checkpointFor(ctx, c, r.Position+1)
	if err != nil {
		return nil, err
	}
	hashes, err := bookpi.InclusionProof(cp.Size, r.Position, p.ledger)
	if err != nil {
		return nil, unprovable(err)
	}
	if c.Query["format"] == "tlog" {
		proof := bookpi.TLogProof{Extra: r.Entry, Index: r.Position, Proof: hashes, Checkpoint: note}
		return &pods.Result{Raw: proof.Encode(), Type: textType}, nil
	}
	return &pods.Result{Body: proofReply{r.Position, cp.Size, list(hashes), cp.Root, string(note)}}, nil
}

// bundle gives one entry with everything that proves it.
func (p *Pod) bundle(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	r, _, err := p.find(c)
	if err != nil {
		return nil, err
	}
	return p.bundled(ctx, c, r.Position, r.Position+1)
}

// rangeBundle gives the entries of a range of positions.
func (p *Pod) rangeBundle(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	size, _ := p.ledger.Size()
	from, fromErr := strconv.ParseUint(c.Query["from"], 10, 63)
	to, toErr := strconv.ParseUint(c.Query["to"], 10, 63)
	switch {
	case fromErr != nil || toErr != nil || from >= to:
		return nil, badQuery(`"from" and "to" are positions, and "from" is the smaller one`)
	case to > size:
		return nil, badQuery("the ledger has %d entries", size)
	case to-from > maxRange:
		return nil, badQuery("a bundle holds at most %d entries", maxRange)
	}
	return p.bundled(ctx, c, from, to)
}

// bundled encodes the entries [from, to). Payloads of other tenants are withheld.
func (p *Pod) bundled(ctx context.Context, c *pods.Call, from, to uint64) (*pods.Result, error) {
	cp, note, err := p.checkpointFor(ctx, c, to)
	if err != nil {
		return nil, err
	}
	b := bookpi.Bundle{Checkpoint: note}
	size := len(note)
	var failed error
	err = p.ledger.Records(from, false, func(r store.Record) bool {
		if r.Position == to {
			return false
		}
		var item bookpi.Item
		if item, failed = p.item(ctx, c, r, cp.Size); failed != nil {
			return false
		}
		size += base64.StdEncoding.EncodedLen(len(item.Entry)) + base64.StdEncoding.EncodedLen(len(item.Payload)) + itemOverhead
		if size > bookpi.MaxBundleSize {
			failed = tap.E("bookpi.bundle", tap.Invalid, "the bundle would be larger than %d bytes; ask for fewer entries", bookpi.MaxBundleSize).
				WithCode("too_large").WithDetail("fits", r.Position-from)
			return false
		}
		b.Items = append(b.Items, item)
		return ctx.Err() == nil
	})
	if err = cmp.Or(err, failed, ctx.Err()); err != nil {
		return nil, err
	}
	return &pods.Result{Raw: b.Encode(), Type: bundleType}, nil
}

func (p *Pod) item(ctx context.Context, c *pods.Call, r store.Record, size uint64) (bookpi.Item, error) {
	e, err := parse(r)
	if err != nil {
		return bookpi.Item{}, err
	}
	item := bookpi.Item{Position: r.Position, Entry: r.Entry}
	if item.Proof, err = bookpi.InclusionProof(size, r.Position, p.ledger); err != nil {
		return bookpi.Item{}, unprovable(err)
	}
	if e.Tenant == c.Tenant {
		item.Payload, item.HasPayload = r.Payload, true
	}
	if item.HasPayload && c.Query["open"] == "true" && p.config.Opener != nil && bookpi.IsSealed(r.Payload) {
		if _, key, err := p.config.Opener.Open(ctx, r.Payload); err == nil {
			item.Opening = &key
		}
	}
	return item, nil
}

// checkpoint signs off the ledger as it stands.
func (p *Pod) checkpoint(ctx context.Context, _ *pods.Call) (*pods.Result, error) {
	size, _ := p.ledger.Size()
	_, note, err := p.notary.Covering(ctx, size)
	return &pods.Result{Raw: note, Type: textType}, err
}

type consistencyReply struct {
	OldSize uint64        `json:"oldSize"`
	NewSize uint64        `json:"newSize"`
	OldRoot bookpi.Hash   `json:"oldRoot"`
	NewRoot bookpi.Hash   `json:"newRoot"`
	Proof   []bookpi.Hash `json:"proof"`
}

// consistency shows that the ledger of one size is the beginning of a later one.
func (p *Pod) consistency(_ context.Context, c *pods.Call) (*pods.Result, error) {
	size, _ := p.ledger.Size()
	reply := consistencyReply{NewSize: size}
	var err error
	if reply.OldSize, err = strconv.ParseUint(c.Query["old"], 10, 63); err != nil {
		return nil, badQuery(`"old" is a ledger size`)
	}
	if sent, ok := c.Query["new"]; ok {
		if reply.NewSize, err = strconv.ParseUint(sent, 10, 63); err != nil {
			return nil, badQuery(`"new" is a ledger size`)
		}
	}
	if reply.OldSize > reply.NewSize || reply.NewSize > size {
		return nil, badQuery("sizes go from 0 to %d, and the old one is not larger", size)
	}
	var errs [3]error
	reply.OldRoot, errs[0] = bookpi.RootAt(reply.OldSize, p.ledger)
	reply.NewRoot, errs[1] = bookpi.RootAt(reply.NewSize, p.ledger)
	hashes, err := bookpi.ConsistencyProof(reply.OldSize, reply.NewSize, p.ledger)
	reply.Proof, errs[2] = list(hashes), err
	if err := errors.Join(errs[:]...); err != nil {
		return nil, unprovable(err)
	}
	return &pods.Result{Body: reply}, nil
}

// unprovable wraps the failure of a proof that the ledger must be able to give.
func unprovable(err error) error {
	if tap.IsKind(err, tap.Unavailable) {
		return err // a damaged file, which is mended from another node
	}
	return tap.Wrap("bookpi.proof", tap.Internal, err, "the ledger's tree cannot be read")
}

// list is never null in JSON.
func list(hashes []bookpi.Hash) []bookpi.Hash {
	if hashes == nil {
		return []bookpi.Hash{}
	}
	return hashes
}
