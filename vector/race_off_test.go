//go:build !race

package vector

const racing = false

// sized returns the first of two sizes.
func sized(whole, _ int) int { return whole }
