package isabella

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/jpeg"
	"image/png"

	"tamv.internal/tamv/pods"
)

func pngBytes(width, height int) []byte {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func jpegBytes(width, height int) []byte {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, width, height)), nil); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// riffBytes makes a RIFF file of chunks given as name, content, name, content.
func riffBytes(form string, chunks ...string) []byte {
	body := []byte(form)
	for i := 0; i < len(chunks); i += 2 {
		body = append(body, chunks[i]...)
		body = binary.LittleEndian.AppendUint32(body, uint32(len(chunks[i+1])))
		body = append(body, chunks[i+1]...)
		if len(chunks[i+1])%2 == 1 {
			body = append(body, 0)
		}
	}
	return append(binary.LittleEndian.AppendUint32([]byte(riffMagic), uint32(len(body))), body...)
}

// wavFormat is the format chunk of PCM sound.
func wavFormat(format, channels uint16, rate uint32, bits uint16) string {
	b := binary.LittleEndian.AppendUint16(nil, format)
	b = binary.LittleEndian.AppendUint16(b, channels)
	b = binary.LittleEndian.AppendUint32(b, rate)
	b = binary.LittleEndian.AppendUint32(b, rate*uint32(channels)*uint32(bits)/8)
	b = binary.LittleEndian.AppendUint16(b, channels*bits/8)
	return string(binary.LittleEndian.AppendUint16(b, bits))
}

func wavBytes(samples int) []byte {
	return riffBytes("WAVE", "fmt ", wavFormat(1, 1, 16000, 16), "data", string(make([]byte, 2*samples)))
}

// oggPage makes one page with the given packet lengths.
func oggPage(flags byte, lengths ...byte) []byte {
	b := append([]byte(oggMagic), 0, flags)
	b = append(b, make([]byte, 20)...)
	b = append(b, byte(len(lengths)))
	b = append(b, lengths...)
	for _, n := range lengths {
		b = append(b, make([]byte, n)...)
	}
	return b
}

func oggBytes() []byte { return append(oggPage(2, 30), oggPage(4, 200, 10)...) }

func webpBytes(width, height int) []byte {
	bits := 0x2f | uint64(width-1)<<8 | uint64(height-1)<<22
	return riffBytes("WEBP", "VP8L", string(binary.LittleEndian.AppendUint64(nil, bits)[:5])+"\x00\x00\x00")
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func mediaIntent(kind pods.InputType, content []byte, profile pods.Profile) *pods.Intent {
	return &pods.Intent{
		TenantID: "main", Type: "look", SafetyProfile: profile, Jurisdiction: "ES",
		Input: pods.Input{Type: kind, Data: encode(b64(content))},
	}
}

func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func crc(b []byte) uint32 { return crc32.ChecksumIEEE(b) }
