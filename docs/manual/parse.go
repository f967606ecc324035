package manual

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a section, in bytes.
const (
	maxTitle   = 120
	maxContent = 4 << 10
)

var identifier = regexp.MustCompile(`^[a-z][a-z0-9-]{0,47}$`)

// SyntaxError says where a file does not have the manual's form.
type SyntaxError struct {
	File   string
	Line   int // counted from 1; 0 = the file as a whole
	Reason string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("manual: %s:%d: %s", e.File, e.Line, e.Reason)
}

// section is one "##" of a file.
type section struct {
	id, title, content string
	line               int // of the heading
}

// parse reads one file of the manual. Every error is a [*SyntaxError].
func parse(file string, text []byte) ([]section, error) {
	p := parser{file: file}
	if !utf8.Valid(text) {
		return nil, p.fail("the file is not UTF-8")
	}
	lines := strings.Split(string(text), "\n")
	if lines[len(lines)-1] != "" {
		p.line = len(lines)
		return nil, p.fail("the last line does not end with a line feed")
	}
	for _, line := range lines[:len(lines)-1] {
		p.line++
		if err := p.take(line); err != nil {
			return nil, err
		}
	}
	if err := p.close(); err != nil {
		return nil, err
	}
	if len(p.sections) == 0 {
		return nil, p.fail("the file has no passage")
	}
	return p.sections, nil
}

// parser goes through a file line by line.
type parser struct {
	file     string
	line     int
	sections []section
	ended    bool // a blank line ended the paragraph of the last section
}

func (p *parser) fail(format string, args ...any) error {
	return &SyntaxError{File: p.file, Line: p.line, Reason: fmt.Sprintf(format, args...)}
}

func (p *parser) take(line string) error {
	switch {
	case strings.ContainsFunc(line, unicode.IsControl):
		return p.fail("a control character")
	case strings.TrimSpace(line) != line:
		return p.fail("spaces around the line")
	case p.line == 1:
		title, ok := strings.CutPrefix(line, "# ")
		if !ok || !goodTitle(title) {
			return p.fail("the first line is \"# \" and a title of at most %d bytes", maxTitle)
		}
		return nil
	case line == "":
		p.ended = len(p.sections) > 0 && p.last().content != ""
		return nil
	case strings.HasPrefix(line, "## "):
		return p.open(line[len("## "):])
	case strings.HasPrefix(line, "#"):
		return p.fail("a heading that is not \"## \" and an identifier")
	case len(p.sections) == 0:
		return p.fail("text before the first passage")
	case p.ended:
		return p.fail("a passage is one paragraph")
	}
	return p.extend(line)
}

func (p *parser) last() *section { return &p.sections[len(p.sections)-1] }

// open begins a section with "passage-id: Title".
func (p *parser) open(heading string) error {
	if err := p.close(); err != nil {
		return err
	}
	id, title, ok := strings.Cut(heading, ": ")
	switch {
	case !ok || !identifier.MatchString(id):
		return p.fail("a passage begins with \"## identifier: Title\"")
	case !goodTitle(title):
		return p.fail("a title has 1 to %d bytes", maxTitle)
	}
	p.sections, p.ended = append(p.sections, section{id: id, title: title, line: p.line}), false
	return nil
}

func goodTitle(s string) bool {
	return s != "" && len(s) <= maxTitle && strings.TrimSpace(s) == s
}

// extend adds a line to the section's paragraph.
func (p *parser) extend(line string) error {
	s := p.last()
	if s.content != "" {
		s.content += " "
	}
	if len(s.content)+len(line) > maxContent {
		return p.fail("the passage is longer than %d bytes", maxContent)
	}
	s.content += line
	return nil
}

// close checks that the section before has a paragraph.
func (p *parser) close() error {
	if len(p.sections) > 0 && p.last().content == "" {
		return p.fail("the passage %q is empty", p.last().id)
	}
	return nil
}
