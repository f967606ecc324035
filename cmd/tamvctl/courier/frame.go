package courier

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
)

const (
	// MaxFrames is the most frames a file may have.
	MaxFrames = 512
	// MaxData is the longest file that travels, in bytes: a request to a witness with a
	// dozen post-quantum signatures.
	MaxData = 80 << 10
	// PictureBytes is how many bytes of the file a frame carries in a picture: QR
	// version 20, 97 modules wide.
	PictureBytes = 620
	// TerminalBytes is how many it carries on a terminal of 80 columns: QR version 13,
	// 69 modules wide.
	TerminalBytes = 290

	magic     = "TAMV1"
	maxText   = 4296 // characters that the largest QR code holds
	crcDigits = 8
)

var (
	// ErrFrame: text that is no frame.
	ErrFrame = errors.New("courier: not a frame")
	// ErrMixed: a frame of another file than the frames before.
	ErrMixed = errors.New("courier: a frame of another file")
	// ErrChecksum: all frames are there, and their CRC-32 is not the one they state.
	ErrChecksum = errors.New("courier: the frames do not add up to the file")
	// ErrSize: a file that is empty or too long to travel so.
	ErrSize = errors.New("courier: file empty or too long")
)

// Split cuts a file into frames of perFrame bytes, 1..2,800; the last may have fewer.
// The error is [ErrSize].
func Split(data []byte, perFrame int) ([]string, error) {
	total := 0
	if perFrame > 0 {
		total = (len(data) + perFrame - 1) / perFrame
	}
	if len(data) > MaxData || total < 1 || total > MaxFrames || perFrame > (maxText-len(magic)-32)/3*2 {
		return nil, fmt.Errorf("%w: %d bytes in frames of %d", ErrSize, len(data), perFrame)
	}
	sum := crc32.ChecksumIEEE(data)
	frames := make([]string, 0, total)
	for part := range slices.Chunk(data, perFrame) {
		text := fmt.Appendf(nil, "%s:%d:%d:%08X:", magic, total, len(frames)+1, sum)
		frames = append(frames, string(appendBase45(text, part)))
	}
	return frames, nil
}

// frame is one of them, read.
type frame struct {
	total, number int
	sum           uint32
	data          []byte
}

// parseFrame reads a frame in its only spelling. The error wraps ErrFrame.
func parseFrame(text string) (frame, error) {
	malformed := func(what string) (frame, error) { return frame{}, fmt.Errorf("%w: %s", ErrFrame, what) }
	if len(text) > maxText {
		return malformed("longer than a QR code")
	}
	parts := strings.SplitN(text, ":", 5)
	if len(parts) != 5 || parts[0] != magic {
		return malformed("it does not begin as one")
	}
	var f frame
	var ok bool
	if f.total, ok = count(parts[1]); !ok {
		return malformed("its total is not 1 to 512")
	}
	if f.number, ok = count(parts[2]); !ok || f.number > f.total {
		return malformed("its number is not within its total")
	}
	sum, err := strconv.ParseUint(parts[3], 16, 32)
	if err != nil || len(parts[3]) != crcDigits || strings.ToUpper(parts[3]) != parts[3] {
		return malformed("its CRC is not 8 upper-case hex digits")
	}
	f.sum = uint32(sum)
	if f.data, ok = decodeBase45(parts[4]); !ok || len(f.data) == 0 {
		return malformed("its data is not base45")
	}
	return f, nil
}

// count reads a number of frames in its only spelling.
func count(text string) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 1 && n <= MaxFrames && strconv.Itoa(n) == text
}

// Collector puts a file together again. The zero value waits for the first frame of
// any file.
type Collector struct {
	parts [][]byte // by number; nil where the frame has not come
	sum   uint32
	bytes int
}

// Add takes a frame. One that came before is ignored. The error wraps [ErrFrame],
// [ErrMixed] or [ErrSize], and the collector stays as it was.
func (c *Collector) Add(text string) error {
	f, err := parseFrame(text)
	if err != nil {
		return err
	}
	if c.parts == nil {
		c.parts, c.sum = make([][]byte, f.total), f.sum
	}
	had := []byte(nil)
	if f.number <= len(c.parts) {
		had = c.parts[f.number-1]
	}
	switch {
	case len(c.parts) != f.total || c.sum != f.sum:
		return fmt.Errorf("%w: %d frames with CRC %08X, not %d with %08X", ErrMixed, f.total, f.sum, len(c.parts), c.sum)
	case had != nil && !slices.Equal(had, f.data):
		return fmt.Errorf("%w: frame %d came with two contents", ErrMixed, f.number)
	case had != nil:
		return nil
	case c.bytes+len(f.data) > MaxData:
		return fmt.Errorf("%w: more than %d bytes", ErrSize, MaxData)
	}
	c.parts[f.number-1] = f.data
	c.bytes += len(f.data)
	return nil
}

// Missing returns the numbers of the frames that have not come, ascending, and how many
// the file has; 0 before the first frame.
func (c *Collector) Missing() (numbers []int, total int) {
	for i, part := range c.parts {
		if part == nil {
			numbers = append(numbers, i+1)
		}
	}
	return numbers, len(c.parts)
}

// Data returns the file. The error is a [*MissingError] or wraps [ErrChecksum].
func (c *Collector) Data() ([]byte, error) {
	if numbers, total := c.Missing(); len(numbers) > 0 || total == 0 {
		return nil, &MissingError{numbers, total}
	}
	data := slices.Concat(c.parts...)
	if crc32.ChecksumIEEE(data) != c.sum {
		return nil, ErrChecksum
	}
	return data, nil
}

// MissingError says which frames are still to come.
type MissingError struct {
	Numbers []int
	Total   int // 0 if no frame has come
}

// Error implements error.
func (e *MissingError) Error() string {
	if e.Total == 0 {
		return "courier: no frame was found"
	}
	return fmt.Sprintf("courier: of %d frames these are missing: %s", e.Total, strings.Trim(fmt.Sprint(e.Numbers), "[]"))
}
