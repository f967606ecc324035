package vector

// The kernels keep eight running sums so that additions do not wait for each
// other, and add them up in a fixed order. float32(a*b) forbids fusing the
// multiplication into the addition, which some architectures would do and
// others not. Blocks are array pointers: one bounds check for eight products.

// block is the number of running sums.
const block = 8

// dot returns the inner product of two vectors of the same length.
func dot(a, b []float32) float32 {
	b = b[:len(a)]
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	i := 0
	for ; i+block <= len(a); i += block {
		x, y := (*[block]float32)(a[i:]), (*[block]float32)(b[i:])
		s0 += float32(x[0] * y[0])
		s1 += float32(x[1] * y[1])
		s2 += float32(x[2] * y[2])
		s3 += float32(x[3] * y[3])
		s4 += float32(x[4] * y[4])
		s5 += float32(x[5] * y[5])
		s6 += float32(x[6] * y[6])
		s7 += float32(x[7] * y[7])
	}
	for ; i < len(a); i++ {
		s0 += float32(a[i] * b[i])
	}
	return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
}

// squaredDistance returns the squared Euclidean distance of two vectors of the
// same length.
func squaredDistance(a, b []float32) float32 {
	b = b[:len(a)]
	var sum [block]float32
	i := 0
	for ; i+block <= len(a); i += block {
		x, y := (*[block]float32)(a[i:]), (*[block]float32)(b[i:])
		for lane := range sum {
			d := x[lane] - y[lane]
			sum[lane] += float32(d * d)
		}
	}
	for ; i < len(a); i++ {
		d := a[i] - b[i]
		sum[0] += float32(d * d)
	}
	return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]))
}
