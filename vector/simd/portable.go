package simd

import "math/bits"

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
