package isabella

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/jpeg"
	"image/png"
	"slices"
)

// What the first bytes of each format are.
const (
	pngMagic  = "\x89PNG\r\n\x1a\n"
	jpegMagic = "\xff\xd8\xff"
	riffMagic = "RIFF"
	oggMagic  = "OggS"
)

// Limits of an image. They bound the memory that decoding it would take,
// whatever its file's size.
const (
	maxSide   = 16384 // pixels
	maxPixels = 25 << 20
)

// medium is what the container of an image or a sound tells.
type medium struct {
	format        string
	width, height int // pixels, of an image
}

// inspectImage checks an image's container from its first byte to its last: PNG
// by its chunks and their checksums, JPEG by its markers, WebP by its lengths. It
// does not decode pixels. Bytes after the end are refused: they would be a second
// file in disguise.
func inspectImage(b []byte) (medium, bool) {
	var config image.Config
	var err error
	m := medium{}
	whole := false
	switch {
	case bytes.HasPrefix(b, []byte(pngMagic)):
		m.format, whole = "png", wholePNG(b)
		config, err = png.DecodeConfig(bytes.NewReader(b))
	case bytes.HasPrefix(b, []byte(jpegMagic)):
		m.format, whole = "jpeg", wholeJPEG(b)
		config, err = jpeg.DecodeConfig(bytes.NewReader(b))
	case bytes.HasPrefix(b, []byte(riffMagic)):
		m.format = "webp"
		config, whole = webp(b)
	}
	m.width, m.height = config.Width, config.Height
	sane := m.width > 0 && m.height > 0 && m.width <= maxSide && m.height <= maxSide && m.width*m.height <= maxPixels
	return m, whole && err == nil && sane
}

// wholePNG walks the chunks: length, type, data, CRC (PNG, section 5.3), IEND
// last.
func wholePNG(b []byte) bool {
	const frame = 12 // length, type and CRC
	pixels := false
	for rest := b[len(pngMagic):]; len(rest) >= frame; {
		n := uint64(binary.BigEndian.Uint32(rest))
		if n > uint64(len(rest)-frame) {
			return false
		}
		body := rest[4 : 8+n]
		if crc32.ChecksumIEEE(body) != binary.BigEndian.Uint32(rest[8+n:]) {
			return false
		}
		kind := string(body[:4])
		pixels = pixels || kind == "IDAT"
		rest = rest[frame+n:]
		if kind == "IEND" {
			return pixels && len(rest) == 0
		}
	}
	return false
}

// JPEG markers that the walk needs (ITU-T T.81, table B.1).
const (
	markerSOS  = 0xDA
	markerEOI  = 0xD9
	markerRST0 = 0xD0
	markerRST7 = 0xD7
)

// wholeJPEG walks the segments to EOI, which must be the file's end.
func wholeJPEG(b []byte) bool {
	scanned := false
	for at := 2; at+1 < len(b); {
		if b[at] != 0xFF {
			return false
		}
		marker := b[at+1]
		at += 2
		switch {
		case marker == 0xFF: // fill byte
			at--
			continue
		case marker == markerEOI:
			return scanned && at == len(b)
		case at+2 > len(b):
			return false
		}
		at += int(binary.BigEndian.Uint16(b[at:]))
		if marker == markerSOS {
			scanned = true
			at = skipScan(b, at)
		}
	}
	return false
}

// skipScan returns where entropy-coded data ends: at the next marker that is
// neither a stuffed zero nor a restart.
func skipScan(b []byte, at int) int {
	for ; at+1 < len(b); at++ {
		if next := b[at+1]; b[at] == 0xFF && next != 0 && (next < markerRST0 || next > markerRST7) {
			break
		}
	}
	return at
}

// riff returns the form type and the chunks of a RIFF file whose lengths add up
// to its size.
func riff(b []byte) (form string, chunks map[string][]byte, ok bool) {
	const header = 12
	if len(b) < header || uint64(binary.LittleEndian.Uint32(b[4:]))+8 != uint64(len(b)) {
		return "", nil, false
	}
	chunks = map[string][]byte{}
	rest := b[header:]
	for len(rest) >= 8 {
		n := uint64(binary.LittleEndian.Uint32(rest[4:]))
		padded := n + n%2
		if padded > uint64(len(rest)-8) {
			return "", nil, false
		}
		if _, twice := chunks[string(rest[:4])]; !twice {
			chunks[string(rest[:4])] = rest[8 : 8+n]
		}
		rest = rest[8+padded:]
	}
	return string(b[8:header]), chunks, len(rest) == 0
}

// webp reads the canvas size of the three kinds of WebP (RFC 9649).
func webp(b []byte) (image.Config, bool) {
	form, chunks, ok := riff(b)
	if !ok || form != "WEBP" {
		return image.Config{}, false
	}
	if c := chunks["VP8X"]; len(c) >= 10 {
		side := func(at int) int { return 1 + int(c[at]) + int(c[at+1])<<8 + int(c[at+2])<<16 }
		return image.Config{Width: side(4), Height: side(7)}, true
	}
	if c := chunks["VP8L"]; len(c) >= 5 && c[0] == 0x2f {
		bits := binary.LittleEndian.Uint32(c[1:])
		return image.Config{Width: 1 + int(bits&0x3fff), Height: 1 + int(bits>>14&0x3fff)}, true
	}
	if c := chunks["VP8 "]; len(c) >= 10 && bytes.Equal(c[3:6], []byte{0x9d, 0x01, 0x2a}) {
		width, height := binary.LittleEndian.Uint16(c[6:]), binary.LittleEndian.Uint16(c[8:])
		return image.Config{Width: int(width & 0x3fff), Height: int(height & 0x3fff)}, true
	}
	return image.Config{}, false
}

// inspectAudio checks a sound's container: WAV by its chunks and format, Ogg by
// its pages.
func inspectAudio(b []byte) (medium, bool) {
	if bytes.HasPrefix(b, []byte(oggMagic)) {
		return medium{format: "ogg"}, wholeOgg(b)
	}
	form, chunks, ok := riff(b)
	return medium{format: "wav"}, ok && form == "WAVE" && len(chunks["data"]) > 0 && saneWAV(chunks["fmt "])
}

// saneWAV checks the format chunk: PCM, float or extensible; 1 to 8 channels;
// 4 to 192 kHz; 8 to 64 bits.
func saneWAV(c []byte) bool {
	if len(c) < 16 {
		return false
	}
	format, channels := binary.LittleEndian.Uint16(c), binary.LittleEndian.Uint16(c[2:])
	rate, bits := binary.LittleEndian.Uint32(c[4:]), binary.LittleEndian.Uint16(c[14:])
	return slices.Contains([]uint16{1, 3, 0xFFFE}, format) && channels >= 1 && channels <= 8 &&
		rate >= 4000 && rate <= 192000 && bits >= 8 && bits <= 64 && bits%8 == 0
}

// Flags of an Ogg page (RFC 3533, section 6).
const (
	oggBegins = 2
	oggEnds   = 4
)

// wholeOgg walks the pages: the first begins a stream, and the last ends one where
// the file does, so that what was cut between two pages is not whole.
func wholeOgg(b []byte) bool {
	const header = 27
	for first := true; ; first = false {
		if len(b) < header || string(b[:4]) != oggMagic || b[4] != 0 || first && b[5]&oggBegins == 0 {
			return false
		}
		segments := int(b[26])
		if len(b) < header+segments {
			return false
		}
		size := header + segments
		for _, n := range b[header:size] {
			size += int(n)
		}
		if len(b) <= size {
			return len(b) == size && b[5]&oggEnds != 0
		}
		b = b[size:]
	}
}
