package memory

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/vmihailenco/msgpack/v5"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/vector"
)

// site is one node: a state on disk and a pod that follows it. What is committed
// is one log entry.
type site struct {
	t     fataler
	dir   string
	tier  vector.Tier
	state *store.Store
	pod   *Pod
	log   bytes.Buffer
	index uint64

	prepare func(*Pod) // before it loads
}

// siteSpace is the index that most tests are about.
var siteSpace = vectorSpace{"lab", 12}

type helper interface {
	fataler
	Helper()
}

func newSite(t helper, dir string) *site {
	t.Helper()
	s := &site{t: t, dir: dir}
	s.start()
	return s
}

// start opens the state and the pod over it.
func (s *site) start() {
	p, err := New(Config{
		Embedder: bagEmbedder{id: "m1"}, Dir: s.dir + "/vector", Tier: s.tier,
		Log: slog.New(slog.NewTextHandler(&s.log, nil)),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.pod = p
	if s.prepare != nil {
		s.prepare(p)
	}
	s.state, err = store.Open(s.dir, map[string][]store.Observer{Space: {p.ObserveChanges}, SpaceIndex: {p.ObserveIndexes}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.index = s.state.Applied()
	if err := p.Load(s.state); err != nil {
		s.t.Fatal(err)
	}
}

// kill ends the node without letting the pod save anything.
func (s *site) kill() {
	s.pod.stop()
	s.pod.background.Wait()
	if err := s.state.Close(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) close() {
	if err := s.pod.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.kill()
}

// settle waits until no index is being made.
func (s *site) settle() { s.pod.background.Wait() }

// apply is one log entry.
func (s *site) apply(batches ...store.Batch) []any {
	var commands [][]byte
	for _, b := range batches {
		command, err := store.EncodeBatch(b)
		if err != nil {
			s.t.Fatal(err)
		}
		commands = append(commands, command)
	}
	s.index++
	outcomes, err := s.state.Apply(s.index, int64(s.index), commands)
	if err != nil {
		s.t.Fatal(err)
	}
	return outcomes
}

// Commit makes a site what Maintain commits with.
func (s *site) Commit(_ context.Context, b store.Batch) (store.Receipt, error) {
	switch o := s.apply(b)[0].(type) {
	case store.Receipt:
		return o, nil
	case error:
		return store.Receipt{}, o
	}
	return store.Receipt{}, nil
}

func (s *site) maintain() {
	if err := s.pod.Maintain(context.Background(), s); err != nil {
		s.t.Fatal(err)
	}
}

func siteBatch(ops ...store.Op) store.Batch {
	return store.Batch{
		RequestID: uuid.New(), Tenant: "main", Ops: ops,
		Evidence: []store.Evidence{{Actor: "system", Action: "test", Outcome: "ok"}},
	}
}

// siteVector is the vector of a document's text.
func siteVector(text string, dim int) []float32 {
	h := uint64(fnvOffset)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * fnvPrime
	}
	r, v := rand.New(rand.NewPCG(h, 9)), make([]float32, dim)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

// siteRecord is a document of the index siteSpace.
func siteRecord(id, text string) record {
	return record{
		Type: []string{"CODEX", "MANUAL", "NOTE"}[len(text)%3], Content: text, Model: siteSpace.model, Own: true,
		Created: int64(len(id)), Updated: int64(len(text)), Vector: encodeVector(siteVector(id+text, siteSpace.dim)),
	}
}

func putRecord(t fataler, id string, r record) store.Op {
	value, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	return store.Put(store.K("main", space, id), value)
}

// put writes documents of these ids with a text.
func (s *site) put(text string, ids ...string) store.Batch {
	var ops []store.Op
	for _, id := range ids {
		ops = append(ops, putRecord(s.t, id, siteRecord(id, text)))
	}
	return siteBatch(ops...)
}

func remove(ids ...string) store.Batch {
	var ops []store.Op
	for _, id := range ids {
		ops = append(ops, store.Delete(store.K("main", space, id)))
	}
	return siteBatch(ops...)
}

func numbered(from, to int) (ids []string) {
	for i := from; i < to; i++ {
		ids = append(ids, fmt.Sprintf("d%05d", i))
	}
	return ids
}

// mark is the next marker of siteSpace.
func (s *site) mark() store.Batch {
	m, _, err := readMarker(s.state, "main", siteSpace)
	if err != nil {
		s.t.Fatal(err)
	}
	m.Number, m.Own, m.Seed = m.Number+1, true, bytes.Repeat([]byte{7}, seedSize)
	value, err := msgpack.Marshal(&m)
	if err != nil {
		s.t.Fatal(err)
	}
	return siteBatch(store.Put(indexKey(partMarker, "main", siteSpace), value))
}

// of is the index siteSpace.
func (s *site) of() *vectors {
	t := s.pod.indexes.tenant("main")
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.vectors[siteSpace]
}

// nearest is the ids of the k documents nearest to those of a text, exactly.
func (s *site) nearest(v []float32, k int, a accepts) []string {
	found, err := s.pod.indexes.candidates("main", &query{vector: v, space: siteSpace, ranking: meaning, limit: k, threshold: -1, recall: 1, accepts: a})
	if err != nil {
		s.t.Fatal(err)
	}
	var ids []string
	for _, c := range found.all {
		ids = append(ids, c.id)
	}
	return ids
}

// shows that the node finds exactly these documents, each with the text's vector.
func (s *site) shows(documents map[string]string) {
	all := s.nearest(siteVector("query", siteSpace.dim), len(documents)+10, accepts{})
	slices.Sort(all)
	want := make([]string, 0, len(documents))
	for id, text := range documents {
		want = append(want, id)
		if got := s.nearest(siteVector(id+text, siteSpace.dim), 1, accepts{}); len(got) != 1 || got[0] != id {
			s.t.Fatal(fmt.Sprintf("%q with text %q: found %v", id, text, got))
		}
	}
	slices.Sort(want)
	if !slices.Equal(all, want) {
		s.t.Fatal(fmt.Sprintf("found %v, want %v", all, want))
	}
}

func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	if e := tap.AsError(err); err == nil || e.StableCode() != code {
		t.Errorf("%v, want the code %q", err, code)
	}
}
