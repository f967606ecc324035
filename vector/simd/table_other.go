//go:build !amd64 && !arm64

package simd

import "unsafe"

// variants returns the versions this processor can run, the fastest last.
func variants() []kernels { return []kernels{portable} }

func prefetch(unsafe.Pointer) {}
