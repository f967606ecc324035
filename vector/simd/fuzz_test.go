package simd

import (
	"math"
	"testing"
)

func FuzzDots(f *testing.F) {
	f.Add([]byte{0x80, 0x7f}, []byte{0, 255}, uint8(1), []byte{0, 2, 1, 1, 0, 2, 2})
	f.Add([]byte{1}, []byte{128}, uint8(64), []byte{})
	f.Fuzz(func(t *testing.T, queryBytes, codeBytes []byte, blocks uint8, rowBytes []byte) {
		const count = 4
		stride := Block * (1 + int(blocks)%65)
		query := signed(repeat(queryBytes, stride))
		codes := repeat(codeBytes, count*stride)
		rows := make([]uint32, len(rowBytes))
		for i, b := range rowBytes {
			rows[i] = uint32(b) % count
		}
		out := make([]int32, max(len(rows), count))
		for _, k := range variants() {
			use(t, k)
			Dots(out, query, codes, stride, rows)
			for i, row := range rows {
				if want := modelDot8(query, codes[int(row)*stride:]); out[i] != want {
					t.Fatalf("%s: row %d of %v: %d, want %d", k.name, i, rows, out[i], want)
				}
			}
			DotsLinear(out, query, codes, stride, 0, count)
			for row := range count {
				if want := modelDot8(query, codes[row*stride:]); out[row] != want {
					t.Fatalf("%s: linear row %d: %d, want %d", k.name, row, out[row], want)
				}
			}
		}
	})
}

func FuzzHammings(f *testing.F) {
	f.Add([]byte{0x55}, []byte{0xaa, 1}, uint8(2), []byte{0, 1, 2, 3, 0})
	f.Fuzz(func(t *testing.T, queryBytes, codeBytes []byte, length uint8, rowBytes []byte) {
		const count = 4
		words := 1 + int(length)
		query := wordsOf(repeat(queryBytes, 8*words))
		codes := wordsOf(repeat(codeBytes, 8*words*count))
		rows := make([]uint32, len(rowBytes))
		for i, b := range rowBytes {
			rows[i] = uint32(b) % count
		}
		out := make([]uint32, len(rows))
		for _, k := range variants() {
			use(t, k)
			Hammings(out, query, codes, words, rows)
			for i, row := range rows {
				if want := modelHamming(query, codes[int(row)*words:][:words]); out[i] != want {
					t.Fatalf("%s: row %d of %v: %d, want %d", k.name, i, rows, out[i], want)
				}
			}
		}
	})
}

func FuzzDot(f *testing.F) {
	f.Add([]byte{0, 0, 0x80, 0x3f, 1, 2, 3, 0x40}, uint16(45))
	f.Fuzz(func(t *testing.T, content []byte, length uint16) {
		n := int(length) % 4160
		words := wordsOf(repeat(content, 8*n))
		a, b := make([]float32, n), make([]float32, n)
		for i, word := range words {
			a[i], b[i] = math.Float32frombits(uint32(word)), math.Float32frombits(uint32(word>>32))
		}
		want := modelDot(a, b)
		for _, k := range variants() {
			use(t, k)
			sameFloat(t, Dot(a, b), want)
		}
	})
}

func repeat(pattern []byte, length int) []byte {
	content := make([]byte, length)
	for i := range content {
		if len(pattern) > 0 {
			content[i] = pattern[i%len(pattern)] + byte(i/len(pattern))
		}
	}
	return content
}
