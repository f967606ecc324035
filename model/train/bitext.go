package main

import (
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// bitext is text in two languages that means the same, or close to it.
type bitext struct {
	// aligned holds translations, English first.
	aligned [][2]string
	// messages are those of aligned that are whole messages of programs.
	messages [][2]string
	// related holds names with their keywords, both in one language.
	related [][2]string
}

// readBitext reads the unpacked packages under root: Unicode CLDR's annotations
// and display names, and gettext catalogues under es/LC_MESSAGES. It records
// what it read in the provenance.
func readBitext(root string, prov *provenance) (bitext, error) {
	var out bitext
	if root == "" {
		return out, nil
	}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		slash := filepath.ToSlash(path)
		switch {
		case strings.HasSuffix(slash, "/annotations/en.xml"), strings.HasSuffix(slash, "/annotationsDerived/en.xml"):
			return out.readCLDR(path, root, prov, annotations)
		case strings.HasSuffix(slash, "/common/main/en.xml"):
			return out.readCLDR(path, root, prov, displayNames)
		case strings.Contains(slash, "/es/LC_MESSAGES/") && strings.HasSuffix(slash, ".mo"):
			return out.readCatalog(path, root, prov)
		}
		return nil
	})
	return out, err
}

// readCLDR reads an English file and its Spanish sibling with one reader.
func (b *bitext) readCLDR(english, root string, prov *provenance, read func([]byte) (map[string]named, []string, error)) error {
	spanish := filepath.Join(filepath.Dir(english), "es.xml")
	var raw [2][]byte
	for i, path := range []string{english, spanish} {
		var err error
		if raw[i], err = os.ReadFile(path); err != nil {
			return err
		}
		prov.source(root, path, raw[i])
	}
	en, order, err := read(raw[0])
	if err != nil {
		return fmt.Errorf("%s: %w", english, err)
	}
	es, _, err := read(raw[1])
	if err != nil {
		return fmt.Errorf("%s: %w", spanish, err)
	}
	for _, key := range order {
		e, s := en[key], es[key]
		if e.name != "" && s.name != "" {
			b.aligned = append(b.aligned, [2]string{e.name, s.name})
		}
		if e.keywords != "" && s.keywords != "" {
			b.aligned = append(b.aligned, [2]string{e.keywords, s.keywords})
		}
		for _, n := range []named{e, s} {
			if n.name != "" && n.keywords != "" {
				b.related = append(b.related, [2]string{n.name, n.keywords})
			}
		}
	}
	return nil
}

// named is what CLDR says about one thing in one language.
type named struct {
	name, keywords string
}

// annotations reads the names and keywords of symbols.
func annotations(raw []byte) (map[string]named, []string, error) {
	var file struct {
		Annotations []struct {
			CP   string `xml:"cp,attr"`
			Type string `xml:"type,attr"`
			Text string `xml:",chardata"`
		} `xml:"annotations>annotation"`
	}
	if err := xml.Unmarshal(raw, &file); err != nil {
		return nil, nil, err
	}
	out, order := make(map[string]named), []string(nil)
	for _, a := range file.Annotations {
		n, known := out[a.CP]
		if !known {
			order = append(order, a.CP)
		}
		if a.Type == "tts" {
			n.name = a.Text
		} else {
			n.keywords = strings.ReplaceAll(a.Text, "|", " ")
		}
		out[a.CP] = n
	}
	return out, order, nil
}

// displayNames reads the names of languages, territories and currencies.
func displayNames(raw []byte) (map[string]named, []string, error) {
	type item struct {
		Type string `xml:"type,attr"`
		Alt  string `xml:"alt,attr"`
		Text string `xml:",chardata"`
		Name string `xml:"displayName"`
	}
	var file struct {
		Languages   []item `xml:"localeDisplayNames>languages>language"`
		Territories []item `xml:"localeDisplayNames>territories>territory"`
		Currencies  []item `xml:"numbers>currencies>currency"`
	}
	if err := xml.Unmarshal(raw, &file); err != nil {
		return nil, nil, err
	}
	out, order := make(map[string]named), []string(nil)
	add := func(prefix string, items []item) {
		for _, it := range items {
			name := it.Name
			if name == "" {
				name = strings.TrimSpace(it.Text)
			}
			if it.Alt == "" && name != "" && name != "↑↑↑" {
				out[prefix+it.Type] = named{name: name}
				order = append(order, prefix+it.Type)
			}
		}
	}
	add("language ", file.Languages)
	add("territory ", file.Territories)
	add("currency ", file.Currencies)
	return out, order, nil
}

// directive matches what a catalogue's messages hold besides words.
var directive = regexp.MustCompile(`%(\([a-zA-Z_]+\))?[-+ #0-9.*$]*[a-zA-Z]*|<[^>]*>|\\[a-z]|&[a-z]+;`)

// readCatalog reads a compiled gettext catalogue whose originals are English.
func (b *bitext) readCatalog(path, root string, prov *provenance) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	prov.source(root, path, raw)
	messages, err := catalog(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	b.aligned = append(b.aligned, messages...)
	b.messages = append(b.messages, messages...)
	return nil
}

// catalog parses the GNU MO format: two tables of (length, offset).
func catalog(raw []byte) ([][2]string, error) {
	le := binary.LittleEndian
	if len(raw) < 28 || le.Uint32(raw) != 0x950412de {
		return nil, fmt.Errorf("not a little-endian gettext catalogue")
	}
	n := uint64(le.Uint32(raw[8:]))
	text := func(table uint32, i uint64) (string, error) {
		at := uint64(table) + 8*i
		if at+8 > uint64(len(raw)) {
			return "", fmt.Errorf("truncated catalogue")
		}
		size, offset := uint64(le.Uint32(raw[at:])), uint64(le.Uint32(raw[at+4:]))
		if offset+size > uint64(len(raw)) {
			return "", fmt.Errorf("truncated catalogue")
		}
		s := string(raw[offset : offset+size])
		if _, after, ok := strings.Cut(s, "\x04"); ok { // a context stands before the message
			s = after
		}
		s, _, _ = strings.Cut(s, "\x00") // plural forms come after the singular
		return strings.Join(strings.Fields(directive.ReplaceAllString(s, " ")), " "), nil
	}
	var out [][2]string
	for i := range n {
		english, err := text(le.Uint32(raw[12:]), i)
		if err != nil {
			return nil, err
		}
		spanish, err := text(le.Uint32(raw[16:]), i)
		if err != nil {
			return nil, err
		}
		if english != "" && spanish != "" && english != spanish {
			out = append(out, [2]string{english, spanish})
		}
	}
	return out, nil
}
