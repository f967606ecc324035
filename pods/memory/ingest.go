package memory

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

const (
	// MaxContent is the longest text of one document, in bytes.
	MaxContent = 8 << 10
	// maxAdded bounds the records of one request, so that the batch with its
	// evidence stays below store.MaxBatchBytes.
	maxAdded = 900 << 10
)

type addRequest struct {
	Documents []newDocument `json:"documents"`
}

type newDocument struct {
	ID       string            `json:"id"`
	Type     string            `json:"documentType"`
	Content  string            `json:"content"`
	Metadata map[string]string `json:"metadata"`
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
	SHA256 string `json:"sha256"` // of the content
	Bytes  int    `json:"bytes"`  // of the content
}

func digestOf(id, kind, content string) digest {
	sum := sha256.Sum256([]byte(content))
	return digest{id, kind, hex.EncodeToString(sum[:]), len(content)}
}

// add stores up to a hundred documents, or none.
func (p *Pod) add(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	var in addRequest
	if err := json.Unmarshal(c.Body, &in); err != nil {
		return nil, tap.Wrap("memory.add", tap.Invalid, err, "the body is no list of documents")
	}
	if err := in.prepare(c); err != nil {
		return nil, err
	}
	texts := make([]string, len(in.Documents))
	for i, d := range in.Documents {
		texts[i] = embedded(d.Content, d.Metadata)
	}
	vectors, err := p.embed(ctx, texts)
	if err != nil {
		return nil, err
	}
	reply := &addReply{}
	result := &pods.Result{Body: reply, Receipted: func(r store.Receipt) { reply.Receipt = &r }}
	evidence := struct {
		Model     string   `json:"model"`
		Documents []digest `json:"documents"`
	}{Model: p.embedder.ID()}
	size := 0
	for i, d := range in.Documents {
		ops, err := p.write(c, d, vectors[i])
		if err != nil {
			return nil, err
		}
		for _, op := range ops {
			size += len(op.Key) + len(op.Value)
		}
		result.Ops = append(result.Ops, ops...)
		reply.Documents = append(reply.Documents, added{d.ID})
		evidence.Documents = append(evidence.Documents, digestOf(d.ID, d.Type, d.Content))
	}
	if size > maxAdded {
		return nil, tap.E("memory.add", tap.Invalid, "the documents are too large together; send fewer at once").
			WithCode("too_large").WithDetail("bytes", size).WithDetail("limit", maxAdded)
	}
	result.Evidence, err = evidenceOf(c, "memory.add", evidence)
	return result, err
}

// prepare gives every document an id and checks what the schema cannot say.
func (in *addRequest) prepare(c *pods.Call) error {
	seen := map[string]bool{}
	for i := range in.Documents {
		d := &in.Documents[i]
		if d.ID == "" {
			d.ID = c.RequestID.String() + "-" + strconv.Itoa(i)
		}
		bad := func(code, format string, args ...any) error {
			return tap.E("memory.add", tap.Invalid, format, args...).WithCode(code).WithDetail("document", i)
		}
		switch {
		case !tap.ValidName(d.ID):
			return bad("text", "a document id is 1 to 64 lower-case letters, digits, '-', '_' or '.'")
		case seen[d.ID]:
			return bad("duplicate", "two documents of the request have the same id")
		case len(d.Content) > MaxContent:
			return bad("too_large", "the content is longer than %d bytes; split it into passages", MaxContent)
		case strings.TrimSpace(d.Content) == "":
			return bad("text", "the content is empty")
		case !clean(d.Content):
			return bad("text", "the content has control characters other than line feed and tab")
		}
		for name, value := range d.Metadata {
			if !clean(name) || !clean(value) {
				return bad("text", "the metadata has control characters")
			}
		}
		seen[d.ID] = true
	}
	return nil
}

// clean says whether a text has no control characters but line feed and tab.
func clean(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' })
}

// embedded is the text that stands for a document in the vector space.
func embedded(content string, metadata map[string]string) string {
	if title := metadata["title"]; strings.TrimSpace(title) != "" {
		return title + "\n" + content
	}
	return content
}

func (r *record) text() string { return embedded(r.Content, r.Metadata) }

// write makes the operations that create or replace a document. The check makes
// two curators who replace the same document take turns, so that none loses the
// first one's date.
func (p *Pod) write(c *pods.Call, d newDocument, vec []float32) ([]store.Op, error) {
	key, now := c.Key(space, d.ID), c.Now.UnixMicro()
	old, exists, err := c.View.Get(key)
	if err != nil {
		return nil, err
	}
	r := record{
		Type: d.Type, Content: d.Content, Metadata: d.Metadata, Model: p.embedder.ID(), Vector: encodeVector(vec),
		Created: now, Updated: now, Author: c.Actor(),
	}
	if exists {
		before, err := decodeRecord(old.Value)
		if err != nil {
			return nil, err
		}
		r.Created = before.Created
	}
	value, err := r.encode()
	if err != nil {
		return nil, tap.Wrap("memory.add", tap.Internal, err, "the document cannot be encoded")
	}
	return []store.Op{store.Check(key, old.Version), store.Put(key, value)}, nil
}

// remove deletes a document.
func (p *Pod) remove(_ context.Context, c *pods.Call) (*pods.Result, error) {
	item, r, err := find(c)
	if err != nil {
		return nil, err
	}
	reply := &addReply{Documents: []added{{item.Key.Last()}}}
	evidence, err := evidenceOf(c, "memory.remove", digestOf(item.Key.Last(), r.Type, r.Content))
	return &pods.Result{
		Body: reply, Receipted: func(r store.Receipt) { reply.Receipt = &r },
		Ops:      []store.Op{store.Check(item.Key, item.Version), store.Delete(item.Key)},
		Evidence: evidence,
	}, err
}

// find reads the document that the path names.
func find(c *pods.Call) (store.Item, record, error) {
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
