//go:build !race

package vector

const racing = false
