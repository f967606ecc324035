package vector

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A region is a range of addresses outside Go's heap. It is reserved whole, so
// that its base never moves, and gets memory from the front as it grows.

// offHeap says that regions exist on this system.
const offHeap = true

// reserveRegion reserves n bytes of address space without memory behind it.
func reserveRegion(n int) ([]byte, error) {
	p, err := unix.MmapPtr(-1, 0, nil, uintptr(n), unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	region := unsafe.Slice((*byte)(p), n)
	// A walk jumps about: with pages of 4 KiB each step waits for a page table too.
	// A kernel that has no huge pages may refuse.
	_ = unix.Madvise(region, unix.MADV_HUGEPAGE)
	return region, nil
}

// commitRegion puts zeroed memory behind the bytes from..to, multiples of the
// page size.
func commitRegion(region []byte, from, to int) error {
	return unix.Mprotect(region[from:to], unix.PROT_READ|unix.PROT_WRITE)
}

// shareRegion puts the same bytes of a file behind from..to, having made sure
// that the disk has room: a write to a mapped hole of a full disk would be a
// SIGBUS.
func shareRegion(region []byte, file *os.File, from, to int) error {
	if err := unix.Fallocate(int(file.Fd()), 0, int64(from), int64(to-from)); err != nil {
		return err
	}
	return mapAt(region[from:to], file, int64(from), unix.MAP_SHARED)
}

// loadRegion puts a private copy of a file's bytes, from offset on, behind the
// front of the region: pages stay shared with the file until they are written.
func loadRegion(region []byte, file *os.File, offset int64, n int) error {
	return mapAt(region[:n], file, offset, unix.MAP_PRIVATE)
}

func mapAt(at []byte, file *os.File, offset int64, flags int) error {
	_, err := unix.MmapPtr(int(file.Fd()), offset, unsafe.Pointer(unsafe.SliceData(at)), uintptr(len(at)),
		unix.PROT_READ|unix.PROT_WRITE, flags|unix.MAP_FIXED)
	return err
}

// releaseRegion gives a region back.
func releaseRegion(region []byte) {
	_ = unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(region)), uintptr(len(region)))
}
