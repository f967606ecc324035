package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"tamv.internal/tamv/model/dataset"
)

// languages are the manual's, in the order of every pair here.
var languages = [2]string{"en", "es"}

// passage is one passage of the manual in both languages, each field English
// first.
type passage struct {
	id             string
	title, content [2]string
}

// readManual reads the files DIR/en/*.md and DIR/es/*.md and records them in the
// provenance. It keeps the passages that exist in both languages, in the order of
// the English files, and parts them into those that train and those held out.
func readManual(dir string, prov *provenance) (seen, held []passage, err error) {
	if dir == "" {
		return nil, nil, nil
	}
	var sections [2][]section
	for k, lang := range languages {
		names, err := filepath.Glob(filepath.Join(dir, lang, "*.md")) // sorted
		if err != nil {
			return nil, nil, err
		}
		if len(names) == 0 {
			return nil, nil, fmt.Errorf("no files %s/*.md in the manual's folder", lang)
		}
		for _, name := range names {
			raw, err := os.ReadFile(name)
			if err != nil {
				return nil, nil, err
			}
			prov.source(dir, name, raw)
			sections[k] = append(sections[k], parseSections(string(raw))...)
		}
	}
	spanish := make(map[string]section, len(sections[1]))
	for _, s := range sections[1] {
		spanish[s.id] = s
	}
	for _, en := range sections[0] {
		es, ok := spanish[en.id]
		if !ok {
			continue
		}
		p := passage{id: en.id, title: [2]string{en.title, es.title}, content: [2]string{en.content, es.content}}
		if dataset.ManualHeldOut(p.id) {
			held = append(held, p)
		} else {
			seen = append(seen, p)
		}
	}
	return seen, held, nil
}

// section is a "## id: Title" of a file and the paragraph below it.
type section struct {
	id, title, content string
}

// parseSections reads a file of the manual, whose form docs/manual checks: text
// outside its sections and headings of another form are left out here.
func parseSections(raw string) []section {
	var out []section
	open := false
	for line := range strings.Lines(raw) {
		line = strings.TrimSpace(line)
		heading, isHeading := strings.CutPrefix(line, "## ")
		switch {
		case isHeading:
			id, title, ok := strings.Cut(heading, ": ")
			if open = ok && id != "" && title != ""; open {
				out = append(out, section{id: id, title: title})
			}
		case open && line != "":
			s := &out[len(out)-1]
			s.content = strings.TrimSpace(s.content + " " + line)
		}
	}
	return out
}

// sentences cuts a paragraph after full stops, question and exclamation marks
// that a space follows.
func sentences(paragraph string) []string {
	var out []string
	for {
		cut := -1
		for _, mark := range []string{". ", "? ", "! "} {
			if at := strings.Index(paragraph, mark); at >= 0 && (cut < 0 || at < cut) {
				cut = at
			}
		}
		if cut < 0 {
			break
		}
		out = append(out, paragraph[:cut+1])
		paragraph = strings.TrimSpace(paragraph[cut+2:])
	}
	if paragraph != "" {
		out = append(out, paragraph)
	}
	return out
}

// translations are a passage's title and its sentences, paired where both
// languages have as many.
func (p passage) translations() [][2]string {
	out := [][2]string{p.title}
	en, es := sentences(p.content[0]), sentences(p.content[1])
	if len(en) != len(es) {
		return append(out, p.content)
	}
	for i := range en {
		out = append(out, [2]string{en[i], es[i]})
	}
	return out
}

// heldTable renders the held-out passages as model/quality/manual.tsv.
func heldTable(held []passage) []byte {
	var out bytes.Buffer
	out.WriteString("# id\ttitle en\ttitle es\tpassage en\tpassage es\t(held out of training; written by model/train)\n")
	for _, p := range held {
		fmt.Fprintf(&out, "%s\t%s\t%s\t%s\t%s\n", p.id, p.title[0], p.title[1], p.content[0], p.content[1])
	}
	return out.Bytes()
}
