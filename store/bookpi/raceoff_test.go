//go:build !race

package bookpi

// flipStride is 1: every byte is flipped.
const flipStride = 1
