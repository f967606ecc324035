package simd

import "testing"

func TestDotsSmall(t *testing.T) {
	const stride = Block
	query := make([]int8, stride)
	query[0], query[1], query[63] = -128, 127, 3
	codes := make([]byte, 3*stride)
	for i := range codes {
		codes[i] = 128
	}
	codes[0], codes[2*stride+1], codes[2*stride+63] = 0, 255, 130
	out := make([]int32, 4)
	Dots(out, query, codes, stride, []uint32{2, 0, 1, 0})
	want := [4]int32{127*127 + 3*2, 128 * 128, 0, 128 * 128}
	if [4]int32(out) != want {
		t.Errorf("Dots = %v, want %v", out, want)
	}
	DotsLinear(out[:2], query, codes, stride, 1, 2)
	if out[0] != want[2] || out[1] != want[0] {
		t.Errorf("DotsLinear = %v", out[:2])
	}
}
