//go:build !linux

package vector

import (
	"errors"
	"os"
)

// offHeap is false: without reserved address space, arenas are Go slices that
// move when they grow.
const offHeap = false

func reserveRegion(int) ([]byte, error) { return nil, errors.ErrUnsupported }

func commitRegion([]byte, int, int) error { return errors.ErrUnsupported }

func shareRegion([]byte, *os.File, int, int) error { return errors.ErrUnsupported }

func loadRegion([]byte, *os.File, int64, int) error { return errors.ErrUnsupported }

func releaseRegion([]byte) {}
