package isabella

import (
	"encoding/base64"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/tap"
)

// opaque is a string that is neither prose nor a known medium: damaged base64,
// or base64 of something else.
const opaque pods.InputType = "opaque"

// opaqueFrom is the length from which a string without spaces is taken for
// base64. No image or sound is shorter.
const opaqueFrom = 64

// sniff says what a string is, by its content: text, image, audio or opaque. For
// a medium it also returns the base64 within.
func sniff(s string) (kind pods.InputType, encoded string) {
	encoded = s
	if media, rest, ok := strings.Cut(s, ";base64,"); ok && strings.HasPrefix(media, "data:") && !strings.ContainsAny(media, " \n") {
		encoded = rest
		if kind = magic(encoded); kind == "" {
			kind = opaque
		}
		return kind, encoded
	}
	if kind = magic(encoded); kind != "" {
		return kind, encoded
	}
	if len(s) >= opaqueFrom && !prose(s) {
		return opaque, ""
	}
	return pods.Text, ""
}

// magic looks at the first bytes behind base64.
func magic(encoded string) pods.InputType {
	const look = 16 // characters: 12 bytes
	if len(encoded) < look {
		return ""
	}
	head, err := base64.StdEncoding.DecodeString(encoded[:look])
	if err != nil {
		return ""
	}
	switch h := string(head); {
	case strings.HasPrefix(h, pngMagic), strings.HasPrefix(h, jpegMagic), h[:4] == riffMagic && h[8:] == "WEBP":
		return pods.Image
	case strings.HasPrefix(h, oggMagic), h[:4] == riffMagic && h[8:] == "WAVE":
		return pods.Audio
	}
	return ""
}

// prose says whether a long string has the spaces of a written language, or the
// letters of one that is written without spaces: they are not base64's.
func prose(s string) bool {
	const longestWord = 40 // bytes, on average, between two spaces
	foreign := 0
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			foreign++
		}
	}
	return strings.Count(s, " ")*longestWord >= len(s) || 4*foreign >= len(s)
}

// active finds markup that runs when a careless client shows it.
var active = regexp.MustCompile(`(?i)<\s*/?\s*(script|iframe|object|embed|meta|base|form)\b|<[^>]{0,200}\son[a-z]{3,20}\s*=|` +
	`(javascript|vbscript)\s*:\s*[\w.$]+\s*\(|data:text/html`)

// safeText refuses what no text needs: control characters besides line breaks
// and tabs, marks that reorder text on the screen, characters that stand for
// undecodable bytes, and active markup.
func safeText(s string, most int) error {
	if len(s) > most {
		return tap.E("isabella.input", tap.Invalid, "a text is longer than %d bytes", most).WithCode("too_large")
	}
	for _, r := range s {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
		case unicode.IsControl(r), r == unicode.ReplacementChar,
			r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069:
			return errInput()
		}
	}
	if strings.ContainsAny(s, "<:") {
		readable, _ := unmask(s)
		if active.MatchString(readable) {
			return errInput()
		}
	}
	return nil
}
