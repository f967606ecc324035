package simd

import (
	"slices"
	"syscall"
	"testing"
)

// fenced returns size bytes that end (or begin, when first is true) where a page
// without any access begins (or ends): a read beyond them kills the test.
func fenced(t *testing.T, size int, first bool) []byte {
	t.Helper()
	page := syscall.Getpagesize()
	whole := (size + page - 1) / page * page
	area, err := syscall.Mmap(-1, 0, whole+2*page, syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Munmap(area); err != nil {
			t.Error(err)
		}
	})
	if err := syscall.Mprotect(area[page:page+whole], syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
		t.Fatal(err)
	}
	if first {
		return area[page : page+size]
	}
	return area[page+whole-size : page+whole]
}

// No version reads or writes outside the slices it is given, not even within
// the same cache line.
func TestGuardPages(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		for _, first := range []bool{false, true} {
			guardCodes(t, first)
			guardWords(t, first)
			guardFloats(t, first)
			guardQuery(t, first)
			guardWalk(t, first)
		}
	})
}

func guardCodes(t *testing.T, first bool) {
	const count = 7
	for _, stride := range []int{64, 128, 192, 256, 1536, 4160} {
		query := view[int8](fenced(t, stride, first), stride)
		codes := fenced(t, count*stride, first)
		for j := range query {
			query[j] = int8(j)
		}
		for i := range codes {
			codes[i] = byte(i * 7)
		}
		// Runs of one to seven rows end in the loops over four and over one.
		for n := 1; n <= count; n++ {
			out := view[int32](fenced(t, 4*n, first), n)
			rows := view[uint32](fenced(t, 4*n, first), n)
			for i := range rows {
				rows[i] = uint32(count - n + i)
			}
			Dots(out, query, codes, stride, rows)
			for i, row := range rows {
				if want := modelDot8(query, codes[int(row)*stride:]); out[i] != want {
					t.Errorf("stride %d: %d, want %d", stride, out[i], want)
				}
			}
			DotsLinear(out, query, codes, stride, count-n, n)
			DotsLinear(out, query, codes, stride, 0, n)
		}
	}
}

func guardWords(t *testing.T, first bool) {
	const count = 7
	for words := 1; words <= 26; words++ {
		query := view[uint64](fenced(t, 8*words, first), words)
		codes := view[uint64](fenced(t, 8*words*count, first), words*count)
		for i := range codes {
			codes[i] = uint64(i) * 0x9e3779b97f4a7c15
		}
		for n := 1; n <= count; n++ {
			out := view[uint32](fenced(t, 4*n, first), n)
			rows := view[uint32](fenced(t, 4*n, first), n)
			for i := range rows {
				rows[i] = uint32(count - n + i)
			}
			Hammings(out, query, codes, words, rows)
			for i, row := range rows {
				if want := modelHamming(query, codes[int(row)*words:][:words]); out[i] != want {
					t.Errorf("%d words: %d, want %d", words, out[i], want)
				}
			}
		}
	}
}

func guardFloats(t *testing.T, first bool) {
	for n := 1; n <= 100; n++ {
		a, b := view[float32](fenced(t, 4*n, first), n), view[float32](fenced(t, 4*n, first), n)
		for i := range a {
			a[i], b[i] = float32(i), 1/float32(i+1)
		}
		sameFloat(t, Dot(a, b), modelDot(a, b))
	}
}

func guardQuery(t *testing.T, first bool) {
	for n := 1; n <= 100; n++ {
		v := view[float32](fenced(t, 4*n, first), n)
		for i := range v {
			v[i] = float32(i) - 40.5
		}
		code := view[int8](fenced(t, n, first), n)
		Quantize(code, v, 1)
		if want, _ := modelQuantize(v, 1); !slices.Equal(code, want) {
			t.Errorf("%v, want %v", code, want)
		}
	}
	for words := 1; words <= 32; words *= 2 {
		flips, code := view[uint64](fenced(t, 8*words, first), words), view[uint64](fenced(t, 8*words, first), words)
		work := view[float32](fenced(t, 256*words, first), 64*words)
		work[1] = 1 // the signs of the second row of the matrix
		Signs(code, flips, work)
		for _, word := range code {
			if word != 0xaaaaaaaaaaaaaaaa {
				t.Errorf("%x", code)
			}
		}
	}
}

func guardWalk(t *testing.T, first bool) {
	for n := 1; n <= 40; n++ {
		list, entries := view[uint64](fenced(t, 8*n, first), n), view[uint64](fenced(t, 8*n, first), n)
		links, rows := view[uint32](fenced(t, 4*n, first), n), view[uint32](fenced(t, 4*n, first), n)
		for i := range entries {
			entries[i], links[i] = uint64(n-i), uint32(n-i-1)
		}
		for range 2 { // the second time, one half of the list is pushed out
			if grown, _ := Insert(list, 0, entries); grown != n || list[0] != 1 || list[n-1] != uint64(n) {
				t.Errorf("%v", list)
			}
			Insert(list, n, entries)
		}
		if got := Visit(rows, links, fenced(t, n, first), 1, nil, 64); got != n || !slices.Equal(rows, links) {
			t.Errorf("%v of %v", rows[:got], links)
		}
	}
}
