package simd

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// hop is about how many neighbours one step of a graph search compares.
const hop = 16

var arenas = []struct {
	name string
	size int
}{{"32MiB", 32 << 20}, {"512MiB", 512 << 20}}

// eachArena runs a benchmark on every version, over random rows of each arena
// and width.
func eachArena(b *testing.B, widths []int, run func(b *testing.B, arena []byte, width int, order []uint32)) {
	for _, a := range arenas {
		arena := make([]byte, a.size)
		for i := range arena {
			arena[i] = byte(i * 31)
		}
		for _, width := range widths {
			order := make([]uint32, 1<<18)
			random := rand.New(rand.NewPCG(1, 2))
			for i := range order {
				order[i] = random.Uint32N(uint32(a.size / width))
			}
			for _, k := range variants() {
				b.Run(fmt.Sprintf("%s/%d/%s", a.name, width, k.name), func(b *testing.B) {
					use(b, k)
					run(b, arena, width, order)
				})
			}
		}
	}
}

// perRow reports the time of one row where a benchmark's loop does rows of width
// bytes.
func perRow(b *testing.B, rows, width int) {
	b.SetBytes(int64(rows * width))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rows), "ns/row")
}

func BenchmarkDots(b *testing.B) {
	eachArena(b, []int{128, 256, 1536}, func(b *testing.B, arena []byte, stride int, order []uint32) {
		query, out := make([]int8, stride), make([]int32, hop)
		for i := 0; b.Loop(); i += hop {
			at := i % len(order)
			Dots(out, query, arena, stride, order[at:at+hop])
		}
		perRow(b, hop, stride)
	})
}

func BenchmarkDotsLinear(b *testing.B) {
	eachArena(b, []int{128, 256, 1536}, func(b *testing.B, arena []byte, stride int, _ []uint32) {
		const n = 1000
		query, out := make([]int8, stride), make([]int32, n)
		last := len(arena)/stride - n
		first := 0
		for b.Loop() {
			DotsLinear(out, query, arena, stride, first, n)
			if first += n; first > last {
				first = 0
			}
		}
		perRow(b, n, stride)
	})
}

func BenchmarkHammings(b *testing.B) {
	eachArena(b, []int{16, 32, 192}, func(b *testing.B, arena []byte, width int, order []uint32) {
		codes := view[uint64](arena, len(arena)/8)
		query, out := make([]uint64, width/8), make([]uint32, hop)
		for i := 0; b.Loop(); i += hop {
			at := i % len(order)
			Hammings(out, query, codes, width/8, order[at:at+hop])
		}
		perRow(b, hop, width)
	})
}

func BenchmarkDot(b *testing.B) {
	eachArena(b, []int{4 * 100, 4 * 128, 4 * 1536}, func(b *testing.B, arena []byte, width int, order []uint32) {
		dim := width / 4
		floats := view[float32](arena, len(arena)/4)
		query := make([]float32, dim)
		var sum float32
		for i := 0; b.Loop(); i++ {
			at := int(order[i%len(order)]) * dim
			sum += Dot(query, floats[at:at+dim])
		}
		perRow(b, 1, width)
	})
}

// BenchmarkMemory is the yardstick: what reading one word of each cache line
// costs, in order and from random lines.
func BenchmarkMemory(b *testing.B) {
	for _, a := range arenas {
		words := make([]uint64, a.size/8)
		for i := range words {
			words[i] = uint64(i)
		}
		const line = cacheLine / 8
		b.Run(a.name+"/in-order", func(b *testing.B) {
			var s0, s1, s2, s3 uint64
			for b.Loop() {
				for i := 0; i < len(words); i += 4 * line {
					block := (*[4 * line]uint64)(words[i:])
					s0 += block[0]
					s1 += block[line]
					s2 += block[2*line]
					s3 += block[3*line]
				}
			}
			if s0+s1+s2+s3 == 0 {
				b.Error("sum of nothing")
			}
			perRow(b, len(words)/line, cacheLine)
		})
		b.Run(a.name+"/random", func(b *testing.B) {
			const n = 1 << 16
			order := make([]uint32, n)
			random := rand.New(rand.NewPCG(3, 4))
			for i := range order {
				order[i] = random.Uint32N(uint32(len(words)/line)) * line
			}
			var sum uint64
			for b.Loop() {
				for _, at := range order {
					sum += words[at]
				}
			}
			if sum == 0 {
				b.Error("sum of nothing")
			}
			perRow(b, n, cacheLine)
		})
	}
}
