package static

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
	"tamv.internal/tamv/model"
)

func shipped(t testing.TB) *Embedder {
	t.Helper()
	e, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func embed(t testing.TB, e *Embedder, texts ...string) [][]float32 {
	t.Helper()
	rows, err := e.Embed(context.Background(), texts)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestWhatItIs(t *testing.T) {
	e := shipped(t)
	if !strings.HasPrefix(e.ID(), "static-enes-") || e.Dim() != 256 {
		t.Errorf("id %s, dim %d", e.ID(), e.Dim())
	}
	if !slices.Equal(e.Languages(), []string{"en", "es"}) {
		t.Errorf("languages %v", e.Languages())
	}
	if th := e.RelevanceThreshold(); th < 0.1 || th > 0.5 {
		t.Errorf("relevance threshold %g is not plausible", th)
	}
}

// Each text is closer to the one after it than to the third.
func TestMeaning(t *testing.T) {
	e := shipped(t)
	for _, c := range [][3]string{
		{"How do I verify the evidence bundle?", "verify evidence bundles", "the weather in the mountains"},
		{"How do I verify the evidence bundle?", "¿Cómo verifico el paquete de evidencia?", "¿Cómo bailo salsa en la fiesta?"},
		{"make a backup every night", "haz una copia de seguridad cada noche", "el perro corre por la playa"},
		{"a dog is running on the beach", "un perro corre por la playa", "the payment was split between the two funds"},
		{"¿Qué pasa si se pierde una máquina?", "si se pierde un nodo los demás eligen otro líder", "la receta lleva harina y sal"},
		{"verificación", "verificaciones", "naranja"},
		{"recieve a reciept", "receive a receipt", "open the window"},
		{"revoke an identity", "REVOKE an Identity!", "revoke a payment"},
	} {
		rows := embed(t, e, c[:]...)
		near, far := dot(rows[0], rows[1]), dot(rows[0], rows[2])
		if near <= far+0.1 {
			t.Errorf("%q is %.2f from %q and %.2f from %q", c[0], near, c[1], far, c[2])
		}
	}
}

func TestBadTexts(t *testing.T) {
	e := shipped(t)
	for _, c := range []struct {
		text string
		want error
	}{
		{"", model.ErrNoText},
		{" \n", model.ErrNoText},
		{"bad \xff", model.ErrInvalidText},
		{strings.Repeat("x", model.MaxText+1), model.ErrTooLong},
	} {
		rows, err := e.Embed(context.Background(), []string{"fine", c.text})
		if !errors.Is(err, c.want) || rows != nil {
			t.Errorf("%.10q: %v, %v; want %v", c.text, rows != nil, err, c.want)
		}
		if err != nil && c.text != "" && strings.Contains(err.Error(), c.text) {
			t.Errorf("the error quotes the text")
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := e.Embed(ctx, []string{"fine"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if rows, err := e.Embed(context.Background(), nil); err != nil || len(rows) != 0 {
		t.Errorf("no texts: %v, %v", rows, err)
	}
}

func TestRowsHaveLengthOne(t *testing.T) {
	e := shipped(t)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Filter(func(s string) bool { return strings.TrimSpace(s) != "" }).Draw(t, "text")
		rows, err := e.Embed(context.Background(), []string{text, text})
		if err != nil {
			t.Fatal(err)
		}
		if length := norm(rows[0]); math.Abs(length-1) > 1e-6 {
			t.Fatalf("length %v", length)
		}
		if !slices.Equal(rows[0], rows[1]) {
			t.Fatal("the same text gives different rows")
		}
	})
}

func TestRowsAreIndependentOfTheCompany(t *testing.T) {
	e := shipped(t)
	together := embed(t, e, "one thing", "another thing", "one thing")
	alone := embed(t, e, "one thing")
	if !slices.Equal(together[0], alone[0]) || !slices.Equal(together[2], alone[0]) {
		t.Error("a row depends on the other texts of the call")
	}
	_ = append(together[0], 1)
	if !slices.Equal(together[1], embed(t, e, "another thing")[0]) {
		t.Error("appending to a row reaches the next")
	}
}

func TestConcurrentUse(t *testing.T) {
	e := shipped(t)
	want := embed(t, e, "the same for everybody")[0]
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 100 {
				rows, err := e.Embed(context.Background(), []string{fmt.Sprint("noise ", i*j), "the same for everybody"})
				if err != nil || !slices.Equal(rows[1], want) {
					t.Error("rows differ between goroutines")
					return
				}
			}
		})
	}
	group.Wait()
}

func TestNormalizeAlwaysLeavesADirection(t *testing.T) {
	axis := []float32{1, 0, 0, 0}
	for name, v := range map[string][]float32{
		"zero":          {0, 0, 0, 0},
		"only common":   {5, 0, 0, 0},
		"mostly common": {5, 1e-4, 0, 0},
		"ordinary":      {5, 1, -2, 3},
	} {
		Normalize(v, [][]float32{axis})
		if length := norm(v); !(math.Abs(length-1) < 1e-6) {
			t.Errorf("%s: length %v of %v", name, length, v)
		}
		if name == "ordinary" && v[0] != 0 {
			t.Errorf("the common direction is still there: %v", v)
		}
	}
}

func tinyTable() Table {
	row := make([]float32, 16)
	row[3], row[5] = 2, -1
	common := make([]float32, 16)
	common[0] = 1
	return Table{
		Dim: 16, Threshold: 0.3, Unknown: 9, Common: [][]float32{common},
		Words: map[string][]float32{"word": row, "other": make([]float32, 16)},
	}
}

func TestPackIsDeterministicAndReadable(t *testing.T) {
	packed := Pack(tinyTable())
	if !slices.Equal(packed, Pack(tinyTable())) {
		t.Fatal("two packings differ")
	}
	e, err := New(packed)
	if err != nil {
		t.Fatal(err)
	}
	if e.Dim() != 16 || e.RelevanceThreshold() != 0.3 || len(e.row) != 2 {
		t.Errorf("dim %d, threshold %g, %d rows", e.Dim(), e.RelevanceThreshold(), len(e.row))
	}
	got := embed(t, e, "word")[0]
	if ratio := got[3] / got[5]; math.Abs(float64(ratio)+2) > 0.02 {
		t.Errorf("got %v", got)
	}
}

func TestNewRefusesDamage(t *testing.T) {
	packed := Pack(tinyTable())
	for size := range packed {
		if _, err := New(packed[:size]); !errors.Is(err, model.ErrWeights) {
			t.Fatalf("cut to %d bytes: %v", size, err)
		}
	}
	if _, err := New(append(slices.Clone(packed), 0)); !errors.Is(err, model.ErrWeights) {
		t.Errorf("a byte too many: %v", err)
	}
	// Header fields: dim, rows, common, threshold, unknown; then the direction.
	for _, at := range []int{0, 8, 12, 16, 23, 27, 31} {
		bad := slices.Clone(packed)
		bad[at] ^= 0xff
		if _, err := New(bad); !errors.Is(err, model.ErrWeights) {
			t.Errorf("byte %d flipped: %v", at, err)
		}
	}
	hashes := 8 + 20 + 16*4
	bad := slices.Clone(packed)
	copy(bad[hashes:hashes+4], packed[hashes+4:hashes+8])
	if _, err := New(bad); !errors.Is(err, model.ErrWeights) {
		t.Errorf("equal hashes: %v", err)
	}
	bad = slices.Clone(packed)
	clear(bad[hashes+8 : hashes+12])
	if _, err := New(bad); !errors.Is(err, model.ErrWeights) {
		t.Errorf("zero scale: %v", err)
	}
}

func FuzzNew(f *testing.F) {
	f.Add(Pack(tinyTable()))
	f.Add([]byte(magic))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, packed []byte) {
		e, err := New(packed)
		if err != nil {
			if !errors.Is(err, model.ErrWeights) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		rows, err := e.Embed(context.Background(), []string{"a word or two"})
		if err != nil || !(math.Abs(norm(rows[0])-1) < 1e-3) {
			t.Fatalf("row %v, %v", rows, err)
		}
	})
}

func BenchmarkEmbed(b *testing.B) {
	e := shipped(b)
	for name, text := range map[string]string{
		"known":   "how do I verify the evidence bundle of last week without network",
		"unknown": "quxly zorbat frimble dastrop wugglen blicket toma dax fep modi gazzer tulver",
	} {
		b.Run(name, func(b *testing.B) {
			texts := []string{text}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Embed(context.Background(), texts); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
