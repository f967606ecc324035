package memory

import (
	"context"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
)

const (
	defaultExport = 200
	maxExport     = 1000
	// maxExportBytes ends a page of long documents early.
	maxExportBytes = 1 << 20
)

// exportedDocument is a document as an import takes it, and who wrote it when.
type exportedDocument struct {
	ID       string            `json:"id"`
	Type     string            `json:"documentType"`
	Content  string            `json:"content"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Model    string            `json:"model,omitempty"`  // with Vector
	Vector   string            `json:"vector,omitempty"` // base64 of float32, little-endian
	Version  uint64            `json:"version"`
	Created  string            `json:"created"`
	Updated  string            `json:"updated"`
	Author   string            `json:"author"`
}

type exportReply struct {
	Documents []exportedDocument `json:"documents"`
	Next      string             `json:"next,omitempty"` // what to send as "after"
}

// export shows documents in the order of their ids, with their text. Vectors that
// came with their documents are part of them; those of the embedder are made anew
// by an import, and are included when "all" are asked for.
func (p *Pod) export(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	limit, err := c.PageSize(defaultExport, maxExport)
	if err != nil {
		return nil, err
	}
	reply, size := exportReply{Documents: []exportedDocument{}}, 0
	reply.Next, err = page(ctx, c, func(item store.Item) (more bool, err error) {
		r, err := decodeRecord(item.Value)
		if err != nil {
			return false, err
		}
		if kind := c.Query["type"]; kind != "" && kind != r.Type {
			return true, nil
		}
		d := exportedDocument{
			ID: item.Key.Last(), Type: r.Type, Content: r.Content, Metadata: r.Metadata, Version: item.Version,
			Created: pods.TimestampMicros(r.Created), Updated: pods.TimestampMicros(r.Updated), Author: r.Author,
		}
		if p.includes(c.Query["vectors"], &r) {
			d.Model, d.Vector = r.Model, encodeVectorArg(r.Vector)
		}
		reply.Documents = append(reply.Documents, d)
		size += len(d.Content) + len(d.Vector)
		return len(reply.Documents) < limit && size < maxExportBytes, nil
	})
	if err != nil {
		return nil, err
	}
	return &pods.Result{Body: reply}, nil
}

// includes says whether an export has a record's vector. One that is stale is
// worth nothing elsewhere either.
func (p *Pod) includes(vectors string, r *record) bool {
	switch vectors {
	case "none":
		return false
	case "all":
		return r.Own || r.Model == p.embedder.ID()
	}
	return r.Own
}
