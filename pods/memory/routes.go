package memory

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

const (
	defaultPage = 50
	maxPage     = 200
	// maxScanned bounds the documents that one page may look at when a type is
	// asked for that is rare.
	maxScanned   = 10_000
	defaultLimit = 5
)

// Manifest describes the pod.
func (p *Pod) Manifest() pods.Manifest {
	read := []tap.Role{tap.Citizen, tap.Curator, tap.Auditor}
	return pods.Manifest{
		Name: "memory",
		Summary: tap.Text{
			EN: "Civilizational memory: documents found by meaning.",
			ES: "Memoria civilizatoria: documentos que se encuentran por su significado.",
		},
		Routes: []pods.Route{
			{
				Method: "POST", Pattern: "/v1/memory/documents", Summary: "Add or replace documents",
				Roles: []tap.Role{tap.Curator}, Body: addSchema, Reply: addReplySchema, BodyLimit: 2 << 20, Run: p.add,
			},
			{
				Method: "GET", Pattern: "/v1/memory/documents", Summary: "List documents by id, without their text",
				Roles: read, Reply: listSchema, Run: p.list,
				Query: []pods.Parameter{
					{Name: "type", Summary: "only documents of this type"},
					{Name: "limit", Summary: "documents per page, 1 to 200", Integer: true},
					{Name: "after", Summary: "continue behind this id"},
				},
			},
			{
				Method: "GET", Pattern: "/v1/memory/documents/{id}", Summary: "Show a document",
				Roles: read, Reply: documentSchema, Run: p.get,
			},
			{
				Method: "DELETE", Pattern: "/v1/memory/documents/{id}", Summary: "Remove a document",
				Roles: []tap.Role{tap.Curator}, Reply: addReplySchema, Run: p.remove,
			},
			{
				Method: "POST", Pattern: "/v1/memory/search", Summary: "Find passages by meaning",
				Roles: []tap.Role{tap.Citizen, tap.Curator}, Body: searchSchema, Reply: resultsSchema, BodyLimit: 64 << 10, Run: p.search,
			},
		},
	}
}

type searchRequest struct {
	Query     string   `json:"query"`
	Limit     *int     `json:"limit"`
	Threshold *float32 `json:"threshold"`
	Type      string   `json:"type"`
}

type searchReply struct {
	Results   []pods.Passage `json:"results"` // most similar first
	Model     string         `json:"model"`
	Threshold float32        `json:"threshold"`
}

// search answers with the chosen passages, most similar first.
func (p *Pod) search(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	var in searchRequest
	if err := json.Unmarshal(c.Body, &in); err != nil {
		return nil, tap.Wrap("memory.search", tap.Invalid, err, "the body is no search")
	}
	limit, threshold := defaultLimit, p.embedder.RelevanceThreshold()
	if in.Limit != nil {
		limit = *in.Limit
	}
	if in.Threshold != nil {
		threshold = *in.Threshold
		if threshold < 0 || threshold > 1 {
			return nil, tap.E("memory.search", tap.Invalid, `"threshold" must be from 0 to 1`).WithCode("threshold")
		}
	}
	passages, err := p.recall(ctx, c.View, c.Tenant, in.Query, in.Type, limit, threshold)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(passages, func(a, b pods.Passage) int { return cmp.Compare(b.Similarity, a.Similarity) })
	return &pods.Result{Body: searchReply{passages, p.embedder.ID(), threshold}}, nil
}

type listReply struct {
	Documents []document `json:"documents"`
	Next      string     `json:"next,omitempty"` // what to send as "after"
}

// list shows documents in the order of their ids.
func (p *Pod) list(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	limit, err := c.PageSize(defaultPage, maxPage)
	if err != nil {
		return nil, err
	}
	after := c.Query["after"]
	if after != "" && !tap.ValidName(after) {
		return nil, tap.E("memory.list", tap.Invalid, `"after" is no document id`).WithCode("query")
	}
	reply := listReply{Documents: []document{}}
	last, scanned := "", 0
	var failed error
	err = c.View.Scan(c.Key(space).Prefix(), c.Key(space, after), func(item store.Item) bool {
		id := item.Key.Last()
		if id == after {
			return true
		}
		if len(reply.Documents) == limit || scanned == maxScanned {
			reply.Next = last
			return false
		}
		last, scanned = id, scanned+1
		var d document
		if d, failed = p.show(item, false); failed != nil {
			return false
		}
		if kind := c.Query["type"]; kind == "" || kind == d.Type {
			reply.Documents = append(reply.Documents, d)
		}
		return ctx.Err() == nil
	})
	if err = cmp.Or(err, failed, ctx.Err()); err != nil {
		return nil, err
	}
	return &pods.Result{Body: reply}, nil
}

// get shows one document with its text.
func (p *Pod) get(_ context.Context, c *pods.Call) (*pods.Result, error) {
	item, _, err := find(c)
	if err != nil {
		return nil, err
	}
	d, err := p.show(item, true)
	return &pods.Result{Body: d}, err
}
