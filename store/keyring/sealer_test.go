package keyring

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

func TestSealingAndOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1", "n2", "n3")
		seal, open := NewSealer(s.nodes["n1"].Exchange), NewSealer(s.nodes["n3"].Exchange)
		payload := []byte("ana has a cold")
		sealed, err := seal.Seal(t.Context(), "main", "ana", 0, payload)
		must(t, err)
		again, err := seal.Seal(t.Context(), "main", "ana", 0, payload)
		must(t, err)
		synctest.Wait()
		if bytes.Contains(sealed, payload) || bytes.Equal(sealed, again) || s.dials.Load() != 2 {
			t.Errorf("%d connections for two payloads under one key", s.dials.Load())
		}
		synctest.Wait()
		plain, key, err := open.Open(t.Context(), sealed)
		if err != nil || !bytes.Equal(plain, payload) {
			t.Fatal(err)
		}
		if told, err := bookpi.OpenSealed(sealed, key); err != nil || !bytes.Equal(told, payload) {
			t.Errorf("the record key does not open it offline: %v", err)
		}
		if _, err := bookpi.OpenSealed(again, key); err == nil {
			t.Error("the record key opens another payload of the same subject")
		}
		// Each subject, each generation, each tenant has its own key.
		ids := map[bookpi.KeyID]bool{}
		for _, of := range []struct {
			tenant, name string
			generation   uint64
		}{{"main", "ana", 0}, {"main", "ana", 1}, {"main", "eva", 0}, {"other", "ana", 0}} {
			sealed, err := seal.Seal(t.Context(), of.tenant, of.name, of.generation, nil)
			must(t, err)
			id, err := bookpi.SealedUnder(sealed)
			must(t, err)
			ids[id] = true
		}
		if len(ids) != 4 {
			t.Errorf("%d keys for four", len(ids))
		}
		synctest.Wait()

		for _, n := range s.nodes {
			n.ring.Advance("main", "ana", 1)
		}
		for _, node := range []*Sealer{seal, open} {
			_, _, err = node.Open(t.Context(), sealed)
			wantCode(t, err, tap.NotFound, "erased")
			_, err = node.Seal(t.Context(), "main", "ana", 0, payload)
			wantCode(t, err, tap.Conflict, "generation_over")
			if _, err := node.Seal(t.Context(), "main", "ana", 1, payload); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
	})
}

func TestWhatDoesNotOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1", "n2", "n3")
		sealer := NewSealer(s.nodes["n1"].Exchange)
		sealed, err := sealer.Seal(t.Context(), "main", "ana", 0, []byte("x"))
		must(t, err)
		_, _, err = sealer.Open(t.Context(), []byte(`{"plain":1}`))
		wantCode(t, err, tap.Invalid, "not_sealed")
		for _, at := range []int{30, 60, len(sealed) - 1} { // salt, commitment, tag
			bad := bytes.Clone(sealed)
			bad[at] ^= 1
			_, key, err := sealer.Open(t.Context(), bad)
			wantCode(t, err, tap.Internal, "sealed_damaged")
			if key != [32]byte{} {
				t.Error("a key comes with the error")
			}
		}
		s.set(s.down, "n2", true)
		s.set(s.down, "n3", true)
		other := bytes.Clone(sealed)
		other[10] ^= 1 // the key's id
		_, _, err = sealer.Open(t.Context(), other)
		wantCode(t, err, tap.Unavailable, "keyring_quorum")
		_, err = sealer.Seal(t.Context(), "main", "eva", 0, nil)
		wantCode(t, err, tap.Unavailable, "keyring_quorum")
		_, err = sealer.Seal(t.Context(), "main", "ana", 0, nil)
		must(t, err) // its key is safe already

		// After a restart nobody knows that it is, so it is made safe again.
		_, err = NewSealer(s.nodes["n1"].Exchange).Seal(t.Context(), "main", "ana", 0, nil)
		wantCode(t, err, tap.Unavailable, "keyring_quorum")
		s.set(s.down, "n2", false)
		_, err = sealer.Seal(t.Context(), "main", "eva", 0, nil)
		must(t, err)
	})
}

// Many at once make one key, and the first one's leaving does not end it for the others.
func TestManySealAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1", "n2")
		s.set(s.mute, "n2", true)
		sealer := NewSealer(s.nodes["n1"].Exchange)
		var wg sync.WaitGroup
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		wg.Go(func() {
			if _, err := sealer.Seal(ctx, "main", "ana", 0, nil); !tap.IsKind(err, tap.Timeout) {
				t.Error(err)
			}
		})
		<-time.After(time.Millisecond / 2)
		for range 20 {
			wg.Go(func() {
				_, err := sealer.Seal(t.Context(), "main", "ana", 0, nil)
				if e := tap.AsError(err); err == nil || e.StableCode() != "keyring_quorum" {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		if s.nodes["n1"].ring.Held("main", "ana") != 1 || s.dials.Load() != 1 {
			t.Errorf("%d keys, %d connections", s.nodes["n1"].ring.Held("main", "ana"), s.dials.Load())
		}
		s.set(s.mute, "n2", false)
		ids := make(chan bookpi.KeyID, 20)
		for range 20 {
			wg.Go(func() {
				sealed, err := sealer.Seal(t.Context(), "main", "ana", 0, nil)
				if err != nil {
					t.Error(err)
					return
				}
				id, _ := bookpi.SealedUnder(sealed)
				ids <- id
			})
		}
		wg.Wait()
		first := <-ids
		for range 19 {
			if id := <-ids; id != first {
				t.Fatal("two keys")
			}
		}
	})
}

// Keys that two nodes made at the same time both open what they sealed, and both nodes
// settle on one of them.
func TestTwoNodesMakeAKeyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1", "n2")
		one, two := subjectKey("ana", 0, 1), subjectKey("ana", 0, 77)
		must(t, s.nodes["n1"].ring.Put(one))
		must(t, s.nodes["n2"].ring.Put(two))
		a, b := NewSealer(s.nodes["n1"].Exchange), NewSealer(s.nodes["n2"].Exchange)
		from1, err := a.Seal(t.Context(), "main", "ana", 0, []byte("1"))
		must(t, err)
		from2, err := b.Seal(t.Context(), "main", "ana", 0, []byte("2"))
		must(t, err)
		s.nodes["n1"].Sync(t.Context())
		s.nodes["n2"].Sync(t.Context())
		for _, sealer := range []*Sealer{a, b} {
			for _, sealed := range [][]byte{from1, from2} {
				if _, _, err := sealer.Open(t.Context(), sealed); err != nil {
					t.Error(err)
				}
			}
		}
		k1, _, _ := s.nodes["n1"].ring.Key("main", "ana", 0)
		if k2, _, _ := s.nodes["n2"].ring.Key("main", "ana", 0); k1.ID() != k2.ID() {
			t.Error("they did not settle on one")
		}
	})
}

// Seal, open and erase on three nodes in any order, with nodes away: what was sealed
// opens everywhere until its subject is erased, and nowhere after.
func TestSealEraseModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			names := []string{"n1", "n2", "n3"}
			s := newSite(t, names...)
			sealers := map[string]*Sealer{}
			for name, n := range s.nodes {
				sealers[name] = NewSealer(n.Exchange)
			}
			generation := map[string]uint64{}         // the replicated state
			applied := map[string]map[string]uint64{} // per node
			for _, name := range names {
				applied[name] = map[string]uint64{}
			}
			type sealedOne struct {
				subject    string
				generation uint64
				payload    []byte
				sealed     []byte
			}
			var all []sealedOne
			away := ""
			apply := func(name string) {
				for subject, g := range generation {
					if applied[name][subject] < g {
						applied[name][subject] = g
						s.nodes[name].ring.Advance("main", subject, g)
					}
				}
			}
			for range rapid.IntRange(1, 12).Draw(rt, "steps") {
				subject := rapid.SampledFrom([]string{"ana", "eva"}).Draw(rt, "subject")
				node := rapid.SampledFrom(names).Draw(rt, "node")
				switch rapid.SampledFrom([]string{"seal", "seal", "erase", "leave"}).Draw(rt, "step") {
				case "seal":
					payload := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(rt, "payload")
					sealed, err := sealers[node].Seal(t.Context(), "main", subject, generation[subject], payload)
					if node == away {
						continue // it may have a key or not, and its commit would be refused
					}
					if err != nil {
						rt.Fatalf("%s cannot seal for %s: %v", node, subject, err)
					}
					all = append(all, sealedOne{subject, generation[subject], payload, sealed})
				case "erase":
					generation[subject]++
					for _, name := range names {
						if name != away {
							apply(name)
						}
					}
				case "leave": // and the one that was away is back
					s.set(s.down, away, false)
					if away != "" {
						s.nodes[away].Sync(t.Context()) // it is compared before it has applied what it missed
						for _, name := range names {
							s.nodes[name].Sync(t.Context())
						}
						apply(away)
					}
					away = node
					s.set(s.down, away, true)
				}
			}
			s.set(s.down, away, false)
			for _, name := range names {
				apply(name)
				s.nodes[name].Sync(t.Context())
			}
			synctest.Wait()
			for _, one := range all {
				for _, name := range names {
					plain, _, err := sealers[name].Open(t.Context(), one.sealed)
					erased := one.generation < generation[one.subject]
					if erased != (err != nil && tap.AsError(err).StableCode() == "erased") || !erased && !bytes.Equal(plain, one.payload) {
						rt.Fatalf("%s: generation %d of %d of %s: %v", name, one.generation, generation[one.subject], one.subject, err)
					}
				}
			}
			for _, n := range s.nodes {
				must(t, n.ring.Close())
			}
		})
	})
}

// A majority of one is none of three: when members join, a key is made safe again.
func TestSafeAmongTheMembersOfNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1")
		sealer := NewSealer(s.nodes["n1"].Exchange)
		_, err := sealer.Seal(t.Context(), "main", "ana", 0, nil)
		must(t, err)
		s.join("n2")
		s.join("n3")
		s.set(s.down, "n2", true)
		s.set(s.down, "n3", true)
		_, err = sealer.Seal(t.Context(), "main", "ana", 0, nil)
		wantCode(t, err, tap.Unavailable, "keyring_quorum")
		s.set(s.down, "n3", false)
		_, err = sealer.Seal(t.Context(), "main", "ana", 0, nil)
		must(t, err)
		if s.nodes["n3"].ring.Held("main", "ana") != 1 {
			t.Error("it is not")
		}
		synctest.Wait()
		before := s.dials.Load()
		_, err = sealer.Seal(t.Context(), "main", "ana", 0, nil)
		must(t, err)
		if s.dials.Load() != before {
			t.Error("it is made safe with every payload")
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	s := newSite(b, "n1")
	sealer := NewSealer(s.nodes["n1"].Exchange)
	payload := make([]byte, 1024)
	b.SetBytes(int64(len(payload)))
	for b.Loop() {
		if _, err := sealer.Seal(b.Context(), "main", "ana", 0, payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	s := newSite(b, "n1")
	sealer := NewSealer(s.nodes["n1"].Exchange)
	sealed, err := sealer.Seal(b.Context(), "main", "ana", 0, make([]byte, 1024))
	must(b, err)
	b.SetBytes(1024)
	for b.Loop() {
		if _, _, err := sealer.Open(b.Context(), sealed); err != nil {
			b.Fatal(err)
		}
	}
}
