// Package manual is the appliance's own manual, in English and Spanish, as
// passages that each answer one question and stand alone. It is what a fresh
// appliance is given to remember, so that the first thing it can answer about
// is itself.
//
// # Form
//
// Each language is a folder (en, es) with one file per topic, in this form and
// no other:
//
//	# Title of the topic
//
//	## passage-id: Title of the passage
//
//	One paragraph, on one line or several.
//
// Identifiers are 1 to 48 lower-case letters, digits and hyphens, begin with a
// letter, and are unique within a language. A passage has the same identifier
// in both languages, at the same place of the same file: the Spanish text says
// the same facts. Titles have at most 120 bytes, paragraphs at most 4 KiB.
//
// # Errors
//
// [Passages] fails with a [*LanguageError] for a language that the manual is not
// written in, and with a [*SyntaxError] that names file and line when a file
// does not have the form above. A test reads the whole manual, so a released
// binary meets neither with "en" and "es".
package manual

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
)

//go:embed en es
var files embed.FS

// Passage is one piece of the manual.
type Passage struct {
	ID      string // the same in every language
	Topic   string // one of Topics
	Lang    string // "en" or "es"
	Title   string // one line
	Content string // one paragraph on one line, without the title
}

// Topics lists the topics in reading order; each is the name of a file.
func Topics() []string {
	return []string{"identities", "intents", "audit", "memory", "rooms", "money", "evidence", "backups", "recovery"}
}

// Languages lists the languages that the manual is written in.
func Languages() []string { return []string{"en", "es"} }

// LanguageError refuses a language that the manual is not written in.
type LanguageError struct{ Lang string }

func (e *LanguageError) Error() string {
	return fmt.Sprintf("manual: no manual in the language %q", e.Lang)
}

// Passages returns every passage in a language ("en" or "es"), by topic in the
// order of [Topics], then as in the file.
func Passages(lang string) ([]Passage, error) { return passages(files, lang) }

func passages(from fs.FS, lang string) ([]Passage, error) {
	if !slices.Contains(Languages(), lang) {
		return nil, &LanguageError{lang}
	}
	var all []Passage
	seen := map[string]bool{} // identifiers
	for _, topic := range Topics() {
		file := path.Join(lang, topic+".md")
		text, err := fs.ReadFile(from, file)
		if err != nil {
			return nil, fmt.Errorf("manual: %w", err)
		}
		sections, err := parse(file, text)
		if err != nil {
			return nil, err
		}
		for _, s := range sections {
			if seen[s.id] {
				return nil, &SyntaxError{File: file, Line: s.line, Reason: fmt.Sprintf("the identifier %q is used twice", s.id)}
			}
			seen[s.id] = true
			all = append(all, Passage{ID: s.id, Topic: topic, Lang: lang, Title: s.title, Content: s.content})
		}
	}
	return all, nil
}
