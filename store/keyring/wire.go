package keyring

import (
	"encoding/binary"
	"errors"
	"io"
)

// The types of frames; doc.go has their bodies.
const (
	framePut     byte = 1
	frameDigest  byte = 2
	frameList    byte = 3
	frameGet     byte = 4
	frameStored  byte = 65
	frameState   byte = 66
	frameIDs     byte = 67
	frameSecrets byte = 68
	frameRefused byte = 127
)

const (
	maxFrame   = 64 << 10
	idBytes    = 16
	maxIDs     = 2048 // in one list
	maxGet     = 16   // in one get or put: as many secrets of the longest kind fit
	storedDisk = 1
	storedOver = 2
)

// errFrame is a frame that breaks the format.
var errFrame = errors.New("keyring: malformed frame")

// writeFrame sends a frame.
func writeFrame(w io.Writer, kind byte, body []byte) error {
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 5+len(body)), uint32(1+len(body)))
	_, err := w.Write(append(append(frame, kind), body...))
	return err
}

// readFrame receives a frame.
func readFrame(r io.Reader) (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 1 || n > maxFrame {
		return 0, nil, errFrame
	}
	body = make([]byte, n-1)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, err
	}
	return head[4], body, nil
}

// appendSecrets is the body of put and secrets.
func appendSecrets(b []byte, secrets []Secret) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(secrets)))
	for _, s := range secrets {
		at := len(b)
		b = s.append(append(b, 0, 0))
		binary.BigEndian.PutUint16(b[at:], uint16(len(b)-at-2))
	}
	return b
}

func parseSecrets(b []byte) ([]Secret, error) {
	count, b, ok := takeCount(b, maxGet)
	if !ok {
		return nil, errFrame
	}
	secrets := make([]Secret, 0, count)
	for range count {
		field, rest, ok := take(b, 2)
		if !ok {
			return nil, errFrame
		}
		s, more, ok := parseSecret(field)
		if !ok || len(more) > 0 {
			return nil, errFrame
		}
		secrets, b = append(secrets, s), rest
	}
	if len(b) > 0 {
		return nil, errFrame
	}
	return secrets, nil
}

// appendIDs is the body of get and ids.
func appendIDs(b []byte, ids []ID) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(ids)))
	for _, id := range ids {
		b = append(b, id[:]...)
	}
	return b
}

func parseIDs(b []byte, most int) ([]ID, error) {
	count, b, ok := takeCount(b, most)
	if !ok || len(b) != count*idBytes {
		return nil, errFrame
	}
	ids := make([]ID, count)
	for i := range ids {
		ids[i] = ID(b[i*idBytes:])
	}
	return ids, nil
}

func takeCount(b []byte, most int) (count int, rest []byte, ok bool) {
	if len(b) < 2 {
		return 0, nil, false
	}
	count = int(binary.BigEndian.Uint16(b))
	return count, b[2:], count <= most
}

func appendState(b []byte, count int, xor ID) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(count)), xor[:]...)
}

func parseState(b []byte) (count uint64, xor ID, err error) {
	if len(b) != 8+idBytes {
		return 0, ID{}, errFrame
	}
	return binary.BigEndian.Uint64(b), ID(b[8:]), nil
}
