package memory

import (
	"maps"
	"slices"
	"strconv"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// partDimensions is where a model's number of dimensions is, in decimal, since the
// first document brought a vector of it. It is there for the requests that would
// all be the first: each writes it, and one of them is not overtaken.
const partDimensions = "dimensions"

// newModels holds the vectors of one request to as many dimensions as those of the
// same model before it: in memory, or earlier in the request.
type newModels struct {
	pod    *Pod
	tenant string
	first  map[string]int // dimensions by model, of those that memory has none of
}

func (p *Pod) newModels(tenant string) newModels {
	return newModels{p, tenant, map[string]int{}}
}

// check holds a document and its vector to their rules.
func (n *newModels) check(d *newDocument) error {
	if err := d.check(); err != nil || d.Vector == nil {
		return err
	}
	known := n.pod.dimensions(n.tenant, d.Model)
	if dim := n.first[d.Model]; dim != 0 {
		known = append(known, dim)
	}
	if err := comparable(d.Model, known, d.Vector); err != nil {
		return err
	}
	if len(known) == 0 {
		n.first[d.Model] = len(d.Vector)
	}
	return nil
}

// ops make sure that no other request is the first as well.
func (n *newModels) ops(c *pods.Call) ([]store.Op, error) {
	var ops []store.Op
	for _, name := range slices.Sorted(maps.Keys(n.first)) {
		key := c.Key(SpaceIndex, partDimensions, name)
		item, _, err := c.View.Get(key)
		if err != nil {
			return nil, err
		}
		ops = append(ops, store.Check(key, item.Version), store.Put(key, strconv.AppendInt(nil, int64(n.first[name]), 10)))
	}
	return ops, nil
}

// dimensions are those that vectors of a model have, ascending; none when there
// are no such vectors.
func (p *Pod) dimensions(tenant, model string) []int {
	if model == p.embedder.ID() {
		return []int{p.embedder.Dim()}
	}
	return p.indexes.dimensions(tenant, model)
}

// comparable checks a vector that a caller brought against the dimensions of its
// model, if these are known.
func comparable(model string, known []int, v []float32) error {
	bad := func(format string, args ...any) error {
		return tap.E("memory.vector", tap.Invalid, format, args...).WithCode("vector")
	}
	if len(known) > 0 && !slices.Contains(known, len(v)) {
		return bad("the vector has %d dimensions, those of model %q have %d", len(v), model, known[0])
	}
	if fault := unusable(v); fault != "" {
		return bad("the vector is refused for %s", fault)
	}
	return nil
}
