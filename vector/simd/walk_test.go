package simd

import (
	"math"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// modelQuantize rounds with big numbers.
func modelQuantize(v []float32, perStep float32) (code []int8, square uint32) {
	for _, x := range v {
		product := math.Min(math.Max(float64(x*perStep), -127), 127)
		exact := new(big.Float).SetFloat64(product)
		whole, _ := exact.Int64() // towards zero
		rest := math.Abs(product - float64(whole))
		if rest > 0.5 || rest == 0.5 && whole%2 != 0 {
			whole += int64(math.Copysign(1, product))
		}
		code = append(code, int8(whole))
		square += uint32(whole * whole)
	}
	return code, square
}

func TestQuantize(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			n := rapid.IntRange(0, 100).Draw(t, "n")
			finite := rapid.OneOf(rapid.Float32Range(-130, 130), rapid.Float32Range(-1e17, 1e17), rapid.SampledFrom([]float32{0.5, 1.5, -2.5, 126.5, -126.5, 127.5}))
			v := rapid.SliceOfN(finite, n, n).Draw(t, "v")
			perStep := rapid.SampledFrom([]float32{1, 0.37, 1e32, 1e-30}).Draw(t, "per step")
			code := signed(bytesOf(t, n+rapid.IntRange(0, 70).Draw(t, "padding"), "code"))
			square := Quantize(code, v, perStep)
			want, wantSquare := modelQuantize(v, perStep)
			if !slices.Equal(code[:n], want) || square != wantSquare {
				t.Fatalf("%v*%v: %v of square %d, want %v of %d", v, perStep, code[:n], square, want, wantSquare)
			}
			if slices.ContainsFunc(code[n:], func(c int8) bool { return c != 0 }) {
				t.Fatal("the padding is not zero")
			}
		})
	})
}

// modelSigns is the transform by its definition: the sign of the product with the
// row of a Hadamard matrix. It takes whole numbers, which no order of additions
// rounds. Sums of zero have no sign: known has the bits of the others.
func modelSigns(flips []uint64, work []float32) (code, known []uint64) {
	code, known = make([]uint64, len(flips)), make([]uint64, len(flips))
	for i := range work {
		var sum float64
		for j, x := range work {
			if parity(uint(i&j)) != flips[j/64]>>(j%64)&1 {
				x = -x
			}
			sum += float64(x)
		}
		if sum < 0 {
			code[i/64] |= 1 << (i % 64)
		}
		if sum != 0 {
			known[i/64] |= 1 << (i % 64)
		}
	}
	return code, known
}

func parity(x uint) (odd uint64) {
	for ; x != 0; x &= x - 1 {
		odd ^= 1
	}
	return odd
}

func TestSigns(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			words := 1 << rapid.IntRange(0, 3).Draw(t, "log words")
			flips := wordsOf(bytesOf(t, 8*words, "flips"))
			work := make([]float32, 64*words)
			for i, b := range bytesOf(t, len(work), "work") {
				work[i] = float32(int8(b))
			}
			want, known := modelSigns(flips, work)
			code := wordsOf(bytesOf(t, 8*words, "code"))
			Signs(code, flips, work)
			for i := range code {
				if code[i]&known[i] != want[i] {
					t.Fatalf("%x, want %x of %x", code, want, known)
				}
			}
		})
	})
}

// Sums that are rounded are rounded alike by all versions, in work too.
func TestSignsRoundAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := 1 << rapid.IntRange(0, 6).Draw(t, "log words")
		flips := wordsOf(bytesOf(t, 8*words, "flips"))
		random := rapid.Uint64().Draw(t, "seed")
		v := make([]float32, 64*words)
		for i := range v {
			random = random*6364136223846793005 + 1442695040888963407
			v[i] = float32(int32(random>>32)) / (1 << 31)
		}
		code, work := make([]uint64, words), slices.Clone(v)
		signsPortable(code, flips, work)
		for _, k := range variants() {
			other, otherWork := make([]uint64, words), slices.Clone(v)
			k.signs(other, flips, otherWork)
			if !slices.Equal(other, code) || !slices.Equal(otherWork, work) {
				t.Fatalf("%s differs", k.name)
			}
		}
	})
}

// modelInsert sorts.
func modelInsert(list []uint64, limit int, entries []uint64) []uint64 {
	for _, e := range entries {
		list = slices.Sorted(slices.Values(append(slices.Clone(list), e)))
		list = list[:min(len(list), limit)]
	}
	return list
}

func TestInsert(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			number := rapid.OneOf(rapid.Uint64Range(0, 20), rapid.Uint64())
			limit := rapid.IntRange(1, 70).Draw(t, "limit")
			before := rapid.SliceOfN(number, 0, limit).Draw(t, "list")
			entries := rapid.SliceOfN(number, 0, 40).Draw(t, "entries")
			slices.Sort(before)
			list := append(make([]uint64, 0, limit+1), before...)[:limit+1]
			list[limit] = untouched
			n, first := Insert(list[:limit], len(before), entries)
			want := modelInsert(before, limit, entries)
			if !slices.Equal(list[:n], want) {
				t.Fatalf("%v, want %v", list[:n], want)
			}
			if list[limit] != untouched {
				t.Fatal("wrote behind the list")
			}
			// What lies before the first place is as it was.
			if first > limit || !slices.Equal(list[:min(first, len(before))], before[:min(first, len(before))]) {
				t.Fatalf("first %d: %v was %v", first, list[:n], before)
			}
			if first == limit && !slices.Equal(list[:n], before) {
				t.Fatalf("nothing was inserted, but %v was %v", list[:n], before)
			}
			if first < limit && first < len(before) && list[first] > before[first] {
				t.Fatalf("place %d has %d, had %d", first, list[first], before[first])
			}
		})
	})
}

func modelVisit(links []uint32, visited []byte, epoch byte) (rows []uint32) {
	for _, link := range links {
		if int64(link) < int64(len(visited)) && visited[link] != epoch {
			visited[link] = epoch
			rows = append(rows, link)
		}
	}
	return rows
}

func TestVisit(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			visited := bytesOf(t, rapid.IntRange(0, 50).Draw(t, "rows"), "visited")
			links := rapid.SliceOfN(rapid.OneOf(rapid.Uint32Range(0, 60), rapid.Uint32Range(0, 60), rapid.Uint32()), 0, 70).Draw(t, "links")
			epoch := rapid.Byte().Draw(t, "epoch")
			rows := make([]uint32, len(links)+1)
			rows[len(links)] = untouched
			wantVisited := slices.Clone(visited)
			want := modelVisit(links, wantVisited, epoch)
			n := Visit(rows[:len(links)], links, visited, epoch, nil, rapid.SampledFrom([]int{8, 64, 256}).Draw(t, "stride"))
			if !slices.Equal(rows[:n], want) || !slices.Equal(visited, wantVisited) {
				t.Fatalf("%v and %v, want %v and %v", rows[:n], visited, want, wantVisited)
			}
			if rows[len(links)] != untouched {
				t.Fatal("wrote behind the rows")
			}
		})
	})
}

func TestWalkPanics(t *testing.T) {
	words, floats := make([]uint64, 3), make([]float32, 192)
	for name, call := range map[string]func(){
		"code too short":    func() { Quantize(make([]int8, 3), floats[:4], 1) },
		"no signs":          func() { Signs(nil, nil, nil) },
		"three words":       func() { Signs(words, words, floats) },
		"code of signs":     func() { Signs(words[:1], words[:2], floats[:128]) },
		"work of signs":     func() { Signs(words[:2], words[:2], floats[:127]) },
		"too many signs":    func() { Signs(make([]uint64, 2*MaxWords), make([]uint64, 2*MaxWords), make([]float32, 128*MaxWords)) },
		"n negative":        func() { Insert(words, -1, words) },
		"n beyond the list": func() { Insert(words, 4, words) },
		"no list":           func() { Insert(nil, 0, words) },
		"rows of visit":     func() { Visit(make([]uint32, 1), make([]uint32, 2), nil, 1, nil, 64) },
	} {
		t.Run(name, func(t *testing.T) { panics(t, call) })
	}
}

func FuzzInsert(f *testing.F) {
	f.Add([]byte{9, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0}, uint8(9), []byte{1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, content []byte, limit uint8, more []byte) {
		before := wordsOf(content)
		slices.Sort(before)
		most := max(1, int(limit))
		before = before[:min(len(before), most)]
		entries := wordsOf(more)
		want := modelInsert(before, most, entries[:min(len(entries), 64)])
		for _, k := range variants() {
			use(t, k)
			list := append(make([]uint64, 0, most), before...)[:most]
			if n, _ := Insert(list, len(before), entries[:min(len(entries), 64)]); !slices.Equal(list[:n], want) {
				t.Fatalf("%s: %v, want %v", k.name, list[:n], want)
			}
		}
	})
}

func FuzzQuantize(f *testing.F) {
	f.Add([]byte{0, 0, 0x80, 0x3f, 1, 2, 3, 0x40}, uint16(45), uint32(0x42fe0000))
	f.Fuzz(func(t *testing.T, content []byte, length uint16, stepBits uint32) {
		perStep := math.Float32frombits(stepBits)
		if perStep != perStep || math.IsInf(float64(perStep), 0) {
			t.Skip()
		}
		v := make([]float32, int(length)%4160)
		for i, word := range wordsOf(repeat(content, 8*len(v))) {
			if x := math.Float32frombits(uint32(word)); x == x && !math.IsInf(float64(x), 0) {
				v[i] = x
			}
		}
		want, wantSquare := modelQuantize(v, perStep)
		for _, k := range variants() {
			use(t, k)
			code := make([]int8, len(v))
			if square := Quantize(code, v, perStep); !slices.Equal(code, want) || square != wantSquare {
				t.Fatalf("%s: %v of %d, want %v of %d", k.name, code, square, want, wantSquare)
			}
		}
	})
}
