package cluster

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/pem"
	"strings"

	"tamv.internal/tamv/tap"
)

const (
	recoveryType  = "TAMV RECOVERY" // of the PEM block
	recoveryMagic = "tamv-recovery 1\n"
	recoveryInfo  = "tamv recovery"
	saltBytes     = 16
	codeBytes     = 32
	codeCheck     = 4 // characters
	codeGroup     = 4 // characters
	maxRecovery   = 64 << 10
)

// Recovery is what a site cannot make again.
type Recovery struct {
	Authority    []byte // PEM of its certificate
	AuthorityKey []byte // PEM
	LedgerKey    []byte // the file log.key as it is
}

// Code opens a recovery file. It is shown once, to be written down.
type Code [codeBytes]byte

// crockford has no I, L, O, U, so that a code can be read aloud and from paper.
var crockford = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// Reveal writes the code for a person, in groups of four characters, the last
// one a checksum.
func (c Code) Reveal() string {
	sum := sha256.Sum256(c[:])
	text := crockford.EncodeToString(c[:]) + crockford.EncodeToString(sum[:])[:codeCheck]
	var groups []string
	for ; text != ""; text = text[codeGroup:] {
		groups = append(groups, text[:codeGroup])
	}
	return strings.Join(groups, "-")
}

// String does not show the code.
func (c Code) String() string { return "(recovery code)" }

// GoString does not show the code.
func (c Code) GoString() string { return c.String() }

// ParseCode reads a code as a person types it: in either case, with or without
// hyphens and spaces, with O for 0 and I or L for 1.
func ParseCode(s string) (Code, error) {
	s = strings.NewReplacer("-", "", " ", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(strings.TrimSpace(s)))
	var c Code
	length := crockford.EncodedLen(codeBytes)
	if len(s) != length+codeCheck {
		return c, tap.E("cluster.recovery", tap.Invalid, "a recovery code has %d letters and digits", length+codeCheck).WithCode("recovery_code")
	}
	raw, err := crockford.DecodeString(s[:length])
	if err == nil && len(raw) == codeBytes {
		c = Code(raw)
		if strings.ReplaceAll(c.Reveal(), "-", "") == s {
			return c, nil
		}
	}
	return Code{}, tap.E("cluster.recovery", tap.Invalid, "the recovery code is mistyped").WithCode("recovery_code")
}

// Seal encrypts the material under a fresh code.
func (r Recovery) Seal() (file []byte, code Code, err error) {
	if _, err := parseAuthority(r.Authority, r.AuthorityKey); err != nil {
		return nil, code, tap.Wrap("cluster.recovery", tap.Invalid, err, "this is no certificate authority with its key").WithCode("authority")
	}
	var plain []byte
	for _, field := range [][]byte{r.Authority, r.AuthorityKey, r.LedgerKey} {
		plain = append(binary.BigEndian.AppendUint32(plain, uint32(len(field))), field...)
	}
	if len(plain) > maxRecovery/2 {
		return nil, code, tap.E("cluster.recovery", tap.Invalid, "the keys are longer than keys are")
	}
	sealed := append([]byte(recoveryMagic), make([]byte, saltBytes)...)
	salt := sealed[len(recoveryMagic):]
	_, _ = rand.Read(code[:]) // never fails
	_, _ = rand.Read(salt)
	aead, err := code.cipher(salt)
	if err != nil {
		return nil, Code{}, err
	}
	sealed = aead.Seal(sealed, nil, plain, []byte(recoveryMagic))
	return pem.EncodeToMemory(&pem.Block{Type: recoveryType, Bytes: sealed}), code, nil
}

// cipher is the AEAD of a code and a salt; it carries its nonce by itself.
func (c Code) cipher(salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, c[:], salt, recoveryInfo, 32)
	if err == nil {
		block, blockErr := aes.NewCipher(key)
		if blockErr == nil {
			return cipher.NewGCMWithRandomNonce(block)
		}
		err = blockErr
	}
	return nil, tap.Wrap("cluster.recovery", tap.Internal, err, "no cipher")
}

// OpenRecovery decrypts what Seal made. The error is Invalid for a file that is
// damaged, and Unauthenticated for a code that does not open it.
func OpenRecovery(file []byte, code Code) (Recovery, error) {
	sealed, err := parseRecovery(file)
	if err != nil {
		return Recovery{}, err
	}
	aead, err := code.cipher(sealed[:saltBytes])
	if err != nil {
		return Recovery{}, err
	}
	plain, err := aead.Open(nil, nil, sealed[saltBytes:], []byte(recoveryMagic))
	if err != nil {
		return Recovery{}, tap.E("cluster.recovery", tap.Unauthenticated, "the code does not open this recovery file, or the file was changed").
			WithCode("recovery_code")
	}
	var fields [3][]byte
	for i := range fields {
		var ok bool
		if fields[i], plain, ok = cut(plain); !ok {
			return Recovery{}, errRecovery()
		}
	}
	r := Recovery{fields[0], fields[1], fields[2]}
	if _, err := parseAuthority(r.Authority, r.AuthorityKey); err != nil || len(plain) > 0 {
		return Recovery{}, errRecovery()
	}
	return r, nil
}

func errRecovery() error {
	return tap.E("cluster.recovery", tap.Invalid, "this is not a whole recovery file").WithCode("recovery_file")
}

// parseRecovery returns what follows the magic of a recovery file. Blanks and
// line ends around the block are let pass, as copying leaves them.
func parseRecovery(file []byte) (sealed []byte, err error) {
	if len(file) > maxRecovery {
		return nil, errRecovery()
	}
	file = bytes.ReplaceAll(bytes.TrimSpace(file), []byte("\r\n"), []byte("\n"))
	block, _ := pem.Decode(file)
	if block == nil || block.Type != recoveryType || !bytes.Equal(bytes.TrimSpace(pem.EncodeToMemory(block)), file) {
		return nil, errRecovery()
	}
	sealed, ok := bytes.CutPrefix(block.Bytes, []byte(recoveryMagic))
	if !ok || len(sealed) < saltBytes {
		return nil, errRecovery()
	}
	return sealed, nil
}

// cut takes a field with four bytes of length from the front of b.
func cut(b []byte) (field, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, false
	}
	return b[4 : 4+n], b[4+n:], true
}
