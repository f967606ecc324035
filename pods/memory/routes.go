package memory

import (
	"cmp"
	"context"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

const (
	defaultPage = 50
	maxPage     = 200
	// maxScanned bounds the documents that one page may look at when a type is
	// asked for that is rare.
	maxScanned = 10_000
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
				Method: "POST", Pattern: "/v1/memory/documents:batch", Summary: "Import documents, each with an outcome of its own",
				Roles: []tap.Role{tap.Curator}, Body: batchSchema, Reply: batchReplySchema, BodyLimit: 2 << 20, Run: p.batch,
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
				Method: "PUT", Pattern: "/v1/memory/documents/{id}", Summary: "Create or replace a document",
				Roles: []tap.Role{tap.Curator}, Body: replaceSchema, Reply: replaceReplySchema, Run: p.replace,
			},
			{
				Method: "DELETE", Pattern: "/v1/memory/documents/{id}", Summary: "Remove a document",
				Roles: []tap.Role{tap.Curator}, Reply: addReplySchema, Run: p.remove,
				Query: []pods.Parameter{{Name: "ifVersion", Summary: "only when the document is of this version", Integer: true}},
			},
			{
				Method: "GET", Pattern: "/v1/memory/export", Summary: "Documents with their text, as an import takes them",
				Roles: read, Reply: exportSchema, Run: p.export,
				Query: []pods.Parameter{
					{Name: "type", Summary: "only documents of this type"},
					{Name: "vectors", Summary: "which vectors to include: those that came with their document, all of the models in use, or none", OneOf: []string{"own", "all", "none"}},
					{Name: "limit", Summary: "documents per page, 1 to 1000", Integer: true},
					{Name: "after", Summary: "continue behind this id"},
				},
			},
			{
				Method: "POST", Pattern: "/v1/memory/search", Summary: "Find passages by meaning and by words",
				Roles: []tap.Role{tap.Citizen, tap.Curator}, Body: searchSchema, Reply: resultsSchema, BodyLimit: 64 << 10, Run: p.search,
			},
		},
	}
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
	reply := listReply{Documents: []document{}}
	reply.Next, err = page(ctx, c, func(item store.Item) (more bool, err error) {
		d, err := p.show(item, false)
		if kind := c.Query["type"]; kind == "" || kind == d.Type {
			reply.Documents = append(reply.Documents, d)
		}
		return len(reply.Documents) < limit, err
	})
	if err != nil {
		return nil, err
	}
	return &pods.Result{Body: reply}, nil
}

// page walks the documents behind the query's "after" until take has enough, and
// returns where the next page goes on.
func page(ctx context.Context, c *pods.Call, take func(store.Item) (more bool, err error)) (next string, err error) {
	after := c.Query["after"]
	if after != "" && !tap.ValidName(after) {
		return "", tap.E("memory.list", tap.Invalid, `"after" is no document id`).WithCode("query")
	}
	last, scanned, more := "", 0, true
	var failed error
	err = c.View.Scan(c.Key(space).Prefix(), c.Key(space, after), func(item store.Item) bool {
		id := item.Key.Last()
		if id == after {
			return true
		}
		if !more || scanned == maxScanned {
			next = last
			return false
		}
		last, scanned = id, scanned+1
		more, failed = take(item)
		return failed == nil && ctx.Err() == nil
	})
	return next, cmp.Or(err, failed, ctx.Err())
}

// get shows one document with its text.
func (p *Pod) get(_ context.Context, c *pods.Call) (*pods.Result, error) {
	item, _, err := named(c)
	if err != nil {
		return nil, err
	}
	d, err := p.show(item, true)
	return &pods.Result{Body: d}, err
}
