package linear

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"

	"tamv.internal/tamv/model"
)

// The weights are, little-endian and without padding:
//
//	magic    8 bytes "TAMVLIN1"
//	buckets  uint32, must be Buckets
//	labels   uint32, 1..8
//	label    labels x { length uint8, name, slope float32, offset float32, scale float32 }
//	cells    buckets x labels int8
const magic = "TAMVLIN1"

// Head is one label's weights before they are packed.
type Head struct {
	Label         string    // 1..255 bytes
	Weights       []float32 // one per bucket
	Slope, Offset float32   // calibration: probability = sigmoid(Slope logit + Offset)
}

// Pack encodes one to eight heads; New reads them. The same heads give the same
// bytes.
func Pack(heads []Head) ([]byte, error) {
	if len(heads) < 1 || len(heads) > lanes {
		return nil, fmt.Errorf("linear: %d labels, want 1..%d", len(heads), lanes)
	}
	out := []byte(magic)
	out = binary.LittleEndian.AppendUint32(out, Buckets)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(heads)))
	scales := make([]float32, len(heads))
	for k, h := range heads {
		if len(h.Label) < 1 || len(h.Label) > 255 || len(h.Weights) != Buckets {
			return nil, fmt.Errorf("linear: label %q with %d weights cannot be packed", h.Label, len(h.Weights))
		}
		var largest float32
		for _, w := range h.Weights {
			largest = max(largest, w, -w)
		}
		scales[k] = max(largest/127, math.SmallestNonzeroFloat32)
		out = append(out, byte(len(h.Label)))
		out = append(out, h.Label...)
		for _, v := range []float32{h.Slope, h.Offset, scales[k]} {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
		}
	}
	for b := range Buckets {
		for k, h := range heads {
			out = append(out, byte(int8(math.RoundToEven(float64(h.Weights[b])/float64(scales[k])))))
		}
	}
	return out, nil
}

// New reads packed weights, or returns model.ErrWeights.
func New(packed []byte) (*Classifier, error) {
	bad := func(what string) (*Classifier, error) {
		return nil, fmt.Errorf("%w: linear classifier: %s", model.ErrWeights, what)
	}
	body, ok := bytes.CutPrefix(packed, []byte(magic))
	if !ok || len(body) < 8 {
		return bad("no header")
	}
	buckets, labels := binary.LittleEndian.Uint32(body), binary.LittleEndian.Uint32(body[4:])
	body = body[8:]
	if buckets != Buckets || labels < 1 || labels > lanes {
		return bad(fmt.Sprintf("%d buckets and %d labels", buckets, labels))
	}
	sum := sha256.Sum256(packed)
	c := &Classifier{id: "linear-audit-" + hex.EncodeToString(sum[:6])}
	for k := range int(labels) {
		if len(body) < 1 || len(body) < 1+int(body[0])+12 {
			return bad("truncated labels")
		}
		size := 1 + int(body[0])
		c.labels = append(c.labels, string(body[1:size]))
		for i, into := range []*float32{&c.slope[k], &c.offset[k], &c.scale[k]} {
			*into = math.Float32frombits(binary.LittleEndian.Uint32(body[size+4*i:]))
			if !(*into > -1e6 && *into < 1e6) {
				return bad("calibration out of range")
			}
		}
		body = body[size+12:]
	}
	if len(body) != int(labels)*Buckets {
		return bad(fmt.Sprintf("%d cells, want %d", len(body), int(labels)*Buckets))
	}
	c.cells = make([]int8, Buckets*lanes)
	for b := range Buckets {
		for k := range int(labels) {
			c.cells[b*lanes+k] = int8(body[b*int(labels)+k])
		}
	}
	return c, nil
}
