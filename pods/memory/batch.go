package memory

import (
	"context"
	"encoding/json"
	"errors"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// MaxBatch is how many documents one request of an import may carry.
const MaxBatch = 64

// outcome is what became of a document.
type outcome string

const (
	created   outcome = "created"
	replaced  outcome = "replaced"
	unchanged outcome = "unchanged" // it was stored just so; nothing was written
	refused   outcome = "refused"
)

func outcomeOf(old *stored) outcome {
	if old.version == 0 {
		return created
	}
	return replaced
}

type batchRequest struct {
	Documents []json.RawMessage `json:"documents"`
}

type batchReply struct {
	Results   []itemResult   `json:"results"` // in the order of the request
	Created   int            `json:"created"`
	Replaced  int            `json:"replaced"`
	Unchanged int            `json:"unchanged"`
	Refused   int            `json:"refused"`
	Receipt   *store.Receipt `json:"receipt,omitempty"` // absent when nothing was written
}

type itemResult struct {
	ID      string     `json:"id,omitempty"`
	Outcome outcome    `json:"outcome"`
	Error   *itemError `json:"error,omitempty"`
}

type itemError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// batchItem is a document of a batch on its way.
type batchItem struct {
	document newDocument
	old      stored
	before   *batchItem // of the same batch, which brings the very same document
	outcome  outcome    // empty until it is known
	err      error
}

func (i *batchItem) refuse(err error) { i.outcome, i.err = refused, err }

// batch stores what can be stored of up to MaxBatch documents, in one commit, and
// says what became of each. A document that is stored already just so is left
// alone: sending a batch again does no harm and costs little. So is one that stands
// in the batch already; with another content under the same id it is refused.
func (p *Pod) batch(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	var in batchRequest
	if err := json.Unmarshal(c.Body, &in); err != nil {
		return nil, tap.Wrap("memory.import", tap.Invalid, err, "the body is no batch of documents")
	}
	items, models, err := p.read(c, in.Documents)
	if err != nil {
		return nil, err
	}
	reply := &batchReply{}
	result := &pods.Result{Body: reply, Receipted: func(r store.Receipt) { reply.Receipt = &r }}
	evidence := additionEvidence{Model: p.embedder.ID()}
	vectors, err := p.itemVectors(ctx, items)
	if err != nil {
		return nil, err
	}
	size := 0
	for i := range items {
		item := &items[i]
		if item.outcome == "" {
			ops, err := p.write(c, &item.document, vectors[i], item.old)
			if err != nil {
				return nil, err
			}
			if n := opBytes(ops); size+n > maxAdded {
				item.refuse(tap.E("memory.import", tap.Invalid, "the batch is full; send this document in another one").WithCode("batch_full"))
			} else {
				size += n
				item.outcome = outcomeOf(&item.old)
				result.Ops = append(result.Ops, ops...)
				evidence.add(&item.document)
			}
		}
		if item.before != nil && item.before.outcome == refused {
			item.refuse(item.before.err)
		}
		reply.count(item)
	}
	if len(result.Ops) == 0 {
		return result, nil
	}
	fences, err := models.ops(c)
	if err != nil {
		return nil, err
	}
	result.Ops = append(fences, result.Ops...)
	result.Evidence, err = evidenceOf(c, "memory.add", evidence)
	return result, err
}

// read parses and checks the documents and finds what is stored of them.
func (p *Pod) read(c *pods.Call, raw []json.RawMessage) ([]batchItem, newModels, error) {
	items, models, seen := make([]batchItem, len(raw)), p.newModels(c.Tenant), map[string]*batchItem{}
	for i := range raw {
		item := &items[i]
		d, err := parseDocument(raw[i])
		if d.ID == "" && err == nil {
			d.ID = d.contentID()
		}
		if err == nil {
			err = models.check(&d)
		}
		item.document = d
		before := seen[d.ID]
		switch {
		case err != nil:
			item.refuse(err)
			continue
		case before != nil && before.document.equal(&d):
			item.outcome, item.before = unchanged, before
			continue
		case before != nil:
			item.refuse(errTwice())
			continue
		}
		seen[d.ID] = item
		if item.old, err = lookup(c, d.ID); err != nil {
			return nil, models, err
		}
		if p.same(&d, &item.old) {
			item.outcome = unchanged
		}
	}
	return items, models, nil
}

// itemVectors are the vectors of the items that are to be written. A text that
// the embedder refuses is its own document's matter.
func (p *Pod) itemVectors(ctx context.Context, items []batchItem) ([][]float32, error) {
	var documents []newDocument
	var of []int
	for i := range items {
		if items[i].outcome == "" {
			documents, of = append(documents, items[i].document), append(of, i)
		}
	}
	vectors := make([][]float32, len(items))
	rows, err := p.vectors(ctx, documents)
	if err == nil {
		for i, row := range rows {
			vectors[of[i]] = row
		}
		return vectors, nil
	}
	if !tap.IsKind(err, tap.Invalid) {
		return nil, err
	}
	for i := range documents {
		rows, err := p.vectors(ctx, documents[i:i+1])
		switch {
		case err == nil:
			vectors[of[i]] = rows[0]
		case tap.IsKind(err, tap.Invalid):
			items[of[i]].refuse(err)
		default:
			return nil, err
		}
	}
	return vectors, nil
}

func (r *batchReply) count(item *batchItem) {
	one := itemResult{ID: item.document.ID, Outcome: item.outcome}
	switch item.outcome {
	case created:
		r.Created++
	case replaced:
		r.Replaced++
	case unchanged:
		r.Unchanged++
	case refused:
		r.Refused++
		var e *tap.Error
		if errors.As(item.err, &e) {
			one.Error = &itemError{e.StableCode(), e.Message}
		}
	}
	r.Results = append(r.Results, one)
}
