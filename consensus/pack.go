package consensus

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"

	"github.com/klauspost/compress/zstd"
)

// A pack is one Raft log entry; integers are big-endian:
//
//	 0  4  magic "TPAK"
//	 4  1  version, 1
//	 5  1  flags: bit 0 = the body is one zstd frame; the others are 0
//	 6  4  CRC-32C of bytes 0-5 and 10-end
//	10  8  stamp, microseconds since the Unix epoch, at least 0
//	18  4  number of commands, 0 to 65,536
//	22  4  length of the body before compression, 0 to 16 MiB
//	26  -  body: per command its length as a minimal unsigned varint, then its bytes
//
// Everything must fit exactly: no bytes between the commands or after the last.
const (
	packMagic   = "TPAK"
	packVersion = 1
	headerSize  = 26

	flagZstd = 1 << 0

	maxCommands = 1 << 16
	maxBody     = 16 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// pack is a decoded pack. The commands share one piece of memory.
type pack struct {
	stamp    int64
	commands [][]byte
}

// packChecksum covers all of data but the checksum's own four bytes.
func packChecksum(data []byte) uint32 {
	return crc32.Update(crc32.Checksum(data[:6], castagnoli), castagnoli, data[10:])
}

// commandSize is the room that a command of n bytes takes in a body: 7 bits of the length per byte, then the command.
func commandSize(n int) int {
	return (bits.Len64(uint64(n)|1)+6)/7 + n
}

// packEncoder makes packs. It belongs to one goroutine.
type packEncoder struct {
	above int // compress bodies longer than this; 0 = never
	zstd  *zstd.Encoder
	// rest counts down the packs that are not tried after one that did not pay: commands are much alike, and a try
	// costs as much as a success.
	rest int
}

// compressionRest is the number of packs sent as they are after one that did not shrink by an eighth.
const compressionRest = 32

func newPackEncoder(above int) (*packEncoder, error) {
	e := &packEncoder{above: above}
	if above == 0 {
		return e, nil
	}
	var err error
	e.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	return e, err
}

// encode returns a new pack. The caller keeps within maxCommands and maxBody.
func (e *packEncoder) encode(p pack) []byte {
	size := 0
	for _, command := range p.commands {
		size += commandSize(len(command))
	}
	data := make([]byte, headerSize, headerSize+size)
	copy(data, packMagic)
	data[4] = packVersion
	binary.BigEndian.PutUint64(data[10:], uint64(p.stamp))
	binary.BigEndian.PutUint32(data[18:], uint32(len(p.commands)))
	binary.BigEndian.PutUint32(data[22:], uint32(size))
	for _, command := range p.commands {
		data = binary.AppendUvarint(data, uint64(len(command)))
		data = append(data, command...)
	}
	data = e.compress(data)
	binary.BigEndian.PutUint32(data[6:], packChecksum(data))
	return data
}

// compress returns data with its body compressed if that saves an eighth or more, else data.
func (e *packEncoder) compress(data []byte) []byte {
	body := data[headerSize:]
	if e.above == 0 || len(body) <= e.above {
		return data
	}
	if e.rest > 0 {
		e.rest--
		return data
	}
	small := make([]byte, headerSize, headerSize+len(body))
	copy(small, data[:headerSize])
	small[5] |= flagZstd
	small = e.zstd.EncodeAll(body, small)
	if len(small)-headerSize > len(body)-len(body)/8 {
		e.rest = compressionRest
		return data
	}
	return small
}

// packDecoder reads packs. It trusts nothing in them and allocates no more than maxBody for one.
type packDecoder struct {
	zstd *zstd.Decoder
}

func newPackDecoder() (*packDecoder, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxBody))
	return &packDecoder{d}, err
}

// decode parses one pack, strictly. The commands alias data unless the pack is compressed. Errors wrap ErrPack.
func (d *packDecoder) decode(data []byte) (pack, error) {
	if len(data) < headerSize {
		return pack{}, fmt.Errorf("%w: %d bytes are less than a header", ErrPack, len(data))
	}
	if string(data[:4]) != packMagic {
		return pack{}, fmt.Errorf("%w: wrong magic", ErrPack)
	}
	if data[4] != packVersion {
		return pack{}, fmt.Errorf("%w: version %d is not known here", ErrPack, data[4])
	}
	flags := data[5]
	if flags&^flagZstd != 0 {
		return pack{}, fmt.Errorf("%w: flags %#02x are not known here", ErrPack, flags)
	}
	if binary.BigEndian.Uint32(data[6:]) != packChecksum(data) {
		return pack{}, fmt.Errorf("%w: wrong checksum", ErrPack)
	}
	stamp := int64(binary.BigEndian.Uint64(data[10:]))
	count := binary.BigEndian.Uint32(data[18:])
	size := binary.BigEndian.Uint32(data[22:])
	if stamp < 0 || count > maxCommands || size > maxBody {
		return pack{}, fmt.Errorf("%w: stamp %d, %d commands or %d bytes out of range", ErrPack, stamp, count, size)
	}
	body := data[headerSize:]
	if flags&flagZstd != 0 {
		var err error
		if body, err = d.zstd.DecodeAll(body, make([]byte, 0, size)); err != nil {
			return pack{}, fmt.Errorf("%w: %v", ErrPack, err)
		}
	}
	if len(body) != int(size) {
		return pack{}, fmt.Errorf("%w: body of %d bytes, %d announced", ErrPack, len(body), size)
	}
	commands, err := splitCommands(body, int(count))
	return pack{stamp, commands}, err
}

// splitCommands cuts a body into exactly count commands.
func splitCommands(body []byte, count int) ([][]byte, error) {
	if count > len(body) {
		return nil, fmt.Errorf("%w: %d commands in %d bytes", ErrPack, count, len(body))
	}
	if count == 0 && len(body) == 0 {
		return nil, nil
	}
	commands := make([][]byte, count)
	for i := range commands {
		n, width := binary.Uvarint(body)
		if width <= 0 || n > uint64(len(body)-width) || (width > 1 && body[width-1] == 0) {
			return nil, fmt.Errorf("%w: length of command %d", ErrPack, i)
		}
		end := width + int(n)
		commands[i] = body[width:end:end]
		body = body[end:]
	}
	if len(body) != 0 {
		return nil, fmt.Errorf("%w: %d bytes after the last command", ErrPack, len(body))
	}
	return commands, nil
}
