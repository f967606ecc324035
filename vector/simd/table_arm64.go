package simd

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// variants returns the versions this processor can run, the fastest last. Every
// arm64 processor that Go supports has NEON.
func variants() []kernels {
	k := kernels{
		name:       "neon",
		dots:       dotsNEON,
		dotsLinear: dotsLinearNEON,
		hammings:   hammingsNEON,
		dot:        dotNEON,
		quantize:   quantizePortable,
		signs:      signsPortable,
		insert:     insertPortable,
		visit:      visitPortable,
	}
	all := []kernels{portable, k}
	if cpu.ARM64.HasASIMDDP {
		k.name, k.dots, k.dotsLinear = "neon+dotprod", dotsDotProd, dotsLinearDotProd
		all = append(all, k)
	}
	return all
}

//go:noescape
func dotsNEON(out []int32, query []int8, codes []byte, rows []uint32, limit, ahead, lines int) (done int)

//go:noescape
func dotsDotProd(out []int32, query []int8, codes []byte, rows []uint32, limit, ahead, lines int) (done int)

//go:noescape
func dotsLinearNEON(out []int32, query []int8, codes []byte)

//go:noescape
func dotsLinearDotProd(out []int32, query []int8, codes []byte)

//go:noescape
func hammingsNEON(out []uint32, query, codes []uint64, rows []uint32, limit, ahead, lines int) (done int)

//go:noescape
func dotNEON(a, b []float32) float32

//go:noescape
func prefetch(p unsafe.Pointer)
