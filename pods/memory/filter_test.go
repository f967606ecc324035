package memory

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// Whatever a filter asks for, and however many documents pass, the nearest of these
// are found: by comparing all of them when they are few, by asking about each that
// a walk passes when they are many.
func TestFiltersOfManyDocuments(t *testing.T) {
	const n = 5500
	x := newIndexes("m1", 4)
	r := rand.New(rand.NewPCG(7, 7))
	records := map[string]record{}
	for i := range n {
		v := make([]float32, 4)
		for j := range v {
			v[j] = float32(r.NormFloat64())
		}
		records[fmt.Sprintf("d%05d", i)] = record{
			Type: []string{"CODEX", "MANUAL"}[i%2], Content: "x", Model: "m1", Vector: encodeVector(v), Created: int64(i), Updated: int64(2 * i),
			Metadata: map[string]string{"all": "yes", "tenth": fmt.Sprint(i % 10)},
		}
	}
	fill(t, x, records)
	tt := x.tenant("main")
	for name, a := range map[string]accepts{
		"few by a pair":      {pairs: hashPairs(map[string]string{"tenth": "3", "all": "yes"}), created: always, updated: always, others: true},
		"all by a pair":      {pairs: hashPairs(map[string]string{"all": "yes"}), created: always, updated: always, others: true},
		"none by a pair":     {pairs: hashPairs(map[string]string{"all": "no"}), created: always, updated: always, others: true},
		"few by a time":      {created: span{100, 200}, updated: always, others: true},
		"all by both times":  {created: span{0, n}, updated: span{0, 2*n - 100}, others: true},
		"half of a type":     {kind: "CODEX", created: span{0, n / 2}, updated: always, others: true},
		"no time at all":     {created: span{5, 5}, updated: always, others: true},
		"a type without any": {kind: "NOTE"},
	} {
		for range 4 {
			q := query{vector: siteVector(fmt.Sprint(r.Uint64()), 4), space: x.embedder, threshold: -1, limit: 10, ranking: meaning, recall: 1, accepts: a}
			got, err := searchIn(x, records, &q)
			if err != nil {
				t.Fatal(err)
			}
			rule, ok := a.on(tt)
			var want []string
			for id := range records {
				if ok && rule.passes(tt, tt.numbers[id]) {
					want = append(want, id)
				}
			}
			slices.SortFunc(want, func(a, b string) int {
				ra, rb := records[a], records[b]
				return cmp.Or(cmp.Compare(cosine(q.vector, decodeVector(rb.Vector)), cosine(q.vector, decodeVector(ra.Vector))), cmp.Compare(a, b))
			})
			var ids []string
			for _, m := range got {
				ids = append(ids, m.id)
			}
			if want = want[:min(10, len(want))]; !slices.Equal(ids, want) {
				t.Fatalf("%s: %v, want %v", name, ids, want)
			}
		}
	}
}

// Types beyond the last number of an index share one there, whatever their number
// in the tenant, and are told apart all the same.
func TestTypesThatShareANumber(t *testing.T) {
	x := newIndexes("m1", 2)
	records := map[string]record{"a": plane("x", 1, 0), "b": plane("x", 1, 0.1), "c": plane("x", 1, 0.2)}
	for id, kind := range map[string]string{"a": "CODEX", "b": "MANUAL", "c": "NOTE"} {
		r := records[id]
		r.Type = kind
		records[id] = r
	}
	v := x.open("main").space(x.embedder)
	for _, kind := range []string{"CODEX", "MANUAL"} {
		v.kinds[kind] = manyKinds
	}
	fill(t, x, records)
	for id, kind := range map[string]string{"a": "CODEX", "b": "MANUAL", "c": "NOTE"} {
		a, err := (&filter{Type: kind}).compile()
		if err != nil {
			t.Fatal(err)
		}
		got, err := searchIn(x, records, &query{vector: []float32{1, 0}, space: x.embedder, threshold: -1, limit: 5, ranking: meaning, accepts: a})
		if err != nil || len(got) != 1 || got[0].id != id {
			t.Errorf("%s: %+v, %v", kind, got, err)
		}
	}
}
