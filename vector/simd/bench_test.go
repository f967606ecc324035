package simd

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// hop is about how many neighbours one step of a graph search compares.
const hop = 16

var arenas = []struct {
	name string
	size int
}{{"256KiB", 256 << 10}, {"32MiB", 32 << 20}, {"512MiB", 512 << 20}}

// largest is the memory of every arena.
var largest = sync.OnceValue(func() []byte {
	arena := make([]byte, arenas[len(arenas)-1].size)
	for i := range arena {
		arena[i] = byte(i * 31)
	}
	return arena
})

// randomRows goes round a list of rows, so that a short run does not find the
// rows of the one before in the cache.
type randomRows struct {
	order []uint32
	at    int
}

func (r *randomRows) next(n int) []uint32 {
	if r.at += n; r.at+n > len(r.order) {
		r.at = 0
	}
	return r.order[r.at : r.at+n]
}

// eachArena runs a benchmark on every version, over random rows of each arena
// and width.
func eachArena(b *testing.B, widths []int, run func(b *testing.B, arena []byte, width int, rows *randomRows)) {
	random := rand.New(rand.NewPCG(1, uint64(b.N)))
	for _, a := range arenas {
		for _, width := range widths {
			rows := &randomRows{order: make([]uint32, 1<<20)}
			for i := range rows.order {
				rows.order[i] = random.Uint32N(uint32(a.size / width))
			}
			for _, k := range variants() {
				b.Run(fmt.Sprintf("%s/%d/%s", a.name, width, k.name), func(b *testing.B) {
					use(b, k)
					run(b, largest()[:a.size], width, rows)
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
	eachArena(b, []int{128, 256, 1536}, func(b *testing.B, arena []byte, stride int, rows *randomRows) {
		query, out := make([]int8, stride), make([]int32, hop)
		for b.Loop() {
			Dots(out, query, arena, stride, rows.next(hop))
		}
		perRow(b, hop, stride)
	})
}

func BenchmarkDotsLinear(b *testing.B) {
	eachArena(b, []int{128, 256, 1536}, func(b *testing.B, arena []byte, stride int, _ *randomRows) {
		n := min(1024, len(arena)/stride)
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
	eachArena(b, []int{16, 32, 192}, func(b *testing.B, arena []byte, width int, rows *randomRows) {
		codes := view[uint64](arena, len(arena)/8)
		query, out := make([]uint64, width/8), make([]uint32, hop)
		for b.Loop() {
			Hammings(out, query, codes, width/8, rows.next(hop))
		}
		perRow(b, hop, width)
	})
}

func BenchmarkDot(b *testing.B) {
	eachArena(b, []int{4 * 100, 4 * 128, 4 * 1536}, func(b *testing.B, arena []byte, width int, rows *randomRows) {
		dim := width / 4
		floats := view[float32](arena, len(arena)/4)
		query := make([]float32, dim)
		var sum float32
		for b.Loop() {
			at := int(rows.next(1)[0]) * dim
			sum += Dot(query, floats[at:at+dim])
		}
		perRow(b, 1, width)
	})
}

// What a query of 1,536 dimensions costs before its search.
func BenchmarkQuery(b *testing.B) {
	v, code := make([]float32, 1536), make([]int8, 1536)
	signs, flips, work := make([]uint64, 32), make([]uint64, 32), make([]float32, 2048)
	for _, k := range variants() {
		b.Run("quantize/"+k.name, func(b *testing.B) {
			use(b, k)
			for b.Loop() {
				Quantize(code, v, 3)
			}
		})
		b.Run("signs/"+k.name, func(b *testing.B) {
			use(b, k)
			for b.Loop() {
				Signs(signs, flips, work)
			}
		})
	}
}

// What a hop of a walk does beside measuring: neighbours half of which were visited,
// and a list of candidates that few of them enter.
func BenchmarkHop(b *testing.B) {
	visited := make([]byte, 100_000)
	rows, links := make([]uint32, hop), make([]uint32, hop)
	list, entries := make([]uint64, 64), make([]uint64, 4)
	random := rand.New(rand.NewPCG(5, 6))
	for i := range links {
		links[i] = random.Uint32N(uint32(len(visited)))
	}
	for _, k := range variants() {
		b.Run("visit/"+k.name, func(b *testing.B) {
			use(b, k)
			for epoch := byte(0); b.Loop(); epoch++ {
				for _, link := range links[:hop/2] {
					visited[link] = epoch
				}
				Visit(rows, links, visited, epoch, nil, 0)
			}
		})
		b.Run("insert/"+k.name, func(b *testing.B) {
			use(b, k)
			n := 0
			for b.Loop() {
				for i := range entries {
					entries[i] = random.Uint64()
				}
				if n, _ = Insert(list, n, entries); n == len(list) && list[n-1] < 1<<60 {
					n = 0 // no random number enters any more
				}
			}
		})
	}
}

// BenchmarkMemory is the yardstick: what reading one word of each cache line
// costs, in order and from random lines.
func BenchmarkMemory(b *testing.B) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, a := range arenas {
		words := view[uint64](largest(), a.size/8)
		const line = cacheLine / 8
		b.Run(a.name+"/in-order", func(b *testing.B) {
			n := min(1<<14, len(words)/line)
			var s0, s1, s2, s3 uint64
			from := 0
			for b.Loop() {
				if from += n * line; from >= len(words) {
					from = 0
				}
				for i := from; i < from+n*line; i += 4 * line {
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
			perRow(b, n, cacheLine)
		})
		b.Run(a.name+"/random", func(b *testing.B) {
			const n = 1 << 10
			lines := &randomRows{order: make([]uint32, 1<<20)}
			for i := range lines.order {
				lines.order[i] = random.Uint32N(uint32(len(words) / line))
			}
			var sum uint64
			for b.Loop() {
				for _, at := range lines.next(n) {
					sum += words[at*line]
				}
			}
			if sum == 0 {
				b.Error("sum of nothing")
			}
			perRow(b, n, cacheLine)
		})
	}
}
