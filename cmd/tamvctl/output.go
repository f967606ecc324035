package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"gopkg.in/yaml.v3"

	"tamv.internal/tamv/tap"
)

// print writes a JSON document in the form that was asked for: as it is, as
// YAML with the same fields in the same order, or as what draw makes of it for
// a person.
func (a *app) print(body []byte, draw func(*table)) error {
	if a.output != asTable {
		return a.encode(a.out, body)
	}
	t := newTable(a.out, a.lang)
	draw(t)
	return t.flush()
}

// printValue is print for what this program made itself.
func (a *app) printValue(v any, draw func(*table)) error {
	body, err := marshal(v)
	if err != nil {
		return err
	}
	return a.print(body, draw)
}

// marshal writes JSON without the escapes that only HTML needs.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// encode writes a JSON document indented, or as YAML.
func (a *app) encode(w io.Writer, body []byte) error {
	if a.output == asYAML {
		return encodeYAML(w, body)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(body), "", "  "); err != nil {
		return tap.Wrap("tamvctl.print", tap.Internal, err, "the reply is not JSON")
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

func encodeYAML(w io.Writer, body []byte) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	n, err := yamlNode(d)
	if err != nil {
		return tap.Wrap("tamvctl.print", tap.Internal, err, "the reply is not JSON")
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(n); err != nil {
		return err
	}
	return e.Close()
}

// yamlNode reads the next JSON value. Going by tokens keeps the order of fields
// and the digits of numbers.
func yamlNode(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	n := &yaml.Node{Kind: yaml.ScalarNode}
	switch v := token.(type) {
	case json.Delim:
		n.Kind = yaml.SequenceNode
		if v == '{' {
			n.Kind = yaml.MappingNode
		}
		for d.More() { // in an object, names and values in turn
			child, err := yamlNode(d)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		_, err = d.Token() // the closing bracket
	case string:
		n.SetString(v)
		// Of several lines, only plain ones survive YAML's block form.
		if body := strings.TrimSuffix(v, "\n"); body == "" || strings.TrimSpace(body) != body || oneLine(body) != strings.ReplaceAll(body, "\n", " ") {
			n.Style = yaml.DoubleQuotedStyle
		}
	case nil:
		n.Tag, n.Value = "!!null", "null"
	default: // json.Number, bool
		n.Value = fmt.Sprint(v)
	}
	return n, err
}

// table draws aligned columns and paragraphs for a person. Whatever comes from
// elsewhere is shown without control characters, which a terminal would obey.
type table struct {
	w      *tabwriter.Writer
	lang   tap.Lang
	indent string
	err    error // the first that writing gave
}

func newTable(w io.Writer, lang tap.Lang) *table {
	const minWidth, tabWidth, padding = 0, 8, 2
	return &table{w: tabwriter.NewWriter(w, minWidth, tabWidth, padding, ' ', 0), lang: lang}
}

// head starts a list with its column names.
func (t *table) head(columns ...tap.Text) {
	cells := make([]string, len(columns))
	for i, c := range columns {
		cells[i] = strings.ToUpper(c.In(t.lang))
	}
	t.row(cells...)
}

// row adds a line to the list.
func (t *table) row(cells ...string) {
	for i, c := range cells {
		if cells[i] = oneLine(c); c == "" {
			cells[i] = "-"
		}
	}
	t.write(t.indent + strings.Join(cells, "\t") + "\n")
}

// field adds a named value. An empty one is left out.
func (t *table) field(name tap.Text, value string) {
	if value != "" {
		t.row(name.In(t.lang), value)
	}
}

// line adds a line of its own, which no column aligns with. The empty text
// leaves a line blank.
func (t *table) line(text string) {
	t.write(strings.TrimRight(t.indent+oneLine(text), " ") + "\n")
}

// paragraph adds text with its line breaks.
func (t *table) paragraph(text string) {
	for line := range strings.Lines(text) {
		t.line(strings.TrimRight(line, "\r\n"))
	}
}

func (t *table) write(s string) {
	if _, err := io.WriteString(t.w, s); err != nil && t.err == nil {
		t.err = err
	}
}

func (t *table) flush() error {
	if err := t.w.Flush(); t.err == nil {
		t.err = err
	}
	return t.err
}

// oneLine shows control characters, line breaks among them, as spaces.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, s)
}

// short cuts a text to at most n characters.
func short(s string, n int) string {
	runes := []rune(oneLine(s))
	if len(runes) <= n {
		return string(runes)
	}
	return string(runes[:n-1]) + "…"
}
