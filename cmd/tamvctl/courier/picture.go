package courier

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // photographs
	_ "image/png"  // screenshots, and what PNG writes
	"io"
	"strings"

	"github.com/makiuchi-d/gozxing"
	multi "github.com/makiuchi-d/gozxing/multi/qrcode"
	"github.com/makiuchi-d/gozxing/qrcode"
	"rsc.io/qr"
)

// quiet is the width of the white border around a code, in modules.
const quiet = 4

// maxPixels bounds the memory that a picture may take: photographs of phones have fewer.
const maxPixels = 64 << 20

var (
	// ErrPicture: bytes that are no PNG or JPEG, or one that is too large.
	ErrPicture = errors.New("courier: not a picture")
	// ErrNoCode: a picture in which no QR code can be read.
	ErrNoCode = errors.New("courier: no QR code can be read in the picture")
)

// encode makes the code of a frame.
func encode(frame string) (*qr.Code, error) {
	if len(frame) > maxText {
		return nil, fmt.Errorf("%w: longer than a QR code", ErrFrame)
	}
	code, err := qr.Encode(frame, qr.M)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFrame, err)
	}
	return code, nil
}

// PNG draws a frame, 8 pixels a module with a border of 4 modules. The error wraps
// [ErrFrame].
func PNG(frame string) ([]byte, error) {
	code, err := encode(frame)
	if err != nil {
		return nil, err
	}
	return code.PNG(), nil
}

// Terminal draws a frame in half blocks, black on white whatever the terminal's own
// colours are, two modules to a character's height. The error wraps [ErrFrame] or is
// w's.
func Terminal(w io.Writer, frame string) error {
	code, err := encode(frame)
	if err != nil {
		return err
	}
	const blackOnWhite, reset = "\x1b[30;107m", "\x1b[0m"
	blocks := [4]string{" ", "▀", "▄", "█"} // bit 0: the upper module is black; bit 1: the lower one
	var b strings.Builder
	for y := -quiet; y < code.Size+quiet; y += 2 {
		b.WriteString(blackOnWhite)
		for x := -quiet; x < code.Size+quiet; x++ {
			i := 0
			if code.Black(x, y) {
				i |= 1
			}
			if code.Black(x, y+1) {
				i |= 2
			}
			b.WriteString(blocks[i])
		}
		b.WriteString(reset + "\n")
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// IsPicture reports whether data begins as PNG or JPEG files do.
func IsPicture(data []byte) bool {
	return bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")) || bytes.HasPrefix(data, []byte("\xff\xd8\xff"))
}

// Read returns the texts of the QR codes in a picture, PNG or JPEG, of at most 64
// megapixels. Errors wrap [ErrPicture] or [ErrNoCode].
func Read(picture []byte) (texts []string, err error) {
	config, _, err := image.DecodeConfig(bytes.NewReader(picture))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPicture, err)
	}
	if config.Width < 1 || config.Height < 1 || config.Width > maxPixels/config.Height {
		return nil, fmt.Errorf("%w: %d by %d pixels", ErrPicture, config.Width, config.Height)
	}
	img, _, err := image.Decode(bytes.NewReader(picture))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPicture, err)
	}
	light := gozxing.NewLuminanceSourceFromImage(img)
	// The first suits shadows, the second clean and small pictures.
	for _, binarizer := range []gozxing.Binarizer{gozxing.NewHybridBinarizer(light), gozxing.NewGlobalHistgramBinarizer(light)} {
		bitmap, err := gozxing.NewBinaryBitmap(binarizer)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPicture, err)
		}
		if texts = codes(bitmap); len(texts) > 0 {
			return texts, nil
		}
	}
	return nil, ErrNoCode
}

// codes reads every code of a bitmap. The decoder is somebody else's and reads what
// strangers send: if it panics, there is no code.
func codes(bitmap *gozxing.BinaryBitmap) (texts []string) {
	defer func() {
		if recover() != nil {
			texts = nil
		}
	}()
	hints := map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_TRY_HARDER: true, gozxing.DecodeHintType_CHARACTER_SET: "ISO-8859-1"}
	if found, err := multi.NewQRCodeMultiReader().DecodeMultiple(bitmap, hints); err == nil {
		for _, r := range found {
			texts = append(texts, r.GetText())
		}
	}
	if len(texts) == 0 {
		if r, err := qrcode.NewQRCodeReader().Decode(bitmap, hints); err == nil {
			texts = append(texts, r.GetText())
		}
	}
	return texts
}
