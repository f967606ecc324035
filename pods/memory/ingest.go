package memory

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"strconv"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// maxAdded bounds the records of one request, in bytes, so that the batch with
// its evidence stays below store.MaxBatchBytes.
const maxAdded = 900 << 10

type addRequest struct {
	Documents []newDocument `json:"documents"`
}

type addReply struct {
	Documents []added        `json:"documents"`
	Receipt   *store.Receipt `json:"receipt,omitempty"`
}

type added struct {
	ID string `json:"id"`
}

// added and removed documents are in the ledger by digest: the text itself can
// be removed, the ledger cannot.
type digest struct {
	ID     string `json:"id"`
	Type   string `json:"documentType"`
	SHA256 string `json:"sha256"`          // of the content
	Bytes  int    `json:"bytes"`           // of the content
	Model  string `json:"model,omitempty"` // when the vector came with the document
}

func digestOf(id, kind, content string) digest {
	sum := sha256.Sum256([]byte(content))
	return digest{ID: id, Type: kind, SHA256: hex.EncodeToString(sum[:]), Bytes: len(content)}
}

// evidence of an addition.
type additionEvidence struct {
	Model     string   `json:"model"`
	Documents []digest `json:"documents"`
}

func (e *additionEvidence) add(d *newDocument) {
	one := digestOf(d.ID, d.Type, d.Content)
	if d.Vector != nil {
		one.Model = d.Model
	}
	e.Documents = append(e.Documents, one)
}

// add stores up to a hundred documents, or none.
func (p *Pod) add(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	var in addRequest
	if err := json.Unmarshal(c.Body, &in); err != nil {
		return nil, tap.Wrap("memory.add", tap.Invalid, err, "the body is no list of documents")
	}
	models, err := p.prepare(c, &in)
	if err != nil {
		return nil, err
	}
	vectors, err := p.vectors(ctx, in.Documents)
	if err != nil {
		return nil, err
	}
	reply := &addReply{}
	result := &pods.Result{Body: reply, Receipted: func(r store.Receipt) { reply.Receipt = &r }}
	evidence := additionEvidence{Model: p.embedder.ID()}
	if result.Ops, err = models.ops(c); err != nil {
		return nil, err
	}
	size := 0
	for i := range in.Documents {
		d := &in.Documents[i]
		old, err := lookup(c, d.ID)
		if err != nil {
			return nil, err
		}
		ops, err := p.write(c, d, vectors[i], old)
		if err != nil {
			return nil, err
		}
		size += opBytes(ops)
		result.Ops = append(result.Ops, ops...)
		reply.Documents = append(reply.Documents, added{d.ID})
		evidence.add(d)
	}
	if size > maxAdded {
		return nil, tap.E("memory.add", tap.Invalid, "the documents are too large together; send fewer at once").
			WithCode("too_large").WithDetail("bytes", size).WithDetail("limit", maxAdded)
	}
	result.Evidence, err = evidenceOf(c, "memory.add", evidence)
	return result, err
}

// prepare gives every document an id and checks what the schema cannot say.
func (p *Pod) prepare(c *pods.Call, in *addRequest) (newModels, error) {
	seen, models := map[string]bool{}, p.newModels(c.Tenant)
	for i := range in.Documents {
		d := &in.Documents[i]
		if d.ID == "" {
			d.ID = c.RequestID.String() + "-" + strconv.Itoa(i)
		}
		err := models.check(d)
		if err == nil && seen[d.ID] {
			err = errTwice()
		}
		if err != nil {
			return models, tap.AsError(err).WithDetail("document", i)
		}
		seen[d.ID] = true
	}
	return models, nil
}

func errTwice() error {
	return tap.E("memory.add", tap.Invalid, "two documents of the request have the same id").WithCode("duplicate")
}

// vectors are those that came with the documents, and the embedder's for the rest.
func (p *Pod) vectors(ctx context.Context, documents []newDocument) ([][]float32, error) {
	all := make([][]float32, len(documents))
	var texts []string
	var of []int
	for i := range documents {
		if d := &documents[i]; d.Vector != nil {
			all[i] = d.Vector
		} else {
			texts, of = append(texts, embedded(d.Content, d.Metadata)), append(of, i)
		}
	}
	if len(texts) == 0 {
		return all, nil
	}
	rows, err := p.embed(ctx, texts)
	if err != nil {
		return nil, err
	}
	for i, row := range rows {
		all[of[i]] = row
	}
	return all, nil
}

// stored is a document as the state holds it; version 0 = there is none.
type stored struct {
	record
	version uint64
}

func lookup(c *pods.Call, id string) (stored, error) {
	item, ok, err := c.View.Get(c.Key(space, id))
	if err != nil || !ok {
		return stored{}, err
	}
	r, err := decodeRecord(item.Value)
	return stored{r, item.Version}, err
}

// write makes the operations that create or replace a document. The check makes
// two curators who replace the same document take turns, so that none loses the
// first one's date.
func (p *Pod) write(c *pods.Call, d *newDocument, vec []float32, old stored) ([]store.Op, error) {
	key, now := c.Key(space, d.ID), c.Now.UnixMicro()
	r := record{
		Type: d.Type, Content: d.Content, Metadata: d.Metadata, Model: p.embedder.ID(), Vector: encodeVector(vec),
		Created: now, Updated: now, Author: c.Actor(),
	}
	if d.Vector != nil {
		r.Model, r.Own = d.Model, true
	}
	if old.version != 0 {
		r.Created = old.Created
	}
	value, err := r.encode()
	if err != nil {
		return nil, tap.Wrap("memory.add", tap.Internal, err, "the document cannot be encoded")
	}
	return []store.Op{store.Check(key, old.version), store.Put(key, value)}, nil
}

// same says whether a document is stored already as it would be written.
func (p *Pod) same(d *newDocument, old *stored) bool {
	if old.version == 0 || old.Type != d.Type || old.Content != d.Content || !maps.Equal(old.Metadata, d.Metadata) {
		return false
	}
	if d.Vector == nil {
		return !old.Own && old.Model == p.embedder.ID()
	}
	return old.Own && old.Model == d.Model && bytes.Equal(old.Vector, encodeVector(d.Vector))
}

func opBytes(ops []store.Op) (n int) {
	for i := range ops {
		n += len(ops[i].Key) + len(ops[i].Value)
	}
	return n
}

type replaceRequest struct {
	newDocument
	Version *uint64 `json:"ifVersion"`
}

type replaceReply struct {
	ID      string         `json:"id"`
	Outcome outcome        `json:"outcome"`
	Receipt *store.Receipt `json:"receipt,omitempty"`
}

// replace creates or replaces the document that the path names.
func (p *Pod) replace(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	var in replaceRequest
	if err := json.Unmarshal(c.Body, &in); err != nil {
		return nil, tap.Wrap("memory.replace", tap.Invalid, err, "the body is no document")
	}
	d := &in.newDocument
	d.ID = c.Params["id"]
	models := p.newModels(c.Tenant)
	if err := models.check(d); err != nil {
		return nil, err
	}
	old, err := lookup(c, d.ID)
	if err != nil {
		return nil, err
	}
	if in.Version != nil && *in.Version != old.version {
		return nil, errVersion(old.version)
	}
	vectors, err := p.vectors(ctx, []newDocument{*d})
	if err != nil {
		return nil, err
	}
	reply := &replaceReply{ID: d.ID, Outcome: outcomeOf(&old)}
	result := &pods.Result{Body: reply, Receipted: func(r store.Receipt) { reply.Receipt = &r }}
	if result.Ops, err = models.ops(c); err != nil {
		return nil, err
	}
	ops, err := p.write(c, d, vectors[0], old)
	if err != nil {
		return nil, err
	}
	result.Ops = append(result.Ops, ops...)
	evidence := additionEvidence{Model: p.embedder.ID()}
	evidence.add(d)
	result.Evidence, err = evidenceOf(c, "memory.add", evidence)
	return result, err
}

// errVersion refuses a change of a document that has changed since it was read.
func errVersion(now uint64) error {
	return tap.E("memory.version", tap.Conflict, "the document is not of the version that the request names; read it again").
		WithCode("version").WithDetail("version", now)
}

// remove deletes a document.
func (p *Pod) remove(_ context.Context, c *pods.Call) (*pods.Result, error) {
	item, r, err := named(c)
	if err != nil {
		return nil, err
	}
	if want, ok := c.Query["ifVersion"]; ok && want != strconv.FormatUint(item.Version, 10) {
		return nil, errVersion(item.Version)
	}
	reply := &addReply{Documents: []added{{item.Key.Last()}}}
	evidence, err := evidenceOf(c, "memory.remove", digestOf(item.Key.Last(), r.Type, r.Content))
	return &pods.Result{
		Body: reply, Receipted: func(r store.Receipt) { reply.Receipt = &r },
		Ops:      []store.Op{store.Check(item.Key, item.Version), store.Delete(item.Key)},
		Evidence: evidence,
	}, err
}

// named reads the document that the path names.
func named(c *pods.Call) (store.Item, record, error) {
	id := c.Params["id"]
	if !tap.ValidName(id) {
		return store.Item{}, record{}, tap.E("memory.find", tap.NotFound, "no such document")
	}
	item, ok, err := c.View.Get(c.Key(space, id))
	if err != nil {
		return store.Item{}, record{}, err
	}
	if !ok {
		return store.Item{}, record{}, tap.E("memory.find", tap.NotFound, "no such document")
	}
	r, err := decodeRecord(item.Value)
	return item, r, err
}

func evidenceOf(c *pods.Call, action string, payload any) ([]store.Evidence, error) {
	var buf bytes.Buffer
	if err := json.NewEncoder(&buf).Encode(payload); err != nil {
		return nil, tap.Wrap(action, tap.Internal, err, "the evidence cannot be encoded")
	}
	return []store.Evidence{{
		Actor: c.Actor(), Action: action, Outcome: "ok", Payload: bytes.TrimSpace(buf.Bytes()),
	}}, nil
}
