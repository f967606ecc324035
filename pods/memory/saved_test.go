package memory

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

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
	const n, k = 1500, 10
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

// What is wrong with one index does not keep the others from being maintained.
func TestOneBadMarkerIsOnlyItsIndexs(t *testing.T) {
	s := newSite(t, t.TempDir())
	defer s.close()
	other := siteRecord("a", "first")
	other.Model = "a model before lab"
	s.apply(siteBatch(putRecord(t, "other", other)), s.put("first", numbered(0, markFrom)...))
	s.apply(siteBatch(store.Put(indexKey(partMarker, "main", vectorSpace{other.Model, siteSpace.dim}), []byte("?"))))
	for range 3 {
		if err := s.pod.Maintain(t.Context(), s); !errors.Is(err, errMarker) {
			t.Errorf("the bad marker is not told of: %v", err)
		}
		s.settle()
	}
	if v := s.of(); v.built.number != 1 {
		t.Errorf("the good index is not made: %+v", v.built)
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

// copies is a view of one record under many ids.
type copies struct {
	store.View
	number int
	value  []byte
}

func (c copies) Scan(prefix, from store.Key, fn func(store.Item) bool) error {
	for i := 0; i < c.number && from == "" && prefix != store.K("main", SpaceIndex, partMarker).Prefix(); i++ {
		if item, _, _ := c.Get(store.K("main", space, fmt.Sprintf("d%05d", i))); !fn(item) {
			break
		}
	}
	return nil
}

func (c copies) Get(k store.Key) (store.Item, bool, error) {
	return store.Item{Key: k, Value: c.value, Version: 1}, k.Space() == space, nil
}

// A load without a saved index tells how far it is.
func TestLoadTellsItsProgress(t *testing.T) {
	const n = 2*progressStep + 500
	r := record{Type: "NOTE", Model: "plain", Own: true, Vector: encodeVector([]float32{1, 2})}
	value, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	var told []int
	p, err := New(Config{Embedder: bagEmbedder{id: "m1"}, Progress: func(documents int) { told = append(told, documents) }})
	if err == nil {
		err = p.Load(&copies{number: n, value: value})
	}
	if err != nil || len(told) != 3 || told[0] < progressStep || told[1] < 2*progressStep || told[2] != n {
		t.Errorf("told %v, %v", told, err)
	}
	if got := p.Status().Vectors.Live; got != n {
		t.Errorf("%d vectors", got)
	}
}
