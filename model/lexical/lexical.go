// Package lexical cuts text into folded words and hashes words and their
// letter n-grams into features. It is the shared front end of the static
// embedder and the linear classifier, at training time and at run time: the two
// must cut text in exactly the same way.
//
// Folding lower-cases, strips the accents of Latin letters ("¿Cuándo?" and
// "cuando" are one word), drops combining marks, and joins letters across an
// apostrophe ("don't" is "dont"). A word is a maximal run of letters and
// digits; everything else separates. A text without any word, such as "???" or
// an emoji, has its symbols as words, so that every text that is not blank has
// features.
package lexical

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"tamv.internal/tamv/model"
)

// maxWord bounds a word in folded bytes. Longer runs, such as base64 or a
// hexadecimal digest, are cut into words of this length.
const maxWord = 64

// Check returns ErrTooLong, ErrInvalidText or ErrNoText if text is not fit for
// an engine.
func Check(text string) error {
	if len(text) > model.MaxText {
		return fmt.Errorf("%w: %d bytes, at most %d", model.ErrTooLong, len(text), model.MaxText)
	}
	if !utf8.ValidString(text) {
		return model.ErrInvalidText
	}
	if strings.TrimSpace(text) == "" {
		return model.ErrNoText
	}
	return nil
}

// Words is a text cut into folded words. The zero value is ready; Cut reuses
// its memory.
type Words struct {
	buf  []byte // the words, one after the other
	ends []int  // where each word ends in buf
}

// Len returns the number of words.
func (w *Words) Len() int { return len(w.ends) }

// At returns word i, valid until the next Cut.
func (w *Words) At(i int) []byte {
	start := 0
	if i > 0 {
		start = w.ends[i-1]
	}
	return w.buf[start:w.ends[i]]
}

// Cut replaces the words with those of text.
func (w *Words) Cut(text string) {
	w.buf, w.ends = w.buf[:0], w.ends[:0]
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			i++
			switch {
			case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
				w.append(c)
			case 'A' <= c && c <= 'Z':
				w.append(c + 'a' - 'A')
			case c == '\'': // joins the letters on its two sides
			default:
				w.end()
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		i += size
		w.rune(r)
	}
	w.end()
	if len(w.ends) == 0 {
		w.symbols(text)
	}
}

// rune takes a character beyond ASCII.
func (w *Words) rune(r rune) {
	switch {
	case r == '\u2019' || unicode.Is(unicode.Mn, r): // typographic apostrophe, combining mark
	case unicode.IsLetter(r) || unicode.IsDigit(r):
		r = unicode.ToLower(r)
		if r >= 0xdf && int(r-0xdf) < len(base) && base[r-0xdf] != "" {
			for _, c := range []byte(base[r-0xdf]) {
				w.append(c)
			}
			return
		}
		var b [utf8.UTFMax]byte
		for _, c := range b[:utf8.EncodeRune(b[:], r)] {
			w.append(c)
		}
	default:
		w.end()
	}
}

// symbols makes each character that is not white space a word of its own.
func (w *Words) symbols(text string) {
	for _, r := range text {
		if !unicode.IsSpace(r) {
			w.buf = utf8.AppendRune(w.buf, r)
			w.end()
		}
	}
}

func (w *Words) append(c byte) {
	if len(w.buf)-w.start() >= maxWord && utf8.RuneStart(c) {
		w.end()
	}
	w.buf = append(w.buf, c)
}

func (w *Words) end() {
	if len(w.buf) > w.start() {
		w.ends = append(w.ends, len(w.buf))
	}
}

// start returns where the word being read starts.
func (w *Words) start() int {
	if len(w.ends) == 0 {
		return 0
	}
	return w.ends[len(w.ends)-1]
}

// base maps the lower-case letters from U+00DF on to their unaccented form.
var base = makeBase()

func makeBase() []string {
	const (
		accented = "àáâãäåāăą" + "çćĉċč" + "ďđ" + "èéêëēĕėęě" + "ĝğġģ" + "ĥħ" + "ìíîïĩīĭįı" + "ĵ" + "ķ" +
			"ĺļľŀł" + "ñńņň" + "òóôõöøōŏő" + "ŕŗř" + "śŝşš" + "ţťŧ" + "ùúûüũūŭůűų" + "ŵ" + "ýÿŷ" + "źżž"
		plain = "aaaaaaaaa" + "ccccc" + "dd" + "eeeeeeeee" + "gggg" + "hh" + "iiiiiiiii" + "j" + "k" +
			"lllll" + "nnnn" + "ooooooooo" + "rrr" + "ssss" + "ttt" + "uuuuuuuuuu" + "w" + "yyy" + "zzz"
	)
	table := make([]string, 0x180-0xdf)
	i := 0
	for _, r := range accented {
		table[r-0xdf] = plain[i : i+1]
		i++
	}
	table['ß'-0xdf], table['æ'-0xdf], table['œ'-0xdf] = "ss", "ae", "oe"
	return table
}
