package disk

import (
	"io/fs"
	"os"
	"syscall"
)

// stat asks the file system of dir, statfs(2).
func stat(dir string) (Usage, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return Usage{}, os.NewSyscallError("statfs", err)
	}
	return Usage{Total: s.Blocks * uint64(s.Bsize), Free: s.Bavail * uint64(s.Bsize)}, nil
}

// allocated is how many bytes of blocks a file has, stat(2).
func allocated(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Blocks) * 512
	}
	return 0
}
