package tap

import "strings"

// Lang is a language that user-facing texts exist in.
type Lang string

// The languages.
const (
	English Lang = "en"
	Spanish Lang = "es"
)

// Text is one user-facing text in both languages.
type Text struct{ EN, ES string }

// In returns the text in the given language; English when there is none.
func (t Text) In(l Lang) string {
	if l == Spanish && t.ES != "" {
		return t.ES
	}
	return t.EN
}

// LocaleLang is the language of the person at a terminal: that of the environment's
// locale, by POSIX precedence.
func LocaleLang(getenv func(name string) string) Lang {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := getenv(name); v != "" {
			return ParseLang(v)
		}
	}
	return English
}

// ParseLang picks a language from an Accept-Language header or a POSIX locale
// ("es-MX,es;q=0.9", "es_ES.UTF-8"). The first language that we have wins;
// anything else is English.
func ParseLang(s string) Lang {
	for part := range strings.SplitSeq(s, ",") {
		tag := strings.ToLower(strings.TrimSpace(part))
		switch {
		case strings.HasPrefix(tag, "es"):
			return Spanish
		case strings.HasPrefix(tag, "en"):
			return English
		}
	}
	return English
}
