package memory

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/vector"
)

func sampleCatalogue() *catalogue {
	return &catalogue{
		name:  nameOf("main", siteSpace),
		built: built{number: 3, version: 1 << 33, documents: 2, digest: vector.Digest{1, 2}}, changed: 7,
		kinds:     map[string]uint16{"CODEX": 1, "MANUAL": 2},
		documents: []known{{"a", 5, 6, 0}, {"b", 1 << 40, 8, 1}},
	}
}

func FuzzCatalogue(f *testing.F) {
	good := sampleCatalogue().encode()
	f.Add(good)
	f.Add((&catalogue{}).encode())
	f.Add(good[:len(good)-5])
	f.Add([]byte(catalogueMagic + "1234"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCatalogue(b)
		if err != nil {
			if !errors.Is(err, errCatalogue) {
				t.Errorf("the error is %v", err)
			}
			return
		}
		if !bytes.Equal(c.encode(), b) {
			t.Errorf("%x encodes to %x", b, c.encode())
		}
	})
}

func TestCatalogue(t *testing.T) {
	want := sampleCatalogue()
	good := want.encode()
	if got, err := decodeCatalogue(good); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for n := range good {
		if _, err := decodeCatalogue(good[:n]); err == nil {
			t.Errorf("%d bytes of %d are taken", n, len(good))
		}
	}
	// With a checksum that is right, the lists must be too.
	sealed := func(b []byte) []byte {
		c := &catalogue{}
		tail := c.encode()
		return append(append([]byte{}, tail[:len(tail)-12]...), b...)
	}
	for _, lists := range []string{"\x01\x00\x00\x00", "\xff\xff\xff\xff\x01\x00A", "\x02\x00\x00\x00\x01\x00A\x01\x00A\x00\x00\x00\x00", "\x00\x00\x00\x00\xff\xff\xff\xff"} {
		b := sealed([]byte(lists))
		b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
		if _, err := decodeCatalogue(b); !errors.Is(err, errCatalogue) {
			t.Errorf("%x: %v", lists, err)
		}
	}
}

// What is read from a spool is what was written, and a failure is reported.
func TestSpool(t *testing.T) {
	s, err := newSpool(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	want := []frozen{
		{known{id: "a", version: 1, sum: 2}, "CODEX", -5, []byte{1, 2, 3, 4}},
		{known{id: "b", version: 1 << 50, sum: 9}, "", 1 << 60, []byte{5, 6, 7, 8}},
	}
	for i := range want {
		if err := s.add(&want[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.w.Flush(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var got []frozen
		err := s.each(1, func(d *frozen) error {
			one := *d
			one.vector = bytes.Clone(d.vector)
			got = append(got, one)
			return nil
		})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	stop := errors.New("stop")
	if err := s.each(1, func(*frozen) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	if err := s.each(3, func(*frozen) error { return nil }); err == nil {
		t.Error("a spool of other dimensions is read")
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		err = s.add(&frozen{vector: make([]byte, 2*spoolBuffer)})
		if err == nil {
			t.Error("a closed file takes documents")
		}
	}
}

// An index that is saved again replaces the older one, and when the newest cannot
// be used an older one is.
func TestShelf(t *testing.T) {
	p := &Pod{config: Config{Dir: t.TempDir()}}
	s, cfg := p.shelf("main", siteSpace), vector.Config{Dim: siteSpace.dim}
	if _, _, err := s.open(cfg); !errors.Is(err, errNothingSaved) {
		t.Error(err)
	}
	save := func(id string) {
		x, err := vector.New(cfg)
		if err == nil {
			err = x.Add(id, siteVector(id, siteSpace.dim))
		}
		if err == nil {
			err = s.save(x, &catalogue{documents: []known{{id: id}}}, func(vector.Digest) {})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	save("a")
	kept := filepath.Join(t.TempDir(), "1")
	if err := os.Rename(s.folder(1), kept); err != nil {
		t.Fatal(err)
	}
	save("b")
	save("c")
	if n, err := s.saves(); err != nil || !slices.Equal(n, []uint64{2}) {
		t.Errorf("%v, %v", n, err)
	}
	if err := errors.Join(os.Rename(kept, s.folder(1)), os.Remove(filepath.Join(s.folder(2), catalogueFile))); err != nil {
		t.Fatal(err)
	}
	x, c, err := s.open(cfg)
	if err == nil || x == nil || c.documents[0].id != "a" {
		t.Errorf("%+v, %v", c, err)
	}
}

// After four rounds of deleting half and storing it again, with a marker after
// each, as many of the true neighbours are found as in the beginning.
func TestRecallStaysThroughMarkers(t *testing.T) {
	const n, k = 6000, 10
	s := newSite(t, t.TempDir())
	ids, r := numbered(0, n), rand.New(rand.NewPCG(4, 4))
	put := func(ids []string) {
		for some := range slices.Chunk(ids, 500) {
			s.apply(s.put("text", some...))
		}
	}
	recall := func() float64 {
		hits := 0
		for i := range 100 {
			q := siteVector(fmt.Sprint("query", i), siteSpace.dim)
			truth := s.nearest(q, k, accepts{})
			found, err := s.of().index.Search(q, vector.Options{K: k, EF: 24})
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range found {
				if slices.Contains(truth, h.ID) {
					hits++
				}
			}
		}
		return float64(hits) / 100 / k
	}
	put(ids)
	before := recall()
	for range 4 {
		r.Shuffle(n, func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		for some := range slices.Chunk(ids[:n/2], 500) {
			s.apply(remove(some...))
		}
		s.apply(s.mark())
		put(ids[:n/2])
		s.settle()
		if after := recall(); after < before-0.01 {
			t.Errorf("recall %.3f, at first %.3f", after, before)
		}
	}
	s.kill()
}

// Whatever a filter asks for, and however many documents pass, the nearest of these
// are found: by comparing all of them when they are few, by asking about each that
// a walk passes when they are many.
func TestFiltersOfManyDocuments(t *testing.T) {
	const n = 7000
	x := newIndexes("m1", 8)
	r := rand.New(rand.NewPCG(7, 7))
	records := map[string]record{}
	for i := range n {
		v := make([]float32, 8)
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
		for range 20 {
			q := query{vector: siteVector(fmt.Sprint(r.Uint64()), 8), space: x.embedder, threshold: -1, limit: 10, ranking: meaning, recall: 1, accepts: a}
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

// A lexicon that was loaded is the one that grew.
func TestLoadedLexicon(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		grown, loaded := newLexicon(), newLexicon()
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		cut := rapid.IntRange(1, 300).Draw(t, "cut")
		for i := range rapid.IntRange(0, 900).Draw(t, "documents") {
			text := ""
			for range r.IntN(6) {
				text += fmt.Sprintf("w%d ", r.IntN(1+r.IntN(50)))
			}
			b := newBag(text)
			one, other := grown.add(uint32(i), &b), loaded.collect(uint32(i), &b)
			if !slices.Equal(one, other) {
				t.Fatal("other places")
			}
			if i%cut == 0 {
				loaded.settle()
			}
		}
		loaded.settle()
		if !maps.Equal(grown.ids, loaded.ids) || grown.entries != loaded.entries || grown.length != loaded.length {
			t.Fatal("other words")
		}
		for at := range grown.lists {
			a, b := slices.Concat(grown.lists[at].blocks...), slices.Concat(loaded.lists[at].blocks...)
			if !slices.Equal(a, b) || grown.lists[at].count != loaded.lists[at].count || len(b) != loaded.lists[at].count {
				t.Fatalf("list %d: %v, want %v", at, b, a)
			}
			for _, block := range loaded.lists[at].blocks {
				if len(block) < 1 || len(block) > blockSize {
					t.Fatalf("a block of %d", len(block))
				}
			}
		}
	})
}

// Searches, changes, markers and the leader's passes at the same time.
func TestMarkersUnderLoad(t *testing.T) {
	s := newSite(t, t.TempDir())
	s.apply(s.put("first", numbered(0, 400)...))
	var group sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		group.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprintf("d%05d", i%200) // these stay as they are
				if got := s.nearest(siteVector(id+"first", siteSpace.dim), 1, accepts{}); len(got) != 1 || got[0] != id {
					t.Errorf("found %v, want %s", got, id)
					return
				}
				s.pod.Status()
			}
		})
	}
	documents := map[string]string{}
	for _, id := range numbered(0, 400) {
		documents[id] = "first"
	}
	for i := range 60 {
		text := fmt.Sprint("text", i)
		id := numbered(200+i*3%200, 201+i*3%200)
		s.apply(s.put(text, id...))
		documents[id[0]] = text
		if i%10 == 3 {
			s.apply(s.mark())
		}
		s.maintain()
	}
	s.settle()
	close(stop)
	group.Wait()
	s.shows(documents)
	if v := s.of(); v.built.number == 0 || v.since != nil || v.job != nil {
		t.Errorf("%+v", v.built)
	}
	s.close()
}

// A marker that nobody can read, or for an index of nothing, does no harm.
func TestStrangeMarkers(t *testing.T) {
	s := newSite(t, t.TempDir())
	good := s.mark()
	for _, key := range []store.Key{store.K("main", SpaceIndex), store.K("main", SpaceIndex, partMarker, "lab", "x"), store.K("main", SpaceIndex, partMarker, "lab", "5000"), store.K("main", SpaceIndex, "other", "lab", "12")} {
		s.apply(siteBatch(store.Put(key, good.Ops[0].Value)))
	}
	s.apply(siteBatch(store.Put(indexKey(partMarker, "main", siteSpace), []byte("?"))))
	s.apply(siteBatch(store.Put(indexKey(partDigest, "main", siteSpace), []byte("?"))))
	if s.pod.indexes.tenant("main") != nil {
		t.Error("an index of nothing")
	}
	s.kill()
	s.start()
	if v := s.of(); v == nil || v.marker.Number != 0 || !strings.Contains(s.log.String(), "does without its marker") {
		t.Errorf("a marker that cannot be followed: %s", s.log.String())
	}
	if s.pod.Maintain(t.Context(), s) == nil {
		t.Error("a marker that cannot be followed is replaced")
	}
	s.apply(siteBatch(store.Delete(indexKey(partDigest, "main", siteSpace))))
	s.apply(good)
	s.settle()
	s.maintain() // the digest of nothing
	s.close()
	s.start()
	s.apply(s.put("first", "a"))
	s.shows(map[string]string{"a": "first"})
	if v := s.of(); v.marker.Number != 1 || v.built.number != 1 || s.pod.Health() != nil {
		t.Errorf("%+v", v.built)
	}
	s.close()
	if _, err := decodeMarker(nil); err == nil {
		t.Error("an empty marker")
	}
}

// The metrics say what the indexes hold and take, part by part.
func TestMetrics(t *testing.T) {
	s := newSite(t, t.TempDir())
	s.apply(s.put("first", numbered(0, 300)...))
	s.apply(s.mark())
	s.settle()
	s.apply(remove("d00001"))
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s.pod.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			got[name] = m.Gauge.GetValue()
		}
	}
	if got["tamv_memory_vector_rows live"] != 299 || got["tamv_memory_vector_rows dead"] != 1 || got["tamv_memory_own_vectors"] != 299 ||
		got["tamv_memory_vector_bytes exact"] < 300*12*4 || got["tamv_memory_vector_bytes links"] <= 0 || got["tamv_memory_indexes_differing"] != 0 {
		t.Errorf("%v", got)
	}
	sum := 0.0
	for name, value := range got {
		if strings.HasPrefix(name, "tamv_memory_vector_bytes") {
			sum += value
		}
	}
	if status := s.pod.Status(); int64(sum) != status.Vectors.total() || status.Bytes <= status.Vectors.total() {
		t.Errorf("parts make %v, the status is %+v", sum, status)
	}
	s.close()
}

// A load without a saved index tells how far it is.
func TestLoadTellsItsProgress(t *testing.T) {
	s := newSite(t, t.TempDir())
	for some := range slices.Chunk(numbered(0, 2*progressStep+500), 2000) {
		var ops []store.Op
		for _, id := range some { // of so few dimensions that they are quickly indexed
			ops = append(ops, putRecord(t, id, record{Type: "NOTE", Model: "plain", Own: true, Vector: encodeVector([]float32{1, 2})}))
		}
		s.apply(siteBatch(ops...))
	}
	var told []int
	c := s.pod.config
	c.Dir, c.Progress = "", func(documents int) { told = append(told, documents) }
	p, err := New(c)
	if err == nil {
		err = p.Load(s.state)
	}
	if err != nil || len(told) != 3 || told[0] < progressStep || told[1] < 2*progressStep || told[2] != 2*progressStep+500 {
		t.Errorf("told %v, %v", told, err)
	}
	if p.Status().Vectors.Live != told[2] {
		t.Errorf("%+v", p.Status())
	}
	s.kill()
}
