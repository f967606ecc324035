package pods

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Bounds of a number: what a float64 can hold, and no more digits than anybody
// means. Comparing 1e-9999999 exactly, as a schema does, costs seconds.
const (
	maxNumberBytes = 64
	maxExponent    = 400
)

var (
	errEnd       = errors.New("it ends too early")
	errSyntax    = errors.New("syntax error")
	errTrailing  = errors.New("bytes after the value")
	errDepth     = errors.New("nested too deeply")
	errValues    = fmt.Errorf("more than %d values", MaxValues)
	errDuplicate = errors.New("a key appears twice in one object")
	errNumber    = errors.New("a number with too many digits or too large an exponent")
)

// scanner reads a body of valid UTF-8 once, from left to right (RFC 8259), and
// stops at the first error. Every method starts at the first byte of what it
// reads and ends behind its last.
type scanner struct {
	body   []byte
	at     int // of the next byte
	values int // read so far
	// members are those of the objects being read, innermost last; in the end
	// those of the outermost.
	members []Member
}

// skip passes over white space; false = that was the end.
func (s *scanner) skip() bool {
	for ; s.at < len(s.body); s.at++ {
		switch s.body[s.at] {
		case ' ', '\t', '\r', '\n':
		default:
			return true
		}
	}
	return false
}

// take skips white space and reads a byte.
func (s *scanner) take() (byte, error) {
	if !s.skip() {
		return 0, errEnd
	}
	s.at++
	return s.body[s.at-1], nil
}

// value reads white space and a value that stands within so many others.
func (s *scanner) value(depth int) error {
	if !s.skip() {
		return errEnd
	}
	start, first := s.at, s.body[s.at]
	var err error
	switch first {
	case '{', '[':
		s.at++
	case '"':
		err = s.text()
	case 't':
		err = s.word("true")
	case 'f':
		err = s.word("false")
	case 'n':
		err = s.word("null")
	default:
		err = s.number()
	}
	if err != nil {
		return err
	}
	if s.values++; s.values > MaxValues {
		return errValues
	}
	switch first {
	case '{', '[':
		if depth == MaxDepth {
			return errDepth
		}
		if first == '{' {
			return s.object(depth + 1)
		}
		return s.array(depth + 1)
	case '"', 't', 'f', 'n':
		return nil
	}
	if !plain(s.body[start:s.at]) {
		return errNumber
	}
	return nil
}

// array reads what follows the opening bracket.
func (s *scanner) array(depth int) error {
	for first := true; ; first = false {
		c, err := s.take()
		switch {
		case err != nil:
			return err
		case c == ']':
			return nil
		case first:
			s.at-- // it belongs to the value
		case c != ',':
			return errSyntax
		}
		if err := s.value(depth); err != nil {
			return err
		}
	}
}

// fewMembers is how many members of one object are compared with each other one
// by one.
const fewMembers = 16

// object reads what follows the opening brace.
func (s *scanner) object(depth int) error {
	outer := len(s.members)
	var many map[string]bool // the names, once there are more than a few
	for {
		c, err := s.take()
		own := s.members[outer:]
		switch {
		case err != nil:
			return err
		case c == '}':
			if depth > 1 {
				s.members = s.members[:outer]
			}
			return nil
		case len(own) == 0:
			s.at-- // it belongs to the name
		case c != ',':
			return errSyntax
		}
		name, err := s.name()
		if err != nil {
			return err
		}
		if len(own) == fewMembers {
			many = make(map[string]bool, 2*fewMembers)
			for _, m := range own {
				many[string(m.Name)] = true
			}
		}
		if many[string(name)] || many == nil && contains(own, name) {
			return errDuplicate
		}
		if many != nil {
			many[string(name)] = true
		}
		if err := s.member(name, depth); err != nil {
			return err
		}
	}
}

func contains(members []Member, name []byte) bool {
	for i := range members {
		if bytes.Equal(members[i].Name, name) {
			return true
		}
	}
	return false
}

// name reads white space and the name of a member.
func (s *scanner) name() ([]byte, error) {
	if !s.skip() {
		return nil, errEnd
	}
	start := s.at
	if s.body[start] != '"' {
		return nil, errSyntax
	}
	err := s.text()
	if err != nil {
		return nil, err
	}
	return unquote(s.body[start:s.at]), nil
}

// member reads the colon and the value behind a name.
func (s *scanner) member(name []byte, depth int) error {
	c, err := s.take()
	if err != nil {
		return err
	}
	if c != ':' {
		return errSyntax
	}
	if !s.skip() {
		return errEnd
	}
	i, start := len(s.members), s.at
	s.members = append(s.members, Member{Name: name})
	if err := s.value(depth); err != nil {
		return err
	}
	s.members[i].Value = s.body[start:s.at:s.at]
	return nil
}

// text reads a string. Most of a body is text, so the loop is tight.
func (s *scanner) text() error {
	for i := s.at + 1; i < len(s.body); i++ {
		c := s.body[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		s.at = i + 1
		if c == '"' {
			return nil
		}
		if c < ' ' {
			return errSyntax
		}
		if err := s.escape(); err != nil {
			return err
		}
		i = s.at - 1
	}
	return errEnd
}

// escape reads what follows a backslash.
func (s *scanner) escape() error {
	if s.at == len(s.body) {
		return errEnd
	}
	c := s.body[s.at]
	s.at++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return nil
	case 'u':
		for range 4 {
			if s.at == len(s.body) {
				return errEnd
			}
			switch c := s.body[s.at]; {
			case '0' <= c && c <= '9', 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
				s.at++
			default:
				return errSyntax
			}
		}
		return nil
	}
	return errSyntax
}

// word reads true, false or null.
func (s *scanner) word(want string) error {
	got := s.body[s.at:min(len(s.body), s.at+len(want))]
	s.at += len(got)
	switch {
	case string(got) == want:
		return nil
	case string(got) == want[:len(got)]:
		return errEnd
	}
	return errSyntax
}

// number reads a number: an integer without leading zeros, perhaps a fraction,
// perhaps an exponent.
func (s *scanner) number() error {
	s.optional("-")
	if !s.optional("0") {
		if err := s.digits(); err != nil {
			return err
		}
	}
	if s.optional(".") {
		if err := s.digits(); err != nil {
			return err
		}
	}
	if s.optional("eE") {
		s.optional("+-")
		return s.digits()
	}
	return nil
}

// optional reads a byte if it is one of these.
func (s *scanner) optional(oneOf string) bool {
	if s.at == len(s.body) || strings.IndexByte(oneOf, s.body[s.at]) < 0 {
		return false
	}
	s.at++
	return true
}

// digits reads one digit or more.
func (s *scanner) digits() error {
	start := s.at
	for s.at < len(s.body) && '0' <= s.body[s.at] && s.body[s.at] <= '9' {
		s.at++
	}
	switch {
	case s.at > start:
		return nil
	case s.at == len(s.body):
		return errEnd
	}
	return errSyntax
}

// plain says whether a number keeps to the bounds.
func plain(number []byte) bool {
	if len(number) > maxNumberBytes {
		return false
	}
	i := bytes.IndexAny(number, "eE")
	if i < 0 {
		return true
	}
	exponent, err := strconv.Atoi(string(number[i+1:]))
	return err == nil && exponent >= -maxExponent && exponent <= maxExponent
}
