package bookpi

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
)

// A sealed payload is the payload of an entry that concerns a person, encrypted so
// that destroying the person's key erases it, while the entry and the chain, which
// commit to the bytes below, stay as they are:
//
//	offset size
//	     0    4  "TSP" and the version, 1
//	     4   16  key id: which subject key it was sealed under
//	    20   32  salt, random for each payload
//	    52   32  commitment to the record key
//	    84    -  AES-256-GCM ciphertext of the payload, with its tag of 16 bytes
//
//	record key = HKDF-SHA256(secret: subject key, salt: salt, info: recordInfo || key id, 32 bytes)
//	commitment = SHA-256(commitmentLabel || record key)
//
// The ciphertext is made under the record key with a nonce of twelve zeroes, which is
// sound because a record key seals one payload, and with the 84 bytes before it as
// additional data. A record key opens its payload and no other, so it can be disclosed
// to somebody who shall read that one; the commitment makes it the only key that does
// (GCM by itself would let two keys open one ciphertext to different texts). The length
// of the payload can be seen: it is the ciphertext's less 16.
const (
	sealedMagic     = "TSP\x01"
	recordInfo      = "tamv sealed payload 1\n"
	commitmentLabel = "tamv record key commitment 1\n"

	offSealedKey    = 4
	offSealedSalt   = 20
	offSealedCommit = 52
	sealedHeader    = 84

	// SealedOverhead is how much longer a payload is when it is sealed, in bytes.
	SealedOverhead = sealedHeader + 16
)

// ErrSealed: a payload that is not sealed or does not open under the key given.
var ErrSealed = errors.New("bookpi: sealed payload does not open")

// KeyID names a subject key without saying anything about it or the subject.
type KeyID [16]byte

// String returns the id as 32 lower-case hexadecimal digits.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// IsSealed says whether a payload has the form of a sealed one. Only opening it
// shows that it is.
func IsSealed(payload []byte) bool {
	return len(payload) >= SealedOverhead && string(payload[:len(sealedMagic)]) == sealedMagic
}

// Seal encrypts a payload under a subject's key. The salt must be random and used
// once; the id is what [SealedUnder] will answer.
func Seal(subjectKey [32]byte, id KeyID, salt [32]byte, payload []byte) []byte {
	out := make([]byte, 0, len(payload)+SealedOverhead)
	out = append(out, sealedMagic...)
	out = append(out, id[:]...)
	out = append(out, salt[:]...)
	key := recordKey(subjectKey, id, salt)
	commitment := commitTo(key)
	out = append(out, commitment[:]...)
	return recordCipher(key).Seal(out, make([]byte, 12), payload, out)
}

// SealedUnder is the id of the subject key that a payload was sealed under; the error
// wraps [ErrSealed] when it is not sealed.
func SealedUnder(payload []byte) (KeyID, error) {
	if !IsSealed(payload) {
		return KeyID{}, fmt.Errorf("%w: it does not have the form of one", ErrSealed)
	}
	return KeyID(payload[offSealedKey:]), nil
}

// RecordKey derives from a subject's key the key of this one sealed payload. The error
// wraps [ErrSealed] when the payload is not sealed or commits to another key.
func RecordKey(subjectKey [32]byte, payload []byte) ([32]byte, error) {
	id, err := SealedUnder(payload)
	if err != nil {
		return [32]byte{}, err
	}
	key := recordKey(subjectKey, id, [32]byte(payload[offSealedSalt:]))
	return key, checkCommitment(payload, key)
}

// OpenSealed decrypts a sealed payload with its record key. The error wraps
// [ErrSealed] when the payload is not sealed, commits to another key or was altered.
func OpenSealed(payload []byte, recordKey [32]byte) ([]byte, error) {
	if _, err := SealedUnder(payload); err != nil {
		return nil, err
	}
	if err := checkCommitment(payload, recordKey); err != nil {
		return nil, err
	}
	plain, err := recordCipher(recordKey).Open([]byte{}, make([]byte, 12), payload[sealedHeader:], payload[:sealedHeader])
	if err != nil {
		return nil, fmt.Errorf("%w: it was altered", ErrSealed)
	}
	return plain, nil
}

func checkCommitment(payload []byte, key [32]byte) error {
	commitment := commitTo(key)
	if subtle.ConstantTimeCompare(commitment[:], payload[offSealedCommit:sealedHeader]) != 1 {
		return fmt.Errorf("%w: the key is of another payload", ErrSealed)
	}
	return nil
}

func commitTo(key [32]byte) [sha256.Size]byte {
	return sha256.Sum256(append([]byte(commitmentLabel), key[:]...))
}

func recordKey(subjectKey [32]byte, id KeyID, salt [32]byte) [32]byte {
	key, err := hkdf.Key(sha256.New, subjectKey[:], salt[:], recordInfo+string(id[:]), 32)
	if err != nil {
		panic("bookpi: HKDF refuses a key of 32 bytes: " + err.Error())
	}
	return [32]byte(key)
}

func recordCipher(key [32]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("bookpi: AES refuses a key of 32 bytes: " + err.Error())
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("bookpi: no GCM: " + err.Error())
	}
	return aead
}
