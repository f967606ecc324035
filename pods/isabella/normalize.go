package isabella

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"tamv.internal/tamv/model/lexical"
)

// unmask undoes disguises that fool a word list and not a reader: compatibility
// forms (fullwidth, mathematical letters), invisible characters, letters of
// other scripts that look Latin, and '@' or '$' inside a word. The second result
// says whether anything changed.
func unmask(text string) (string, bool) {
	if plain(text) {
		return text, false
	}
	composed := norm.NFKC.String(text)
	runes := []rune(composed)
	var b strings.Builder
	b.Grow(len(composed))
	for i, r := range runes {
		switch {
		case invisible(r):
		case (r == '@' || r == '$') && i > 0 && i+1 < len(runes) && unicode.IsLetter(runes[i-1]) && unicode.IsLetter(runes[i+1]):
			b.WriteByte(map[rune]byte{'@': 'a', '$': 's'}[r])
		default:
			if latin, ok := lookalikes[unicode.ToLower(r)]; ok {
				r = latin
			}
			b.WriteRune(r)
		}
	}
	return b.String(), b.String() != text
}

// plain says whether a text holds nothing that unmask could change: most do.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c >= 0x80 || c == '@' || c == '$' {
			return false
		}
	}
	return true
}

// invisible says whether a character takes no room on a screen: format
// characters (zero width, soft hyphen, tags) and variation selectors.
func invisible(r rune) bool {
	return r >= 0x80 && (unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Variation_Selector, r))
}

// lookalikes maps lower-case Cyrillic and Greek letters to the Latin ones that
// they are mistaken for.
var lookalikes = map[rune]rune{
	'а': 'a', 'в': 'b', 'с': 'c', 'ԁ': 'd', 'е': 'e', 'ё': 'e', 'һ': 'h', 'і': 'i', 'ї': 'i', 'ј': 'j', 'к': 'k', 'м': 'm',
	'н': 'h', 'о': 'o', 'р': 'p', 'ѕ': 's', 'т': 't', 'у': 'y', 'ԝ': 'w', 'х': 'x',
	'α': 'a', 'β': 'b', 'ε': 'e', 'η': 'n', 'ι': 'i', 'κ': 'k', 'ν': 'v', 'ο': 'o', 'ρ': 'p', 'τ': 't', 'υ': 'u', 'χ': 'x',
}

// words cuts an unmasked text into folded words (lower case, no accents) and
// undoes digits written for letters. Four or more single letters in a row are
// one word spelled out.
func words(text string) []string {
	var cut lexical.Words
	cut.Cut(text)
	out := make([]string, 0, cut.Len())
	for i := 0; i < cut.Len(); i++ {
		run := i
		for run < cut.Len() && len(cut.At(run)) == 1 {
			run++
		}
		if run-i < spelledOut {
			out = append(out, undigit(string(cut.At(i))))
			continue
		}
		var b strings.Builder
		for ; i < run; i++ {
			b.Write(cut.At(i))
		}
		i--
		out = append(out, undigit(b.String()))
	}
	return out
}

// spelledOut is how many single letters in a row are taken for one word.
// Spanish sentences have up to two ("y a").
const spelledOut = 4

// undigit reads digits as the letters that they imitate, except at a word's end
// ("room1" stays).
func undigit(word string) string {
	if strings.IndexFunc(word, unicode.IsDigit) < 0 {
		return word
	}
	last := strings.LastIndexFunc(word, unicode.IsLetter)
	letters := []byte(word)
	for i := range last {
		if at := strings.IndexByte("013457", letters[i]); at >= 0 {
			letters[i] = "oieast"[at]
		}
	}
	return string(letters)
}
