package consensus

import "encoding/binary"

// wire reads the fields of a call's body one after the other; integers are big-endian, strings have a length of two bytes.
// After the first field that is not there everything is zero and ok is false.
type wire struct {
	data []byte
	bad  bool
}

// take returns the next n bytes, which alias the body.
func (w *wire) take(n int) []byte {
	if w.bad || n > len(w.data) {
		w.bad = true
		return nil
	}
	field := w.data[:n:n]
	w.data = w.data[n:]
	return field
}

func (w *wire) uint8() uint8 {
	if b := w.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (w *wire) uint16() uint16 {
	if b := w.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (w *wire) uint32() uint32 {
	if b := w.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (w *wire) uint64() uint64 {
	if b := w.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// bytes returns a field of at most limit bytes; a longer one is bad.
func (w *wire) bytes(limit int) []byte {
	n := int(w.uint16())
	if n > limit {
		w.bad = true
	}
	return w.take(n)
}

// end returns errCall unless everything was there and nothing is left.
func (w *wire) end() error {
	if w.bad || len(w.data) > 0 {
		return errCall
	}
	return nil
}

// appendBytes appends what wire.bytes reads. The caller keeps within 64 KiB.
func appendBytes[T string | []byte](data []byte, field T) []byte {
	return append(binary.BigEndian.AppendUint16(data, uint16(len(field))), field...)
}
