package simd

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// variants returns the versions this processor can run, the fastest last. Each
// differs from the one before in the loops that a further instruction set
// improves.
func variants() []kernels {
	all := []kernels{portable}
	x86 := &cpu.X86
	if !x86.HasAVX2 {
		return all
	}
	k := kernels{
		name:       "avx2",
		dots:       dotsAVX2,
		dotsLinear: dotsLinearAVX2,
		hammings:   hammingsAVX2,
		dot:        dotAVX2,
		quantize:   quantizeAVX2,
		signs:      signsAVX2,
		insert:     insertPortable,
		visit:      visitAMD64,
	}
	all = append(all, k)
	if !x86.HasAVX512F {
		return all
	}
	k.name, k.dot, k.quantize, k.signs, k.insert = "avx512f", dotAVX512, quantizeAVX512, signsAVX512, insertAVX512
	if x86.HasAVX512VNNI {
		k.name, k.dots, k.dotsLinear = k.name+"+avx512vnni", dotsAVX512, dotsLinearAVX512
	}
	if x86.HasAVX512VPOPCNTDQ {
		k.name, k.hammings = k.name+"+avx512vpopcntdq", hammingsAVX512
	}
	return append(all, k)
}

//go:noescape
func dotsAVX2(out []int32, query []int8, codes []byte, rows []uint32, limit, ahead, lines int) (done int)

//go:noescape
func dotsAVX512(out []int32, query []int8, codes []byte, rows []uint32, limit, ahead, lines int) (done int)

//go:noescape
func dotsLinearAVX2(out []int32, query []int8, codes []byte)

//go:noescape
func dotsLinearAVX512(out []int32, query []int8, codes []byte)

//go:noescape
func hammingsAVX2(out []uint32, query, codes []uint64, rows []uint32, limit, ahead, lines int) (done int)

//go:noescape
func hammingsAVX512(out []uint32, query, codes []uint64, rows []uint32, limit, ahead, lines int) (done int)

//go:noescape
func dotAVX2(a, b []float32) float32

//go:noescape
func dotAVX512(a, b []float32) float32

//go:noescape
func quantizeAVX2(code []int8, v []float32, perStep float32) (square uint32)

//go:noescape
func signsAVX2(code, flips []uint64, work []float32)

//go:noescape
func quantizeAVX512(code []int8, v []float32, perStep float32) (square uint32)

//go:noescape
func signsAVX512(code, flips []uint64, work []float32)

//go:noescape
func insertAVX512(list, entries []uint64, n int) (grown, first int)

//go:noescape
func visitAMD64(rows, links []uint32, visited []byte, epoch byte, codes unsafe.Pointer, stride int) (n int)

//go:noescape
func prefetch(p unsafe.Pointer)
