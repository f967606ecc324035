package keyring

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
)

func contents(t testing.TB, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	must(t, err)
	return b
}

func TestARingKeepsItsSecrets(t *testing.T) {
	dir := t.TempDir()
	r := openRing(t, dir)
	ana, eva := subjectKey("ana-maria-lopez", 0, 1), subjectKey("eva", 2, 50)
	text := LogSecret(7, strings.Repeat("k", MaxLogKeys))
	must(t, r.Put(ana, eva, text, ana))
	must(t, r.Put(ana))
	count, xor := r.Digest()
	must(t, r.Close())
	if err := r.Put(subjectKey("eva", 0, 9)); !tap.IsKind(err, tap.Unavailable) {
		t.Errorf("a closed ring took a key: %v", err)
	}
	must(t, r.Close())

	r = openRing(t, dir)
	if n, x := r.Digest(); n != 3 || n != count || x != xor {
		t.Errorf("%d secrets, were %d", n, count)
	}
	got, ok, err := r.Key("main", "eva", 2)
	if err != nil || !ok || !bytes.Equal(got.Value, eva.Value) || got.ID() != eva.ID() {
		t.Errorf("%v %v", ok, err)
	}
	for _, absent := range []struct {
		tenant, name string
		generation   uint64
	}{{"main", "eva", 1}, {"other", "eva", 2}, {"main", "eve", 2}} {
		if _, ok, err := r.Key(absent.tenant, absent.name, absent.generation); ok || err != nil {
			t.Errorf("%v: %v %v", absent, ok, err)
		}
	}
	if texts := r.LogKeys(7); !slices.Equal(texts, []string{string(text.Value)}) || r.LogKeys(8) != nil {
		t.Error("the ledger's keys are not what they were")
	}
	if ids := r.IDs(ID{}, 2); len(ids) != 2 || len(r.IDs(ids[1], 2)) != 1 || r.Held("main", "ana-maria-lopez") != 1 || !r.Has(ids[0]) {
		t.Errorf("%v", ids)
	}
	if s := fmt.Sprintf("%v %+v %#v %s", got, got, got, sealing); strings.Contains(s, "50 51") || strings.Contains(s, "1, 2") || !strings.Contains(s, "(secret)") {
		t.Errorf("printing shows %s", s)
	}
	for _, file := range []string{SubjectsFile, LogKeysFile} {
		if b := contents(t, dir, file); bytes.Contains(b, ana.Value) || bytes.Contains(b, []byte("kkkkkkkk")) || bytes.Contains(b, []byte("maria-lopez")) {
			t.Errorf("%s holds a secret or a name in the clear", file)
		}
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", file, info.Mode())
		}
	}
}

// The value of a secret is its owner's: neither side changes the other's.
func TestValuesAreNotShared(t *testing.T) {
	r := openRing(t, t.TempDir())
	s := subjectKey("ana", 0, 1)
	want := bytes.Clone(s.Value)
	must(t, r.Put(s))
	id := s.ID()
	clear(s.Value)
	got, _ := r.Get(id)
	clear(got.Value)
	if again, ok := r.Get(id); !ok || !bytes.Equal(again.Value, want) {
		t.Error("the ring's key was changed from outside")
	}
}

func TestWhatIsNoSecretIsRefused(t *testing.T) {
	r := openRing(t, t.TempDir())
	for name, s := range map[string]Secret{
		"nothing": {}, "short": {Kind: SubjectKey, Tenant: "main", Subject: "ana", Value: make([]byte, 31)},
		"no subject": {Kind: SubjectKey, Tenant: "main", Value: make([]byte, 32)}, "bad name": {Kind: SubjectKey, Tenant: "main", Subject: "\xff", Value: make([]byte, 32)},
		"long text": LogSecret(1, strings.Repeat("k", MaxLogKeys+1)), "no text": LogSecret(1, ""), "later kind": {Kind: 3, Value: make([]byte, 32)},
	} {
		if err := r.Put(s); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheWrongSealingKey(t *testing.T) {
	dir := t.TempDir()
	must(t, openRing(t, dir).Close())
	_, err := Open(Config{Dir: dir, Sealing: SealingKey{9}})
	wantCode(t, err, tap.Unavailable, "keyring_seal")
	openRing(t, dir)
}

func TestADamagedHeader(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"empty":    func([]byte) []byte { return nil },
		"cut":      func(b []byte) []byte { return b[:300] },
		"magic":    func(b []byte) []byte { b[3]++; return b },
		"geometry": func(b []byte) []byte { b[11]++; return b },
	} {
		dir := t.TempDir()
		must(t, openRing(t, dir).Close())
		must(t, os.WriteFile(filepath.Join(dir, SubjectsFile), damage(contents(t, dir, SubjectsFile)), 0o600))
		_, err := Open(Config{Dir: dir, Sealing: sealing})
		if e := tap.AsError(err); err == nil || e.StableCode() != "keyring_damaged" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(Config{Dir: "/dev/null/ring", Sealing: sealing}); !tap.IsKind(err, tap.Unavailable) {
		t.Errorf("a folder that cannot be: %v", err)
	}
}

// Whatever byte of a slot is damaged, that secret is absent and no other; its slot is
// overwritten, because half of an overwrite leaves half of a key.
func TestADamagedSlotIsAbsent(t *testing.T) {
	dir := t.TempDir()
	r := openRing(t, dir)
	ana, eva := subjectKey("ana", 0, 1), subjectKey("eva", 0, 2)
	must(t, r.Put(ana))
	must(t, r.Put(eva))
	must(t, r.Close())
	sound := contents(t, dir, SubjectsFile)
	for _, at := range []int{0, 11, 12, 60, 200, subjectSlot - 1} {
		bad := bytes.Clone(sound)
		bad[subjectSlot+at] ^= 4
		must(t, os.WriteFile(filepath.Join(dir, SubjectsFile), bad, 0o600))
		r := openRing(t, dir)
		if r.Has(ana.ID()) || !r.Has(eva.ID()) || r.Status().Damaged != 1 {
			t.Errorf("byte %d: %+v", at, r.Status())
		}
		if b := contents(t, dir, SubjectsFile); !allZero(b[subjectSlot : 2*subjectSlot]) {
			t.Errorf("byte %d: the rest of the slot stays", at)
		}
		must(t, r.Put(ana)) // as it comes back from another member
		must(t, r.Close())
	}
	// A slot is bound to its place: a copy elsewhere, of a key that was destroyed, is none.
	moved := append(bytes.Clone(sound[:3*subjectSlot]), sound[subjectSlot:2*subjectSlot]...)
	clear(moved[subjectSlot : 2*subjectSlot])
	must(t, os.WriteFile(filepath.Join(dir, SubjectsFile), moved, 0o600))
	if r := openRing(t, dir); r.Has(ana.ID()) || !r.Has(eva.ID()) {
		t.Error("a slot was taken from another place")
	}
}

func TestATornWriteStoresNothing(t *testing.T) {
	dir, disk := t.TempDir(), &faults{}
	r := openRingOn(t, dir, disk)
	eva := subjectKey("eva", 0, 2)
	must(t, r.Put(eva))
	ana := subjectKey("ana", 0, 1)
	torn := errors.New("torn")
	disk.set(func(_ string, b []byte) (int, error) {
		if allZero(b) {
			return 0, torn
		}
		return 100, torn
	}, nil)
	wantCode(t, r.Put(ana), tap.Unavailable, "keyring_write")
	if r.Has(ana.ID()) || r.Status().Wiping != 1 {
		t.Errorf("a secret that is not on disk: %+v", r.Status())
	}
	crashed := contents(t, dir, SubjectsFile) // as a crash now would leave it
	disk.set(nil, nil)
	must(t, r.Flush())
	if b := contents(t, dir, SubjectsFile); r.Status().Wiping != 0 || !allZero(b[2*subjectSlot:]) {
		t.Errorf("the torn slot was not overwritten: %+v", r.Status())
	}
	must(t, r.Put(ana))
	must(t, r.Close())

	must(t, os.WriteFile(filepath.Join(dir, SubjectsFile), crashed, 0o600))
	if r := openRing(t, dir); r.Has(ana.ID()) || !r.Has(eva.ID()) || r.Status().Damaged != 1 {
		t.Errorf("after the crash: %+v", r.Status())
	}
}

// A secret whose fsync failed is not stored, though its bytes may be on the disk; they go.
func TestAFailedSync(t *testing.T) {
	dir, disk := t.TempDir(), &faults{}
	r := openRingOn(t, dir, disk)
	ana := subjectKey("ana", 0, 1)
	disk.set(nil, errors.New("input/output error"))
	wantCode(t, r.Put(ana), tap.Unavailable, "keyring_write")
	disk.set(nil, nil)
	must(t, r.Flush())
	must(t, r.Close())
	if r := openRing(t, dir); r.Has(ana.ID()) {
		t.Error("it was stored after all")
	}
}

func TestAFullDisk(t *testing.T) {
	dir, disk := t.TempDir(), &faults{}
	r := openRingOn(t, dir, disk)
	for n := range blockSlots {
		must(t, r.Put(subjectKey(fmt.Sprint("s", n), 0, 1)))
	}
	disk.set(func(_ string, b []byte) (int, error) { return len(b) / 3, syscall.ENOSPC }, nil)
	ana := subjectKey("ana", 0, 1)
	wantCode(t, r.Put(ana), tap.Unavailable, "keyring_full")
	wantCode(t, r.Put(LogSecret(1, "k")), tap.Unavailable, "keyring_full")
	disk.set(nil, nil)
	must(t, r.Put(ana))
	must(t, r.Close())
	if r := openRing(t, dir); r.Status().Secrets != blockSlots+1 || r.Status().Damaged != 0 {
		t.Errorf("%+v", r.Status())
	}
}

func TestTheFileCannotBeMade(t *testing.T) {
	disk := &faults{}
	disk.set(nil, errors.New("input/output error"))
	dir := t.TempDir()
	_, err := Open(Config{Dir: dir, Sealing: sealing, OpenFile: disk.open})
	wantCode(t, err, tap.Unavailable, "keyring_write")
	openRing(t, dir) // what was begun is no hindrance
}

// Destroying a key leaves nothing of it, wrapped or not.
func TestADestroyedKeyIsGone(t *testing.T) {
	dir := t.TempDir()
	r := openRing(t, dir)
	old, present, eva := subjectKey("ana", 0, 1), subjectKey("ana", 1, 60), subjectKey("eva", 0, 120)
	must(t, r.Put(old))
	must(t, r.Put(present))
	must(t, r.Put(eva))
	wrapped := contents(t, dir, SubjectsFile)[subjectSlot : 2*subjectSlot]
	r.Advance("main", "ana", 1)
	if r.Has(old.ID()) || !r.Destroyed(old.ID()) || !r.Has(present.ID()) || !r.Has(eva.ID()) || r.Held("main", "ana") != 1 {
		t.Error("not exactly the old key is gone")
	}
	_, _, err := r.Key("main", "ana", 0)
	wantCode(t, err, tap.Conflict, "generation_over")
	must(t, r.Flush())
	b := contents(t, dir, SubjectsFile)
	if bytes.Contains(b, wrapped[:nonceBytes]) || bytes.Contains(b, wrapped[nonceBytes:nonceBytes+48]) || bytes.Contains(b, wrapped[subjectSlot-32:]) || !allZero(b[subjectSlot:2*subjectSlot]) {
		t.Error("a part of the wrapped key is still there")
	}
	wantCode(t, r.Put(old), tap.Conflict, "generation_over")
	wantCode(t, r.Put(old, subjectKey("leo", 0, 7)), tap.Conflict, "generation_over")
	if r.Held("main", "leo") != 1 {
		t.Error("a key that is over kept another one out")
	}
	r.Advance("main", "ana", 1) // again, and backwards
	r.Advance("main", "ana", 0)
	_, _, err = r.Key("main", "ana", 0)
	wantCode(t, err, tap.Conflict, "generation_over")

	// Another state takes the place of this one: what it knows counts.
	r.Reset()
	must(t, r.Put(old))
	r.Advance("main", "ana", 2)
	if r.Held("main", "ana") != 0 {
		t.Error("keys of generations that are over")
	}
}

func TestAnOverwriteThatFailsIsTriedAgain(t *testing.T) {
	dir, disk := t.TempDir(), &faults{}
	r := openRingOn(t, dir, disk)
	ana := subjectKey("ana", 0, 1)
	must(t, r.Put(ana))
	disk.set(func(string, []byte) (int, error) { return 0, io.ErrShortWrite }, nil)
	r.Advance("main", "ana", 1)
	if err := r.Flush(); err == nil {
		t.Fatal("nothing was overwritten and nobody knows")
	}
	if s := r.Status(); s.Wiping != 1 || s.Err == nil || r.Has(ana.ID()) {
		t.Errorf("%+v", s)
	}
	if err := r.Close(); err == nil {
		t.Error("closed as if all were well")
	}
	// After a restart the key is there again, until the state says that it is over.
	disk.set(nil, nil)
	r = openRingOn(t, dir, disk)
	if !r.Has(ana.ID()) {
		t.Fatal("the test shows nothing")
	}
	r.Advance("main", "ana", 1)
	must(t, r.Flush())
	if s := r.Status(); s.Wiping != 0 || s.Err != nil || !allZero(contents(t, dir, SubjectsFile)[subjectSlot:]) {
		t.Errorf("%+v", s)
	}
}

// Whatever comes at the same time, no key of a generation that is over is left.
func TestPuttingAndErasingAtOnce(t *testing.T) {
	dir := t.TempDir()
	r := openRing(t, dir)
	var wg sync.WaitGroup
	for g := range uint64(8) {
		wg.Go(func() {
			for n := range 4 {
				err := r.Put(subjectKey("ana", g, byte(16*g)+byte(n)))
				if err != nil && !tap.IsKind(err, tap.Conflict) {
					t.Error(err)
				}
				if key, ok, err := r.Key("main", "ana", g); ok && err == nil && key.Generation != g {
					t.Error("another generation's key")
				}
			}
		})
		wg.Go(func() { r.Advance("main", "ana", g) })
		wg.Go(func() { r.Status(); r.Digest(); r.IDs(ID{}, 10) })
	}
	wg.Wait()
	r.Advance("main", "ana", 8)
	must(t, r.Flush())
	if b := contents(t, dir, SubjectsFile); r.Held("main", "ana") != 0 || !allZero(b[subjectSlot:]) {
		t.Error("a key is left")
	}
}

// The ring against a set, through restarts.
func TestRingModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "ring")
		must(t, err)
		r := openRingOn(t, dir, &faults{lazy: true})
		defer func() { _ = r.Close() }()
		type name struct {
			subject    string
			generation uint64
			fill       byte
		}
		model, over := map[name]bool{}, map[string]uint64{}
		draw := func() name {
			return name{
				rapid.SampledFrom([]string{"ana", "eva"}).Draw(rt, "subject"), rapid.Uint64Range(0, 3).Draw(rt, "generation"), rapid.Byte().Draw(rt, "fill"),
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				n := draw()
				err := r.Put(subjectKey(n.subject, n.generation, n.fill))
				if dead := n.generation < over[n.subject]; dead != tap.IsKind(err, tap.Conflict) || !dead && err != nil {
					rt.Fatalf("%v: %v", n, err)
				} else if !dead {
					model[n] = true
				}
			},
			"advance": func(rt *rapid.T) {
				n := draw()
				r.Advance("main", n.subject, n.generation)
				over[n.subject] = max(over[n.subject], n.generation)
				for k := range model {
					if k.subject == n.subject && k.generation < n.generation {
						delete(model, k)
					}
				}
			},
			"reopen": func(rt *rapid.T) {
				must(t, r.Close())
				r = openRingOn(t, dir, &faults{lazy: true})
				for subject, generation := range over {
					r.Advance("main", subject, generation)
				}
			},
			"": func(rt *rapid.T) {
				var ids []ID
				var xor ID
				for n := range model {
					id := subjectKey(n.subject, n.generation, n.fill).ID()
					ids = append(ids, id)
					for i := range xor {
						xor[i] ^= id[i]
					}
				}
				slices.SortFunc(ids, compareIDs)
				count, digest := r.Digest()
				if got := r.IDs(ID{}, 1000); !slices.Equal(got, ids) || count != len(ids) || digest != xor {
					rt.Fatalf("%d secrets, want %d", len(got), len(ids))
				}
			},
		})
	})
}
