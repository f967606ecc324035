package memory

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/vector"
)

// Limits of a document.
const (
	// MaxContent is the longest text, in bytes.
	MaxContent = 8 << 10
	// MaxPairs is how many pairs of metadata there may be, of names up to
	// MaxName and values up to MaxValue bytes.
	MaxPairs = 16
	MaxName  = 64
	MaxValue = 256
)

var (
	typePattern  = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,49}$`)
	pairPattern  = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
	modelPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,99}$`)
)

// newDocument is a document on its way into memory.
type newDocument struct {
	ID       string            `json:"id"`
	Type     string            `json:"documentType"`
	Content  string            `json:"content"`
	Metadata map[string]string `json:"metadata"`
	Vector   vectorArg         `json:"vector"` // nil = the embedder's
	Model    string            `json:"model"`  // that made Vector
}

// vectorArg is a vector as a caller sends it: an array of numbers, or base64 of
// float32, little-endian.
type vectorArg []float32

// UnmarshalJSON implements json.Unmarshaler.
func (v *vectorArg) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '"' {
		var numbers []float32
		err := json.Unmarshal(b, &numbers)
		if err == nil && bytes.Contains(b, []byte("null")) { // which would be taken for 0
			err = errors.New("a component of the vector is null")
		}
		*v = numbers
		return err
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	if base64.StdEncoding.DecodedLen(len(text)) > 4*vector.MaxDim+3 {
		return errors.New("the vector is too long")
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) == 0 || len(raw)%4 != 0 {
		return errors.New("the vector is no base64 of 4-byte numbers")
	}
	*v = decodeVector(raw)
	return nil
}

func encodeVectorArg(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// check holds a document to every rule but those of its vector.
func (d *newDocument) check() error {
	bad := func(code, format string, args ...any) error {
		return tap.E("memory.add", tap.Invalid, format, args...).WithCode(code)
	}
	switch {
	case !tap.ValidName(d.ID):
		return bad("text", "a document id is 1 to 64 lower-case letters, digits, '-', '_' or '.'")
	case !typePattern.MatchString(d.Type):
		return bad("text", "a document type is a capital letter and up to 49 capitals, digits or '_'")
	case len(d.Content) > MaxContent:
		return bad("too_large", "the content is longer than %d bytes; split it into passages", MaxContent)
	case strings.TrimSpace(d.Content) == "":
		return bad("text", "the content is empty")
	case !clean(d.Content):
		return bad("text", "the content has control characters other than line feed and tab")
	case len(d.Metadata) > MaxPairs:
		return bad("text", "there are more than %d pairs of metadata", MaxPairs)
	case d.Model != "" && !modelPattern.MatchString(d.Model):
		return bad("model", "a model id is up to 100 letters, digits, '.', '_', ':', '/', '@' or '-'")
	case d.Vector != nil && d.Model == "":
		return bad("model", `a document with "vector" needs "model", the id of what made it`)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Metadata)) {
		switch value := d.Metadata[name]; {
		case !pairPattern.MatchString(name):
			return bad("text", "a name of metadata is 1 to %d letters, digits, '_', '.' or '-'", MaxName)
		case len(value) > MaxValue:
			return bad("text", "a value of metadata is longer than %d bytes", MaxValue)
		case !clean(value):
			return bad("text", "the metadata has control characters")
		}
	}
	return nil
}

// clean says whether a text is UTF-8 without control characters but line feed
// and tab.
func clean(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' })
}

// equal says whether two documents would be stored alike.
func (d *newDocument) equal(e *newDocument) bool {
	return d.Type == e.Type && d.Content == e.Content && d.Model == e.Model && maps.Equal(d.Metadata, e.Metadata) && slices.Equal(d.Vector, e.Vector)
}

// contentID is the id of a document that was given none: the same document has
// the same id whenever and wherever it is sent.
func (d *newDocument) contentID() string {
	h := sha256.New()
	for _, field := range []string{d.Type, d.Content} {
		fmt.Fprintf(h, "%d:%s", len(field), field)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Metadata)) {
		fmt.Fprintf(h, "%d:%s%d:%s", len(name), name, len(d.Metadata[name]), d.Metadata[name])
	}
	return "c-" + hex.EncodeToString(h.Sum(nil)[:20])
}

// exported are the fields that an export adds to a document, which an import
// passes over: the importing appliance writes its own.
var exported = []string{"created", "updated", "author", "version"}

// parseDocument reads one document of a batch.
func parseDocument(raw json.RawMessage) (newDocument, error) {
	var d newDocument
	bad := func(format string, args ...any) error {
		return tap.E("memory.import", tap.Invalid, format, args...).WithCode("schema")
	}
	members, err := pods.Members(raw)
	if err != nil {
		return d, err
	}
	for _, m := range members {
		switch name := string(m.Name); name {
		case "id", "documentType", "content", "metadata", "vector", "model":
			if bytes.Equal(m.Value, []byte("null")) {
				return d, bad("%q is null", name)
			}
		default:
			if !slices.Contains(exported, name) {
				return d, bad("a document has no field %q", short(name))
			}
		}
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) && wrong.Field == "" {
			return d, bad("a document is an object")
		}
		if wrong != nil {
			return d, bad("%q has the wrong type", wrong.Field)
		}
		return d, bad("the vector is no list of numbers and no base64 of 4-byte numbers, or is too long")
	}
	return d, nil
}

// short cuts a text that a caller sent, for an error.
func short(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// embedded is the text that stands for a document in the vector space.
func embedded(content string, metadata map[string]string) string {
	if title := metadata["title"]; strings.TrimSpace(title) != "" {
		return title + "\n" + content
	}
	return content
}
