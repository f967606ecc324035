//go:build race

package bookpi

// flipStride thins out the bytes that tests flip where each costs a verification of
// ML-DSA-44, which the race detector makes twelve times slower.
const flipStride = 16
