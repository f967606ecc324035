package memory

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/vector"
)

// Two nodes apply the same log; one of them is started anew in the middle, so that
// its index was built otherwise. A marker makes them equal.
func TestNodesAgreeOnAnIndex(t *testing.T) {
	one, two := newSite(t, t.TempDir()), newSite(t, t.TempDir())
	defer func() { one.close(); two.close() }()
	both := func(b ...store.Batch) {
		one.apply(b...)
		two.apply(b...)
	}
	for i := 0; i < 1200; i += 50 {
		both(one.put("first", numbered(i, i+50)...))
		if i == 700 {
			two.kill()
			two.start()
		}
	}
	both(remove(numbered(100, 200)...), one.put("second", numbered(300, 350)...))
	if digest := func(s *site) (d vector.Digest) {
		d, err := s.of().index.Save(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return d
	}; digest(one) == digest(two) {
		t.Error("the nodes agree before the marker: the test shows nothing")
	}

	// The leader's passes: the first sees that the load has come to rest.
	var batches []store.Batch
	leader := committer(func(b store.Batch) { batches = append(batches, b) })
	for range 2 {
		if err := one.pod.Maintain(t.Context(), leader); err != nil {
			t.Fatal(err)
		}
	}
	if len(batches) != 1 || batches[0].Evidence[0].Action != "memory.consolidated" {
		t.Fatalf("proposed %+v", batches)
	}
	m, err := decodeMarker(batches[0].Ops[1].Value)
	if err != nil || strings.Contains(string(batches[0].Evidence[0].Payload), fmt.Sprintf("%x", m.Seed)) {
		t.Fatalf("%v: %s", err, batches[0].Evidence[0].Payload)
	}
	// Documents before and behind the marker in its log entry belong to it.
	both(one.put("third", "x1"), batches[0], one.put("third", "x2"))
	for i := range 40 { // while the nodes work
		both(one.put("fourth", fmt.Sprintf("y%d", i)), remove(fmt.Sprintf("d%05d", 400+i)))
	}
	one.settle()
	two.settle()
	if a, b := one.of().built, two.of().built; a != b || a.number != 1 || a.documents != 1102 {
		t.Fatalf("%+v and %+v", a, b)
	}
	if one.of().index.Stats().Dead > 40 {
		t.Errorf("dead rows stay: %+v", one.of().index.Stats())
	}

	batches = nil
	if err := one.pod.Maintain(t.Context(), leader); err != nil || len(batches) != 1 {
		t.Fatal(err, batches)
	}
	var said indexEvidence
	if err := json.Unmarshal(batches[0].Evidence[0].Payload, &said); err != nil || said.SHA256 != fmt.Sprintf("%x", one.of().built.digest) || said.Documents != 1102 {
		t.Errorf("%+v, %v", said, err)
	}
	both(batches...)
	for _, s := range []*site{one, two} {
		if err := s.pod.Health(); err != nil {
			t.Error(err)
		}
		batches = nil
		for range 3 {
			if err := s.pod.Maintain(t.Context(), leader); err != nil || len(batches) != 0 {
				t.Errorf("more is proposed: %+v, %v", batches, err)
			}
		}
	}

	// A digest that is another one is a condition, also after a start.
	value, _ := msgpack.Marshal(&recorded{1, make([]byte, 32)})
	two.apply(siteBatch(store.Put(indexKey(partDigest, "main", siteSpace), value)))
	wantCode(t, two.pod.Health(), "index_differs")
	two.close()
	two.start()
	wantCode(t, two.pod.Health(), "index_differs")
	if s := two.pod.Status(); s.Differing != 1 || s.Vectors.Live != 1102 || s.Documents != 1102 {
		t.Errorf("%+v", s)
	}
	two.apply(two.mark())
	two.settle()
	if err := two.pod.Health(); err != nil {
		t.Error("after the next marker:", err)
	}
}

// committer takes what Maintain proposes.
type committer func(store.Batch)

func (c committer) Commit(_ context.Context, b store.Batch) (store.Receipt, error) {
	c(b)
	return store.Receipt{}, nil
}

// A start takes the saved index and only what has changed since.
func TestStart(t *testing.T) {
	s := newSite(t, t.TempDir())
	documents := map[string]string{}
	put := func(text string, ids ...string) {
		s.apply(s.put(text, ids...))
		for _, id := range ids {
			documents[id] = text
		}
	}
	put("first", numbered(0, 600)...)
	s.apply(s.mark())
	s.settle()
	put("second", numbered(0, 5)...)
	put("second", "new")
	s.apply(remove("d00100"))
	delete(documents, "d00100")
	s.kill()
	s.start()
	if v := s.of(); v.unsaved != 7 || v.changed != 7 || v.built.number != 1 {
		t.Errorf("killed: %d unsaved, %d changed, %+v", v.unsaved, v.changed, v.built)
	}
	s.shows(documents)
	put("third", numbered(5, 25)...)
	s.close()
	s.start()
	if v := s.of(); v.unsaved != 0 || v.changed != 27 {
		t.Errorf("closed: %d unsaved, %d changed", v.unsaved, v.changed)
	}
	s.shows(documents)
	if s.log.Len() > 0 {
		t.Error(s.log.String())
	}
	s.close()
}

// What is damaged, cut short or of another index is put aside and made anew.
func TestDamagedSnapshots(t *testing.T) {
	shelf := func(s *site) string {
		folders, err := filepath.Glob(s.dir + "/vector/*/*")
		if err != nil || len(folders) != 1 {
			t.Fatal(folders, err)
		}
		return folders[0]
	}
	flip := func(name string, at int64) func(s *site) {
		return func(s *site) {
			path := filepath.Join(shelf(s), name)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if at < 0 {
				at += int64(len(b))
			}
			b[at] ^= 1
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	truncate := func(name string) func(s *site) {
		return func(s *site) {
			if err := os.Truncate(filepath.Join(shelf(s), name), 1000); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, harm := range map[string]func(s *site){
		"vectors flipped":     flip("vectors.snapshot", 5000),
		"header flipped":      flip("vectors.snapshot", 70),
		"vectors truncated":   truncate("vectors.snapshot"),
		"catalogue flipped":   flip(catalogueFile, -900),
		"catalogue truncated": truncate(catalogueFile),
		"catalogue gone":      func(s *site) { _ = os.Remove(filepath.Join(shelf(s), catalogueFile)) },
		"of another index": func(s *site) {
			path := filepath.Join(shelf(s), catalogueFile)
			b, _ := os.ReadFile(path)
			c, err := decodeCatalogue(b)
			if err != nil {
				t.Fatal(err)
			}
			c.name[0] ^= 1
			if err := os.WriteFile(path, c.encode(), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a document missing": func(s *site) {
			path := filepath.Join(shelf(s), catalogueFile)
			b, _ := os.ReadFile(path)
			c, _ := decodeCatalogue(b)
			c.documents = c.documents[1:]
			_ = os.WriteFile(path, c.encode(), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, t.TempDir())
			documents := map[string]string{}
			for _, id := range numbered(0, 300) {
				documents[id] = "first"
			}
			s.apply(s.put("first", numbered(0, 300)...))
			s.apply(s.mark())
			s.settle()
			s.close()
			harm(s)
			s.start()
			if !strings.Contains(s.log.String(), "made anew") {
				t.Errorf("the log says %q", s.log.String())
			}
			s.shows(documents)
			s.close()
		})
	}
}

// A crash while an index is saved leaves the old one, and what is left lying is
// taken away.
func TestUnfinishedFilesAreTakenAway(t *testing.T) {
	s := newSite(t, t.TempDir())
	s.apply(s.put("first", numbered(0, 50)...))
	s.apply(s.mark())
	s.settle()
	shelf := s.pod.shelf("main", siteSpace).dir
	s.kill()
	stray := filepath.Join(s.dir, "vector", "notes")
	for _, dir := range []string{shelf + "/2" + unfinished, filepath.Join(s.dir, "vector", strings.Repeat("ab", 16)), stray} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, "vector", spoolPrefix+"1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	left, _ := filepath.Glob(s.dir + "/vector/*")
	if want := []string{shelf, stray}; !slices.Equal(left, want) {
		t.Errorf("left %v, want %v", left, want)
	}
	if left, _ := filepath.Glob(shelf + "/*"); !slices.Equal(left, []string{shelf + "/1"}) {
		t.Errorf("left %v", left)
	}
	if s.of().unsaved != 0 {
		t.Error("the saved index was not used")
	}
	s.close()
}

func TestWhatWantsAMarker(t *testing.T) {
	m, r := &marker{Number: 3, Tier: vector.Full}, &recorded{Number: 3}
	for name, c := range map[string]struct {
		facts facts
		m     *marker
		r     *recorded
		want  bool
	}{
		"nothing":                    {facts{live: 50_000, steady: true}, m, r, false},
		"few":                        {facts{live: 1000, steady: true}, &marker{}, &recorded{}, false},
		"the first":                  {facts{live: 1024, steady: true}, &marker{}, &recorded{}, true},
		"a load under way":           {facts{live: 1024, changed: 1024}, &marker{}, &recorded{}, false},
		"a long load":                {facts{live: 20_000, changed: 20_000}, &marker{}, &recorded{}, true},
		"dead rows":                  {facts{live: 6000, dead: 2000, changed: 2000, steady: true}, m, r, true},
		"dead rows of few":           {facts{live: 10, dead: 1000, steady: true}, m, r, false},
		"some dead rows":             {facts{live: 60_000, dead: 2000, steady: true}, m, r, false},
		"changes":                    {facts{live: 30_000, changed: 15_001, steady: true}, m, r, true},
		"changes, not yet enough":    {facts{live: 30_000, changed: 15_000, steady: true}, m, r, false},
		"changes of a small index":   {facts{live: 3000, changed: 9000, steady: true}, m, r, false},
		"a load under way, again":    {facts{live: 45_000, changed: 30_000}, m, r, false},
		"a load that never ends":     {facts{live: 60_000, changed: 50_000}, m, r, true},
		"another tier":               {facts{live: 10}, &marker{Number: 3, Tier: vector.Codes}, r, true},
		"a digest nobody recorded":   {facts{live: 10}, m, &recorded{Number: 2}, true},
		"a job that failed":          {facts{live: 10, lost: 3, steady: true}, m, &recorded{Number: 2}, false},
		"long after one that failed": {facts{live: 10, lost: 3, changed: 10_001, steady: true}, m, &recorded{Number: 2}, true},
	} {
		if got := c.facts.wants(c.m, c.r, vector.Full); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// A job that cannot work leaves the index in use, says so, and is not tried again
// and again.
func TestAJobThatFails(t *testing.T) {
	s := newSite(t, t.TempDir())
	s.apply(s.put("first", numbered(0, 1100)...))
	if err := os.WriteFile(s.dir+"/vector", nil, 0o600); err != nil { // where a folder should be
		t.Fatal(err)
	}
	for range 6 {
		s.maintain()
		s.settle()
	}
	if n := strings.Count(s.log.String(), "could not be made anew"); n != 1 || s.of().lost != 1 {
		t.Errorf("%d tries: %s", n, s.log.String())
	}
	if got := s.nearest(siteVector("d00007first", 12), 1, accepts{}); !slices.Equal(got, []string{"d00007"}) {
		t.Errorf("found %v", got)
	}
	// Nor is what cannot be saved a reason not to end, or not to start.
	s.prepare = func(p *Pod) { p.atOnce = 100 }
	s.close()
	s.start()
	s.settle()
	if got := s.nearest(siteVector("d00007first", 12), 1, accepts{}); !slices.Equal(got, []string{"d00007"}) || s.pod.Status().Graphless != 1 {
		t.Errorf("found %v, %+v", got, s.pod.Status())
	}
	s.close()
}

// The tier of an index changes at a marker, which the leader proposes by itself.
func TestTier(t *testing.T) {
	s := newSite(t, t.TempDir())
	s.apply(s.put("first", numbered(0, 1100)...))
	for range 3 {
		s.maintain()
		s.settle()
	}
	full := s.pod.Status()
	s.close()
	s.tier = vector.Codes
	s.start()
	for range 3 {
		s.maintain()
		s.settle()
	}
	if codes := s.pod.Status(); s.of().marker.Number != 2 || full.Vectors.Exact == 0 || codes.Vectors.Exact != 0 || codes.Bytes >= full.Bytes {
		t.Errorf("%+v, then %+v", full, codes)
	}
	if got := s.nearest(siteVector("d00007first", 12), 1, accepts{}); !slices.Equal(got, []string{"d00007"}) {
		t.Errorf("found %v", got)
	}
	s.close()
	p := &Pod{config: Config{Tier: vector.Bits}}
	if p.tierFor(100) != vector.Full || p.tierFor(1536) != vector.Bits {
		t.Error("1-bit codes do not follow the dimensions")
	}
	if _, err := New(Config{Embedder: bagEmbedder{}, Tier: 9}); err == nil {
		t.Error("an unknown tier")
	}
}

// Feature: tamv-hardened-backend, Property 18: Search results are always current:
// what is stored is found when its commit returns and never after its removal,
// whatever markers, starts, crashes and restores lie between.
func TestDeletedDocumentsNeverComeBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		s := newSite(rt, dir)
		defer func() { s.kill() }()
		atOnce := rapid.SampledFrom([]int{3, 1000}).Draw(rt, "at once")
		s.prepare = func(p *Pod) { p.atOnce = atOnce }
		documents := map[string]string{}
		var folder string // a snapshot of the state
		var then map[string]string
		ids := func() []string {
			return rapid.SliceOfNDistinct(rapid.SampledFrom(numbered(0, 40)), 1, 20, rapid.ID).Draw(rt, "ids")
		}
		for range rapid.IntRange(4, 14).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "step") {
			case 0, 1, 2:
				text := rapid.StringMatching(`[a-z]{3,6}`).Draw(rt, "text")
				written := ids()
				s.apply(s.put(text, written...))
				for _, id := range written {
					documents[id] = text
				}
			case 3, 4:
				removed := ids()
				s.apply(remove(removed...))
				for _, id := range removed {
					delete(documents, id)
				}
			case 5, 6:
				s.apply(s.mark()) // and does not wait
			case 7:
				s.close()
				s.start()
			case 8:
				s.kill()
				if rapid.Bool().Draw(rt, "lose what is saved") {
					if err := os.RemoveAll(s.dir + "/vector"); err != nil {
						rt.Fatal(err)
					}
				}
				s.start()
			case 9:
				if folder == "" {
					folder, then = s.dir+"/snapshot", maps.Clone(documents)
					if err := os.Mkdir(folder, 0o700); err != nil {
						rt.Fatal(err)
					}
					snapshot, err := s.state.Snapshot()
					if err == nil {
						_, err = snapshot.WriteTo(folder)
						snapshot.Release()
					}
					if err != nil {
						rt.Fatal(err)
					}
				} else {
					if err := s.state.Restore(folder); err != nil {
						rt.Fatal(err)
					}
					documents = maps.Clone(then)
					s.index = s.state.Applied()
				}
			}
			s.shows(documents)
		}
		s.settle()
		s.shows(documents)
		if strings.Contains(s.log.String(), "ERROR") {
			rt.Fatal(s.log.String())
		}
	})
}
