//go:build !linux

package disk

import (
	"errors"
	"io/fs"
)

// stat is not implemented here; a Watch then watches nothing and says so.
func stat(string) (Usage, error) { return Usage{}, errors.ErrUnsupported }

// allocated knows nothing of blocks here.
func allocated(fs.FileInfo) uint64 { return 0 }
