package simd

// variants returns the versions this processor can run, the fastest last.
func variants() []kernels { return []kernels{portable} }

// Prefetch asks the processor to bring the first cache lines of words, at most
// four, into its cache, for use shortly. It never faults and changes no result.
func Prefetch(words []uint32) {}
