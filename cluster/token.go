package cluster

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"tamv.internal/tamv/tap"
)

// Limits of a token.
const (
	tokenPrefix  = "tamv-join."
	tokenVersion = 1
	minSecret    = 16
	maxSecret    = 32
	maxAddresses = 16
	maxAddress   = 255 // bytes
	checkBytes   = 4
	maxToken     = 8 << 10 // characters
)

// Token is an invitation to join a site. Whoever has it can join once, so it is
// a secret: printing a Token shows none of it, only [Token.Encode] does.
type Token struct {
	Addresses   []string // HOST:PORT of members, 1 to 16
	Fingerprint [32]byte // of the site's authority, see [Authority.Fingerprint]
	Secret      []byte   // 16 to 32 bytes
	Expires     time.Time
}

// String does not show the token.
func (t Token) String() string { return tokenPrefix + "(secret)" }

// GoString does not show the token.
func (t Token) GoString() string { return t.String() }

// LogValue does not show the token.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// Encode writes the token in the form that people pass on. The error is Invalid
// when a field is beyond its limits.
func (t Token) Encode() (string, error) {
	if err := t.validate(); err != nil {
		return "", err
	}
	b := []byte{tokenVersion}
	b = binary.BigEndian.AppendUint64(b, uint64(t.Expires.Unix()))
	b = append(b, t.Fingerprint[:]...)
	b = append(append(b, byte(len(t.Secret))), t.Secret...)
	for _, a := range t.Addresses {
		b = append(append(b, byte(len(a))), a...)
	}
	check := sha256.Sum256(b)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(append(b, check[:checkBytes]...)), nil
}

func (t Token) validate() error {
	switch {
	case len(t.Secret) < minSecret || len(t.Secret) > maxSecret:
		return errToken("the secret has the wrong length")
	case len(t.Addresses) == 0 || len(t.Addresses) > maxAddresses:
		return errToken("it does not name 1 to 16 addresses")
	case t.Expires.Unix() <= 0:
		return errToken("it has no end")
	}
	for _, a := range t.Addresses {
		if err := CheckAddress(a); err != nil {
			return err
		}
	}
	return nil
}

func errToken(why string) error {
	return tap.E("cluster.token", tap.Invalid, "this is not a join token: %s", why).WithCode("token")
}

// ParseToken reads what Encode writes, and nothing else. White space around it
// is allowed. It does not look at the clock.
func ParseToken(s string) (Token, error) {
	body, ok := strings.CutPrefix(strings.TrimSpace(s), tokenPrefix)
	if !ok || len(body) > maxToken {
		return Token{}, errToken("it does not start with " + tokenPrefix)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	const fixed = 1 + 8 + 32 + 1
	if err != nil || strings.ContainsAny(body, "\r\n") || len(raw) < fixed+minSecret+checkBytes {
		return Token{}, errToken("it is cut short, or not copied whole")
	}
	raw, check := raw[:len(raw)-checkBytes], raw[len(raw)-checkBytes:]
	if sum := sha256.Sum256(raw); string(sum[:checkBytes]) != string(check) {
		return Token{}, errToken("its checksum is wrong; it was not copied whole")
	}
	if raw[0] != tokenVersion {
		return Token{}, errToken("it is of another release")
	}
	t := Token{Expires: time.Unix(int64(binary.BigEndian.Uint64(raw[1:9])), 0).UTC(), Fingerprint: [32]byte(raw[9:41])}
	fields, ok := prefixed(raw[41:])
	if !ok {
		return Token{}, errToken("a length is wrong")
	}
	t.Secret = []byte(fields[0])
	t.Addresses = fields[1:]
	return t, t.validate()
}

// prefixed cuts b into strings with a byte of length each, at least one.
func prefixed(b []byte) (fields []string, ok bool) {
	for len(b) > 0 {
		n := int(b[0])
		if len(b) < 1+n {
			return nil, false
		}
		fields, b = append(fields, string(b[1:1+n])), b[1+n:]
	}
	return fields, len(fields) > 0
}

// CheckAddress holds that an address is HOST:PORT, at most 255 bytes, as one node
// dials another: not "everywhere", not port 0. The error is Invalid.
func CheckAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	n, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || n == 0 || port != strconv.FormatUint(n, 10) || len(address) > maxAddress || !validHost(host) ||
		net.JoinHostPort(host, port) != address {
		return tap.E("cluster.address", tap.Invalid, "an address is HOST:PORT, such as 192.0.2.7:7443").WithCode("address")
	}
	return nil
}

// validHost says whether a host is an address or a DNS name that others can
// reach: not "everywhere".
func validHost(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return !ip.IsUnspecified()
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool {
				return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
			}) {
			return false
		}
	}
	return true
}
