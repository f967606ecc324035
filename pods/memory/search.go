package memory

import (
	"cmp"
	"context"
	"encoding/json"
	"math"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

const defaultLimit = 5

type searchRequest struct {
	Query     string    `json:"query"`
	Vector    vectorArg `json:"vector"`
	Model     string    `json:"model"` // that made Vector
	Limit     *int      `json:"limit"`
	Threshold *float32  `json:"threshold"`
	Ranking   ranking   `json:"ranking"`
	Recall    *float64  `json:"recall"`
	filter
}

// result is one passage found.
type result struct {
	pods.Passage
	Score   float64 `json:"score"`
	FoundBy string  `json:"foundBy"` // "meaning" or "words"
}

type searchReply struct {
	Results   []result `json:"results"` // best first
	Model     string   `json:"model"`
	Ranking   ranking  `json:"ranking"`
	Threshold float32  `json:"threshold"`
}

// search answers with the best passages.
func (p *Pod) search(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	var in searchRequest
	if err := json.Unmarshal(c.Body, &in); err != nil {
		return nil, tap.Wrap("memory.search", tap.Invalid, err, "the body is no search")
	}
	q, err := p.query(ctx, c.Tenant, &in)
	if err != nil {
		return nil, err
	}
	found, err := p.find(c.View, c.Tenant, q)
	if err != nil {
		return nil, err
	}
	return &pods.Result{Body: searchReply{found, q.space.model, q.ranking, q.threshold}}, nil
}

// query reads a request.
func (p *Pod) query(ctx context.Context, tenant string, in *searchRequest) (*query, error) {
	q := &query{
		text: in.Query, space: p.indexes.embedder, limit: defaultLimit,
		ranking: cmp.Or(in.Ranking, hybrid), threshold: p.embedder.RelevanceThreshold(),
	}
	if err := p.aim(ctx, tenant, in, q); err != nil {
		return nil, err
	}
	if err := in.bound(q); err != nil {
		return nil, err
	}
	var err error
	q.accepts, err = in.compile()
	return q, err
}

// aim gives the query what it compares with: the request's vector or that of its
// text, and none for a search by words alone.
func (p *Pod) aim(ctx context.Context, tenant string, in *searchRequest, q *query) error {
	switch {
	case q.text == "" && in.Vector == nil:
		return badSearch("text", `a search needs "query" or "vector"`)
	case q.text == "" && q.ranking == lexical:
		return badSearch("text", `a search by words needs "query"`)
	case in.Vector != nil:
		q.vector = in.Vector
		q.space = vectorSpace{cmp.Or(in.Model, q.space.model), len(q.vector)}
		if err := comparable(q.space.model, p.dimensions(tenant, q.space.model), q.vector); err != nil {
			return err
		}
		if q.space != p.indexes.embedder { // whose threshold nobody has calibrated
			q.threshold = -1
		}
	case in.Model != "" && in.Model != p.embedder.ID():
		return badSearch("model", `"model" is that of "vector", which is missing`)
	case q.ranking != lexical:
		rows, err := p.embed(ctx, []string{q.text})
		if err != nil {
			return err
		}
		q.vector = rows[0]
	}
	if q.ranking == lexical {
		q.vector, q.threshold = nil, 0
	}
	return nil
}

// bound gives the query the request's limit, threshold and recall in place of the
// standard ones.
func (in *searchRequest) bound(q *query) error {
	if in.Limit != nil {
		q.limit = *in.Limit
	}
	if in.Threshold != nil {
		if q.threshold = *in.Threshold; q.threshold < 0 || q.threshold > 1 {
			return badSearch("threshold", `"threshold" must be from 0 to 1`)
		}
	}
	if in.Recall != nil {
		if q.recall = *in.Recall; q.recall <= 0 || q.recall > 1 {
			return badSearch("recall", `"recall" must be above 0 and at most 1`)
		}
	}
	return nil
}

func badSearch(code, why string) error {
	return tap.E("memory.search", tap.Invalid, "%s", why).WithCode(code)
}

// Recall returns up to limit passages about the text, the most useful first. Each
// has a similarity of at least threshold: a cosine, or what its words cover of the
// text. A threshold of NaN means the embedder's own.
func (p *Pod) Recall(ctx context.Context, view store.View, tenant, text string, limit int, threshold float32) ([]pods.Passage, error) {
	q, err := p.query(ctx, tenant, &searchRequest{Query: text, Limit: &limit})
	if err != nil {
		return nil, err
	}
	if !math.IsNaN(float64(threshold)) {
		q.threshold = threshold
	}
	found, err := p.find(view, tenant, q)
	passages := make([]pods.Passage, len(found))
	for i := range found {
		passages[i] = found[i].Passage
	}
	return passages, err
}

// find runs a query. The records are read without the index's lock: Apply may
// hold the store's while it waits for that.
func (p *Pod) find(view store.View, tenant string, q *query) ([]result, error) {
	found, err := p.indexes.candidates(tenant, q)
	if err != nil {
		return nil, tap.Wrap("memory.search", tap.Internal, err, "the memory index refused the query")
	}
	read := map[string]record{}
	get := func(id string) (record, bool, error) {
		if r, ok := read[id]; ok {
			return r, true, nil
		}
		item, ok, err := view.Get(store.K(tenant, space, id))
		if err != nil || !ok { // not there: removed since the index was asked
			return record{}, false, err
		}
		r, err := decodeRecord(item.Value)
		read[id] = r
		return r, true, err
	}
	matches, err := q.choose(found, func(id string) (float32, error) {
		r, _, err := get(id)
		return cosine(q.vector, decodeVector(r.Vector)), err
	})
	if err != nil {
		return nil, err
	}
	results := make([]result, 0, len(matches))
	for _, m := range matches {
		r, ok, err := get(m.id)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		one := result{Score: m.score, FoundBy: "meaning", Passage: pods.Passage{
			DocumentID: m.id, DocumentType: r.Type, Content: r.Content, Similarity: m.similarity,
			Model: r.Model, Metadata: r.Metadata,
		}}
		if m.byWords {
			one.FoundBy = "words"
		}
		results = append(results, one)
	}
	return results, nil
}

// cosine of two vectors, at most 1; -1 when they cannot be compared.
func cosine(a, b []float32) float32 {
	if len(a) != len(b) {
		return -1
	}
	dot, aa, bb := 0.0, 0.0, 0.0
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		dot, aa, bb = dot+x*y, aa+x*x, bb+y*y
	}
	if aa == 0 || bb == 0 {
		return -1
	}
	return float32(max(-1, min(dot/math.Sqrt(aa*bb), 1)))
}
