package simd

import (
	"math"
	"math/bits"
	"strings"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// eachVariant runs a test on every version this processor has.
func eachVariant(t *testing.T, test func(t *testing.T)) {
	for _, k := range variants() {
		t.Run(k.name, func(t *testing.T) {
			use(t, k)
			test(t)
		})
	}
}

// use makes k the active version until the test ends.
func use(t testing.TB, k kernels) {
	before := active
	active = k
	t.Cleanup(func() { active = before })
}

// The models below follow the documentation literally and share no code with
// any version.

func modelDot8(query []int8, row []byte) int32 {
	var sum int64
	for j := range query {
		sum += int64(query[j]) * (int64(row[j]) - 128)
	}
	if int64(int32(sum)) != sum {
		panic("the sum leaves an int32")
	}
	return int32(sum)
}

func modelHamming(query, row []uint64) (differing uint32) {
	for j := range query {
		for x := query[j] ^ row[j]; x != 0; x &= x - 1 {
			differing++
		}
	}
	return differing
}

func modelDot(a, b []float32) float32 {
	lane := map[int]float32{}
	whole := len(a) - len(a)%32
	for j := range whole {
		lane[j%32] += float32(a[j] * b[j])
	}
	for _, half := range []int{16, 8, 4} {
		for i := range half {
			lane[i] += lane[i+half]
		}
	}
	for j := whole; j < len(a); j++ {
		lane[j%4] += float32(a[j] * b[j])
	}
	return (lane[0] + lane[2]) + (lane[1] + lane[3])
}

// bytesOf draws the contents of a slice of a given length: noise, the extremes
// or a mixture, which random bytes alone would not reach.
func bytesOf(t *rapid.T, length int, label string) []byte {
	random := rapid.Uint64().Draw(t, label+" seed")
	extremes := rapid.SampledFrom([][]byte{nil, {0}, {0xff}, {0x80}, {0x7f}, {0, 0xff}, {0x7f, 0x80, 0x81}}).Draw(t, label+" extremes")
	content := make([]byte, length)
	for i := range content {
		random = random*6364136223846793005 + 1442695040888963407
		content[i] = byte(random >> 56)
		if len(extremes) > 0 {
			content[i] = extremes[int(random>>32)%len(extremes)]
		}
	}
	return content
}

// shifted is a copy of content at an address that is not aligned.
func shifted(content []byte, by int) []byte {
	return append(make([]byte, by, by+len(content)), content...)[by:]
}

func signed(content []byte) []int8 {
	s := make([]int8, len(content))
	for i, b := range content {
		s[i] = int8(b)
	}
	return s
}

func wordsOf(content []byte) []uint64 {
	words := make([]uint64, len(content)/8)
	for i := range words {
		for _, b := range content[8*i : 8*i+8] {
			words[i] = words[i]<<8 | uint64(b)
		}
	}
	return words
}

// view reads the bytes as n elements of another type.
func view[T any](b []byte, n int) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

const untouched = 0x5a5a5a5a

// Dots and DotsLinear return the documented sums: every stride, any alignment,
// any order of rows, repeats, and nothing written behind the last result.
func TestDots(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			stride := Block * rapid.IntRange(1, 65).Draw(t, "blocks")
			count := rapid.IntRange(1, 20).Draw(t, "count")
			query := signed(shifted(bytesOf(t, stride, "query"), rapid.IntRange(0, 63).Draw(t, "query shift")))
			codes := shifted(bytesOf(t, stride*count, "codes"), rapid.IntRange(0, 63).Draw(t, "codes shift"))
			rows := rapid.SliceOfN(rapid.Uint32Range(0, uint32(count-1)), 0, 40).Draw(t, "rows")
			out := make([]int32, len(rows)+1)
			out[len(rows)] = untouched
			Dots(out, query, codes, stride, rows)
			for i, row := range rows {
				if want := modelDot8(query, codes[int(row)*stride:]); out[i] != want {
					t.Fatalf("row %d of %v: %d, want %d", i, rows, out[i], want)
				}
			}
			if out[len(rows)] != untouched {
				t.Fatal("wrote behind the last result")
			}

			first := rapid.IntRange(0, count).Draw(t, "first")
			n := rapid.IntRange(0, count-first).Draw(t, "n")
			linear := make([]int32, n+1)
			linear[n] = untouched
			DotsLinear(linear, query, codes, stride, first, n)
			for i := range n {
				if want := modelDot8(query, codes[(first+i)*stride:]); linear[i] != want {
					t.Fatalf("linear row %d+%d: %d, want %d", first, i, linear[i], want)
				}
			}
			if linear[n] != untouched {
				t.Fatal("linear wrote behind the last result")
			}
		})
	})
}

// Every stride once, at the values that make the largest and smallest sums.
func TestDotsExtremes(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		for stride := Block; stride <= 4160; stride += Block {
			testExtremes(t, stride)
		}
		testExtremes(t, MaxStride)
	})
}

func testExtremes(t *testing.T, stride int) {
	t.Helper()
	const count = 6
	codes := make([]byte, count*stride)
	for i := range codes {
		codes[i] = []byte{0, 255, 128, 127, 1, 254}[i/stride]
	}
	query := make([]int8, stride)
	out := make([]int32, count)
	for _, q := range []int8{-128, 127, -1} {
		for j := range query {
			query[j] = q
		}
		Dots(out, query, codes, stride, []uint32{5, 4, 3, 2, 1, 0})
		for i := range out {
			row := count - 1 - i
			if want := modelDot8(query, codes[row*stride:]); out[i] != want {
				t.Errorf("stride %d: %d times code %d: %d, want %d", stride, q, codes[row*stride], out[i], want)
			}
		}
		DotsLinear(out, query, codes, stride, 0, count)
		for row := range out {
			if want := modelDot8(query, codes[row*stride:]); out[row] != want {
				t.Errorf("stride %d: %d times code %d: linear %d, want %d", stride, q, codes[row*stride], out[row], want)
			}
		}
	}
}

func TestHammings(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			words := rapid.IntRange(1, 70).Draw(t, "words")
			count := rapid.IntRange(1, 20).Draw(t, "count")
			query := wordsOf(bytesOf(t, 8*words, "query"))
			skip := rapid.IntRange(0, 7).Draw(t, "shift")
			codes := wordsOf(bytesOf(t, 8*(words*count+skip), "codes"))[skip:]
			rows := rapid.SliceOfN(rapid.Uint32Range(0, uint32(count-1)), 0, 40).Draw(t, "rows")
			out := make([]uint32, len(rows)+1)
			out[len(rows)] = untouched
			Hammings(out, query, codes, words, rows)
			for i, row := range rows {
				if want := modelHamming(query, codes[int(row)*words:][:words]); out[i] != want {
					t.Fatalf("row %d of %v: %d, want %d", i, rows, out[i], want)
				}
			}
			if out[len(rows)] != untouched {
				t.Fatal("wrote behind the last result")
			}
		})
	})
}

func TestHammingsExtremes(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		for words := 1; words <= MaxWords; words = words*5/4 + 1 {
			query, codes := make([]uint64, words), make([]uint64, 5*words)
			for i := range codes {
				codes[i] = math.MaxUint64
			}
			codes[3*words] = 0
			out := make([]uint32, 5)
			Hammings(out, query, codes, words, []uint32{0, 3, 4, 3, 1})
			all := uint32(64 * words)
			if want := [5]uint32{all, all - 64, all, all - 64, all}; [5]uint32(out) != want {
				t.Errorf("%d words: %v, want %v", words, out, want)
			}
		}
	})
}

// Dot rounds like its documentation says, to the bit.
func TestDot(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			n := rapid.IntRange(0, 300).Draw(t, "n")
			a := rapid.SliceOfN(float32s(), n, n).Draw(t, "a")
			b := rapid.SliceOfN(float32s(), n, n).Draw(t, "b")
			sameFloat(t, Dot(a, b), modelDot(a, b))
		})
	})
}

// float32s draws numbers of like size, where the order of additions shows, and
// now and then any number at all.
func float32s() *rapid.Generator[float32] {
	like := rapid.Float32Range(-1, 1)
	return rapid.OneOf(like, like, like, like, rapid.Float32(), rapid.SampledFrom([]float32{
		0, float32(math.Copysign(0, -1)), 1, math.SmallestNonzeroFloat32, 1e-30, math.MaxFloat32,
		float32(math.Inf(1)), float32(math.NaN()),
	}))
}

func sameFloat(t interface {
	Helper()
	Fatalf(string, ...any)
}, got, want float32,
) {
	t.Helper()
	if got != got && want != want {
		return
	}
	if math.Float32bits(got) != math.Float32bits(want) {
		t.Fatalf("Dot = %g (%#x), want %g (%#x)", got, math.Float32bits(got), want, math.Float32bits(want))
	}
}

// Every length up to 4,160 of random numbers; one fused multiply-add in the
// place of two roundings would show.
func TestDotLengths(t *testing.T) {
	random := uint64(1)
	a, b := make([]float32, 4161), make([]float32, 4161)
	for i := range a {
		random = random*6364136223846793005 + 1442695040888963407
		a[i] = float32(int32(random>>32)) / (1 << 31)
		b[i] = float32(int32(bits.Reverse64(random))) / (1 << 31)
	}
	eachVariant(t, func(t *testing.T) {
		for n := range 4160 {
			sameFloat(t, Dot(a[1:1+n], b[:n]), modelDot(a[1:1+n], b[:n]))
		}
	})
}

// The zero of an empty or cancelled sum is +0.
func TestDotZero(t *testing.T) {
	negative := float32(math.Copysign(0, -1))
	eachVariant(t, func(t *testing.T) {
		for n := range 70 {
			a, b := make([]float32, n), make([]float32, n)
			for i := range a {
				a[i], b[i] = negative, 1
			}
			sameFloat(t, Dot(a, b), 0)
		}
	})
}

func TestPanics(t *testing.T) {
	query, codes, out := make([]int8, 64), make([]byte, 640), make([]int32, 64)
	words := make([]uint64, 100)
	counts := make([]uint32, 64)
	for name, call := range map[string]func(){
		"query and stride":   func() { Dots(out, query, codes, 128, nil) },
		"stride not a block": func() { Dots(out, query[:32], codes, 32, nil) },
		"stride zero":        func() { Dots(out, nil, codes, 0, nil) },
		"stride too long":    func() { Dots(out, make([]int8, MaxStride+64), codes, MaxStride+64, nil) },
		"out too short":      func() { Dots(out[:1], query, codes, 64, make([]uint32, 2)) },
		"row out of range":   func() { Dots(out, query, codes, 64, []uint32{10}) },
		"partial last row":   func() { Dots(out, query, codes[:639], 64, []uint32{0, 1, 2, 3, 4, 9}) },
		"row far out":        func() { Dots(out, query, codes, 64, []uint32{1, 2, 3, math.MaxUint32, 4, 5}) },
		"no rows":            func() { Dots(out, query, nil, 64, []uint32{0}) },
		"linear beyond":      func() { DotsLinear(out, query, codes, 64, 8, 3) },
		"linear negative":    func() { DotsLinear(out, query, codes, 64, -1, 3) },
		"linear n negative":  func() { DotsLinear(out, query, codes, 64, 1, -1) },
		"linear overflow":    func() { DotsLinear(out, query, codes, 64, math.MaxInt, math.MaxInt) },
		"linear out short":   func() { DotsLinear(out[:2], query, codes, 64, 0, 3) },
		"words and query":    func() { Hammings(counts, words[:3], words, 4, nil) },
		"words zero":         func() { Hammings(counts, nil, words, 0, nil) },
		"words too many":     func() { Hammings(counts, make([]uint64, MaxWords+1), words, MaxWords+1, nil) },
		"hamming row":        func() { Hammings(counts, words[:3], words, 3, []uint32{1, 33}) },
		"hamming fourth row": func() { Hammings(counts, words[:3], words, 3, []uint32{1, 2, 32, 1 << 31, 0}) },
		"hamming out":        func() { Hammings(counts[:1], words[:3], words, 3, []uint32{1, 3}) },
		"dot lengths":        func() { Dot(make([]float32, 2), make([]float32, 3)) },
	} {
		t.Run(name, func(t *testing.T) { panics(t, call) })
	}
}

// panics makes sure that every version refuses a call.
func panics(t *testing.T, call func()) {
	eachVariant(t, func(t *testing.T) {
		defer func() {
			if text, ok := recover().(string); !ok || !strings.HasPrefix(text, "simd: ") {
				t.Errorf("panic %v, want one of this package", text)
			}
		}()
		call()
	})
}

func TestNoRows(t *testing.T) {
	eachVariant(t, func(*testing.T) {
		Dots(nil, make([]int8, 64), nil, 64, nil)
		DotsLinear(nil, make([]int8, 64), nil, 64, 0, 0)
		Hammings(nil, make([]uint64, 1), nil, 1, nil)
		Prefetch([]float32(nil))
		Prefetch(make([]uint32, 1))
	})
}

func TestNoAllocations(t *testing.T) {
	query, codes, out := make([]int8, 128), make([]byte, 1280), make([]int32, 8)
	rows, floats := []uint32{9, 3, 4, 1, 0}, make([]float32, 100)
	words, counts := make([]uint64, 20), make([]uint32, 8)
	if n := testing.AllocsPerRun(100, func() {
		Dots(out, query, codes, 128, rows)
		DotsLinear(out, query, codes, 128, 2, 8)
		Hammings(counts, words[:2], words, 2, rows)
		Dot(floats, floats)
		Prefetch(rows)
		Quantize(query, floats, 3)
		Signs(words[:1], words[1:2], floats[:64])
		Insert(words[2:], 0, words[:2])
		Visit(rows, rows, codes, 1, codes, 128)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestFeatures(t *testing.T) {
	all := variants()
	if all[0].name != "portable" || Features() != all[len(all)-1].name {
		t.Errorf("Features() = %q of %d versions", Features(), len(all))
	}
	t.Log(Features())
}
