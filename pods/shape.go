package pods

import (
	"bytes"
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"unicode/utf8"
)

// shape is a schema of the simplest kind: a closed object whose members are
// strings or anything. It is compared with a body as that was sent, for a tenth
// of what the library needs. A shape only ever says yes: what it does not accept
// goes to the library, which finds the words for a refusal.
type shape struct {
	properties map[string]property
	required   int // how many of them; at least one, so that only objects are accepted
}

// property is what a shape asks of a member.
type property struct {
	required bool
	text     bool // else it may be anything, and nothing below counts
	min, max int  // characters
	pattern  *regexp.Regexp
	oneOf    []string // nil = any text
}

// shapeOf is the shape of a schema that compiled; nil when the schema has a
// keyword that a shape has not.
func shapeOf(source []byte) *shape {
	var keywords struct {
		Title, Description, Type string
		AdditionalProperties     *bool
		Required                 []string
		Properties               map[string]json.RawMessage
	}
	if !fits(source, &keywords) || keywords.Type != "object" || len(keywords.Required) == 0 ||
		keywords.AdditionalProperties == nil || *keywords.AdditionalProperties {
		return nil
	}
	s := &shape{make(map[string]property, len(keywords.Properties)), len(keywords.Required)}
	for name, of := range keywords.Properties {
		p, ok := propertyOf(of)
		if !ok {
			return nil
		}
		p.required = slices.Contains(keywords.Required, name)
		s.properties[name] = p
	}
	return s
}

// propertyOf is what the schema of a member asks; not ok when that is more than
// a property holds.
func propertyOf(source []byte) (p property, ok bool) {
	if string(source) == "true" {
		return p, true
	}
	var keywords struct {
		Title, Description, Type string
		MinLength                int
		MaxLength                *int
		Pattern                  string
		Enum                     []any
	}
	if !fits(source, &keywords) {
		return p, false
	}
	p = property{min: keywords.MinLength, max: math.MaxInt}
	if keywords.MaxLength != nil {
		p.max = *keywords.MaxLength
	}
	if keywords.Pattern != "" {
		p.pattern = regexp.MustCompile(keywords.Pattern) // as the library did
	}
	for _, v := range keywords.Enum {
		text, ok := v.(string)
		if !ok {
			return p, false
		}
		p.oneOf = append(p.oneOf, text)
	}
	p.text = keywords.Type == "string" || p.oneOf != nil
	bare := p.min == 0 && p.max == math.MaxInt && p.pattern == nil
	return p, keywords.Type == "string" || keywords.Type == "" && (p.text || bare)
}

// fits reads a schema and says whether the keywords are all that is in it.
func fits(schema []byte, keywords any) bool {
	d := json.NewDecoder(bytes.NewReader(schema))
	d.DisallowUnknownFields()
	return d.Decode(keywords) == nil
}

// accepts says whether an object with these members is certainly valid.
func (s *shape) accepts(members []Member) bool {
	if s == nil {
		return false
	}
	missing := s.required
	for i := range members {
		p, known := s.properties[string(members[i].Name)]
		if !known || p.text && !p.accepts(members[i].Value) {
			return false
		}
		if p.required {
			missing--
		}
	}
	return missing == 0
}

func (p *property) accepts(value []byte) bool {
	if value[0] != '"' {
		return false
	}
	text := unquote(value)
	n := utf8.RuneCount(text)
	return n >= p.min && n <= p.max &&
		(p.pattern == nil || p.pattern.Match(text)) &&
		(p.oneOf == nil || slices.Contains(p.oneOf, string(text)))
}
