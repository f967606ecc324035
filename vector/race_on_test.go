//go:build race

package vector

// racing says that the race detector slows everything down some ten times: tests
// of numbers, which it has nothing to say about, then do less.
const racing = true

// sized returns the second of two sizes, the smallest that takes every path.
func sized(_, racing int) int { return racing }
