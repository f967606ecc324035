package simd

import (
	"math"
	"math/bits"
	"sync/atomic"
	"unsafe"
)

func dotsPortable(out []int32, query []int8, codes []byte, rows []uint32, limit, _, _ int) int {
	for i, row := range rows {
		if int64(row) >= int64(limit) {
			return i
		}
		out[i] = dotRow(query, codes[int(row)*len(query):])
	}
	return len(rows)
}

func dotsLinearPortable(out []int32, query []int8, codes []byte) {
	for i := range out {
		out[i] = dotRow(query, codes[i*len(query):])
	}
}

// dotRow sums the leading len(query) bytes of row. Four sums keep additions from
// waiting for each other; an array pointer costs one bounds check for eight
// products.
func dotRow(query []int8, row []byte) int32 {
	const step = 8
	row = row[:len(query)]
	var s0, s1, s2, s3 int32
	for j := 0; j+step <= len(query); j += step {
		q, c := (*[step]int8)(query[j:]), (*[step]byte)(row[j:])
		s0 += int32(q[0])*(int32(c[0])-128) + int32(q[4])*(int32(c[4])-128)
		s1 += int32(q[1])*(int32(c[1])-128) + int32(q[5])*(int32(c[5])-128)
		s2 += int32(q[2])*(int32(c[2])-128) + int32(q[6])*(int32(c[6])-128)
		s3 += int32(q[3])*(int32(c[3])-128) + int32(q[7])*(int32(c[7])-128)
	}
	return s0 + s1 + s2 + s3
}

func hammingsPortable(out []uint32, query, codes []uint64, rows []uint32, limit, _, _ int) int {
	words := len(query)
	for i, row := range rows {
		if int64(row) >= int64(limit) {
			return i
		}
		code := codes[int(row)*words:][:words]
		differing := 0
		for j, word := range query {
			differing += bits.OnesCount64(word ^ code[j])
		}
		out[i] = uint32(differing)
	}
	return len(rows)
}

// quantizeLanes is what the versions of quantize take at once.
const quantizeLanes = 16

func quantizePortable(code []int8, v []float32, perStep float32) (square uint32) {
	code = code[:len(v)]
	for i, x := range v {
		q := int32(math.RoundToEven(float64(min(max(x*perStep, -127), 127))))
		code[i] = int8(q)
		square += uint32(q * q)
	}
	return square
}

func signsPortable(code, flips []uint64, work []float32) {
	const within = 8 // what registers hold
	for i := 0; i+within <= len(work); i += within {
		block, flip := (*[within]float32)(work[i:]), uint32(flips[i/64]>>(i%64))
		for j := range block {
			block[j] = math.Float32frombits(math.Float32bits(block[j]) ^ flip>>j<<31)
		}
		hadamardOfEight(block)
	}
	for half := within; half < len(work); half *= 2 {
		for at := 0; at < len(work); at += 2 * half {
			low, high := work[at:at+half], work[at+half:at+2*half]
			for i := 0; i+within <= len(low); i += within {
				a, b := (*[within]float32)(low[i:]), (*[within]float32)(high[i:])
				for j := range a {
					a[j], b[j] = a[j]+b[j], a[j]-b[j]
				}
			}
		}
	}
	for w := range code {
		var word uint64
		for b, x := range work[w*64:][:64] {
			word |= uint64(math.Float32bits(x)>>31) << b
		}
		code[w] = word
	}
}

// hadamardOfEight is the first three stages of the transform.
func hadamardOfEight(v *[8]float32) {
	a, b, c, d, e, f, g, h := v[0]+v[1], v[0]-v[1], v[2]+v[3], v[2]-v[3], v[4]+v[5], v[4]-v[5], v[6]+v[7], v[6]-v[7]
	a, b, c, d, e, f, g, h = a+c, b+d, a-c, b-d, e+g, f+h, e-g, f-h
	v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7] = a+e, b+f, c+g, d+h, a-e, b-f, c-g, d-h
}

// insertPortable looks for places without branches, which could not be foretold.
func insertPortable(list, entries []uint64, n int) (grown, first int) {
	first = len(list)
	for _, entry := range entries {
		at := 0
		for left := n; left > 0; {
			half := (left + 1) / 2
			_, less := bits.Sub64(list[at+half-1], entry, 0)
			at += half & -int(less)
			left -= half
		}
		if at == len(list) {
			continue
		}
		if n < len(list) {
			n++
		}
		copy(list[at+1:n], list[at:])
		list[at] = entry
		first = min(first, at)
	}
	return n, first
}

func visitPortable(rows, links []uint32, visited []byte, epoch byte, _ unsafe.Pointer, _ int) (n int) {
	for i := range links {
		link := atomic.LoadUint32(&links[i])
		if int64(link) >= int64(len(visited)) {
			continue
		}
		rows[n] = link
		_, fresh := bits.Sub32(0, uint32(visited[link]^epoch), 0)
		n += int(fresh)
		visited[link] = epoch
	}
	return n
}

// lanes is the number of running sums of Dot over its whole blocks, tailLanes
// the number over what is left.
const (
	lanes     = 32
	tailLanes = 4
)

// dotPortable keeps eight lanes in registers at a time and passes four times
// over the vectors. The conversion of each product to float32 forbids fusing it
// into the addition.
func dotPortable(a, b []float32) float32 {
	const group = 8
	whole := len(a) / lanes * lanes
	b = b[:len(a)]
	var sum [lanes]float32
	for lane := 0; lane < lanes && whole > 0; lane += group {
		var s0, s1, s2, s3, s4, s5, s6, s7 float32
		for j := lane; j < whole; j += lanes {
			x, y := (*[group]float32)(a[j:]), (*[group]float32)(b[j:])
			s0 += float32(x[0] * y[0])
			s1 += float32(x[1] * y[1])
			s2 += float32(x[2] * y[2])
			s3 += float32(x[3] * y[3])
			s4 += float32(x[4] * y[4])
			s5 += float32(x[5] * y[5])
			s6 += float32(x[6] * y[6])
			s7 += float32(x[7] * y[7])
		}
		*(*[group]float32)(sum[lane:]) = [group]float32{s0, s1, s2, s3, s4, s5, s6, s7}
	}
	for half := lanes / 2; half >= tailLanes; half /= 2 {
		for i := range half {
			sum[i] += sum[i+half]
		}
	}
	for j := whole; j < len(a); j++ {
		sum[j%tailLanes] += float32(a[j] * b[j])
	}
	return (sum[0] + sum[2]) + (sum[1] + sum[3])
}
