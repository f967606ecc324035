package isabella

import "strings"

// personalData says whether a text holds what identifies a person: an e-mail
// address, or a run of at least nine digits as telephone, identity and card
// numbers have, in groups or not.
func personalData(s *subject) bool {
	for _, text := range s.texts {
		if hasMail(text) || hasNumber(text) {
			return true
		}
	}
	return false
}

// hasMail looks for a '@' with a letter or digit before it and a name with a
// point after it.
func hasMail(text string) bool {
	for rest := text; ; {
		before, after, found := strings.Cut(rest, "@")
		if !found {
			return false
		}
		domain := after
		if end := strings.IndexAny(domain, " \t\r\n,;>)"); end >= 0 {
			domain = domain[:end]
		}
		point := strings.IndexByte(domain, '.')
		if before != "" && alphanumeric(before[len(before)-1]) && point > 0 && point+1 < len(domain) {
			return true
		}
		rest = after
	}
}

// identifyingDigits is the length from which a number points to a person:
// Spanish telephone numbers have nine digits.
const identifyingDigits = 9

// hasNumber looks for identifyingDigits digits with at most one separator
// between two of them. Fractions and amounts have a comma or a point and end
// the run.
func hasNumber(text string) bool {
	digits, gap := 0, 0
	for i := range len(text) {
		switch c := text[i]; {
		case c >= '0' && c <= '9':
			digits++
			gap = 0
		case digits > 0 && gap == 0 && (c == ' ' || c == '-' || c == '/'):
			gap++
		default:
			digits, gap = 0, 0
		}
		if digits == identifyingDigits {
			return true
		}
	}
	return false
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
