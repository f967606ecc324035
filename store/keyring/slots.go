package keyring

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"tamv.internal/tamv/tap"
)

const (
	slotMagic  = "TAMVKR\x00\x01"
	nonceBytes = 12
	tagBytes   = 16
	headerAAD  = 28 // bytes of the header under its tag
	headerEnd  = headerAAD + nonceBytes + tagBytes

	blockSlots = 64        // the file grows by so many
	loadBytes  = 128 << 10 // are read at a time
)

// File is what a ring is kept in; an *os.File is one.
type File interface {
	io.ReaderAt
	io.WriterAt
	Stat() (fs.FileInfo, error)
	Sync() error
	Close() error
}

// slotFile is a file of slots. Its owner sees to it that one goroutine uses it at a
// time.
type slotFile struct {
	file      File
	slotBytes int
	id        [16]byte
	aead      cipher.AEAD // under the sealing key
	slots     uint64      // in the file, with the header
	free      []uint64    // empty ones
}

// slotError is the failure of a disk.
func slotError(err error, doing string) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return tap.Wrap("keyring.write", tap.Unavailable, err, "the disk has no room for another key").WithCode("keyring_full")
	}
	return tap.Wrap("keyring.write", tap.Unavailable, err, "the keyring cannot %s", doing).WithCode("keyring_write")
}

// newAEAD is AES-256-GCM under a key.
func newAEAD(key SealingKey) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("keyring: AES refuses a key of 32 bytes: " + err.Error())
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("keyring: no GCM: " + err.Error())
	}
	return aead
}

// openSlots opens a file, or makes it, and hands every secret in it to found. damaged are
// the slots that hold none and are neither free: they are to be wiped.
func openSlots(path string, slotBytes int, key SealingKey, open func(string) (File, error), found func(slot uint64, s Secret)) (f *slotFile, damaged []uint64, err error) {
	f = &slotFile{slotBytes: slotBytes, aead: newAEAD(key)}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := f.create(path, open); err != nil {
			return nil, nil, err
		}
	}
	if f.file, err = open(path); err != nil {
		return nil, nil, slotError(err, "be opened")
	}
	if damaged, err = f.load(found); err != nil {
		return nil, nil, errors.Join(err, f.file.Close())
	}
	return f, damaged, nil
}

// create makes the file with its header and no secrets, whole or not at all.
func (f *slotFile) create(path string, open func(string) (File, error)) error {
	header := make([]byte, f.slotBytes)
	copy(header, slotMagic)
	binary.BigEndian.PutUint32(header[8:], uint32(f.slotBytes))
	rand.Read(header[12 : headerAAD+nonceBytes])
	copy(header[headerAAD+nonceBytes:], f.aead.Seal(nil, header[headerAAD:headerAAD+nonceBytes], nil, header[:headerAAD]))
	unfinished := path + ".new"
	if err := os.Remove(unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return slotError(err, "be made")
	}
	file, err := open(unfinished)
	if err != nil {
		return slotError(err, "be made")
	}
	_, err = file.WriteAt(header, 0)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(unfinished, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return slotError(err, "be made")
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// load reads the whole file. A part that the disk does not give back is damaged, not more.
func (f *slotFile) load(found func(slot uint64, s Secret)) (damaged []uint64, err error) {
	stat, err := f.file.Stat()
	if err != nil {
		return nil, slotError(err, "be read")
	}
	f.slots = uint64(stat.Size()) / uint64(f.slotBytes)
	header := make([]byte, f.slotBytes)
	if _, err := f.file.ReadAt(header, 0); err != nil && !short(err) {
		return nil, slotError(err, "be read")
	}
	if err := f.readHeader(header); err != nil {
		return nil, err
	}
	most := min(uint64(loadBytes/f.slotBytes), f.slots)
	block := make([]byte, most*uint64(f.slotBytes))
	for first := uint64(1); first < f.slots; first += most {
		count := min(most, f.slots-first)
		_, failed := f.file.ReadAt(block[:count*uint64(f.slotBytes)], f.offset(first))
		for n := first; n < first+count; n++ {
			slot := block[(n-first)*uint64(f.slotBytes):][:f.slotBytes]
			if failed != nil {
				if _, err := f.file.ReadAt(slot, f.offset(n)); err != nil {
					damaged = append(damaged, n)
					continue
				}
			}
			switch s, state := f.open(n, slot); state {
			case slotFree:
				f.free = append(f.free, n)
			case slotDamaged: // as an overwrite that was cut off leaves it, with a part of a wrapped key
				damaged = append(damaged, n)
			default:
				found(n, s)
			}
		}
	}
	return damaged, nil
}

func short(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

func (f *slotFile) readHeader(header []byte) error {
	if f.slots == 0 || string(header[:8]) != slotMagic || binary.BigEndian.Uint32(header[8:]) != uint32(f.slotBytes) {
		return tap.E("keyring.open", tap.Unavailable,
			"a file of the keyring is damaged at its beginning; move it away and the other members' copies take its place").WithCode("keyring_damaged")
	}
	tag := header[headerAAD+nonceBytes : headerEnd]
	if _, err := f.aead.Open(nil, header[headerAAD:headerAAD+nonceBytes], tag, header[:headerAAD]); err != nil {
		return tap.Wrap("keyring.open", tap.Unavailable, err,
			"the sealing key is not the one that this keyring was made with; put back the copy you kept").WithCode("keyring_seal")
	}
	f.id = [16]byte(header[12:])
	return nil
}

type slotState int

const (
	slotTaken slotState = iota
	slotFree
	slotDamaged
)

// open reads one slot.
func (f *slotFile) open(n uint64, slot []byte) (Secret, slotState) {
	if allZero(slot) {
		return Secret{}, slotFree
	}
	plain, err := f.aead.Open(nil, slot[:nonceBytes], slot[nonceBytes:], f.bound(n))
	if err != nil {
		return Secret{}, slotDamaged
	}
	defer clear(plain)
	s, rest, ok := parseSecret(plain)
	if !ok || !allZero(rest) {
		return Secret{}, slotDamaged
	}
	return s, slotTaken
}

// bound is the additional data that binds a secret to its place.
func (f *slotFile) bound(n uint64) []byte { return binary.BigEndian.AppendUint64(f.id[:], n) }

func allZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// write puts secrets into free slots, durably, and returns these in order. When it
// fails no secret counts as stored; the slots may have parts of them and are to be
// wiped.
func (f *slotFile) write(secrets []Secret) (slots []uint64, err error) {
	for len(f.free) < len(secrets) {
		if err := f.grow(); err != nil {
			return nil, slotError(err, "grow")
		}
	}
	at := len(f.free) - len(secrets)
	slots, f.free = slices.Clone(f.free[at:]), f.free[:at]
	for i, s := range secrets {
		if _, err := f.file.WriteAt(f.seal(slots[i], s), f.offset(slots[i])); err != nil {
			return slots, slotError(err, "be written")
		}
	}
	if err := f.file.Sync(); err != nil {
		return slots, slotError(err, "be written")
	}
	return slots, nil
}

// seal is the content of a slot.
func (f *slotFile) seal(n uint64, s Secret) []byte {
	plain := make([]byte, f.slotBytes-nonceBytes-tagBytes)
	defer clear(plain)
	s.append(plain[:0])
	slot := make([]byte, nonceBytes, f.slotBytes)
	rand.Read(slot)
	return f.aead.Seal(slot, slot, plain, f.bound(n))
}

// grow adds a block of free slots, written and not only promised: there is room for a
// secret before there is one.
func (f *slotFile) grow() error {
	if _, err := f.file.WriteAt(make([]byte, blockSlots*f.slotBytes), f.offset(f.slots)); err != nil {
		return err
	}
	for n := f.slots + blockSlots - 1; n >= f.slots; n-- { // the lowest is taken first
		f.free = append(f.free, n)
	}
	f.slots += blockSlots
	return nil
}

// wipe overwrites slots with zeroes, durably; then they are free.
func (f *slotFile) wipe(slots []uint64) error {
	if len(slots) == 0 {
		return nil
	}
	zeroes := make([]byte, f.slotBytes)
	for _, n := range slots {
		if _, err := f.file.WriteAt(zeroes, f.offset(n)); err != nil {
			return slotError(err, "be overwritten")
		}
	}
	if err := f.file.Sync(); err != nil {
		return slotError(err, "be overwritten")
	}
	f.free = append(f.free, slots...)
	return nil
}

func (f *slotFile) offset(n uint64) int64 { return int64(n) * int64(f.slotBytes) }
