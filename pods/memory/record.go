package memory

import (
	"encoding/binary"
	"hash/crc32"
	"math"

	"github.com/vmihailenco/msgpack/v5"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// space is the pod's part of the key space: one record per document id.
const space = "doc"

// record is a document as stored, in MessagePack.
type record struct {
	Type     string            `msgpack:"t"`
	Content  string            `msgpack:"c"`
	Metadata map[string]string `msgpack:"d,omitempty"`
	Model    string            `msgpack:"m"`           // id of the embedder that made Vector
	Vector   []byte            `msgpack:"v"`           // float32, little-endian
	Created  int64             `msgpack:"n"`           // microseconds
	Updated  int64             `msgpack:"u"`           // microseconds
	Author   string            `msgpack:"a"`           // who wrote it last
	Own      bool              `msgpack:"o,omitempty"` // the vector came with the document
}

// encode gives the record's bytes, the same for the same record.
func (r *record) encode() ([]byte, error) {
	e := msgpack.GetEncoder()
	defer msgpack.PutEncoder(e)
	var buf writer
	e.Reset(&buf)
	e.SetSortMapKeys(true)
	err := e.Encode(r)
	return buf, err
}

// writer collects what an encoder writes.
type writer []byte

func (w *writer) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}

func decodeRecord(b []byte) (record, error) {
	var r record
	if err := msgpack.Unmarshal(b, &r); err != nil {
		return record{}, tap.Wrap("memory.record", tap.Internal, err, "a stored document does not parse")
	}
	return r, nil
}

func encodeVector(v []float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

// decodeVector reads what encodeVector wrote; nil when b is nothing such.
func decodeVector(b []byte) []float32 {
	if len(b) == 0 || len(b)%4 != 0 {
		return nil
	}
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

// checksum is the CRC-32C of what an index holds of the document: its type, when it
// was written, its vector. Together with the version it tells whether an index that
// was saved is up to date, even when the state is of another history meanwhile.
func (r *record) checksum() uint32 {
	sum := crc32.Checksum(binary.LittleEndian.AppendUint64([]byte(r.Type), uint64(r.Updated)), castagnoli)
	return crc32.Update(sum, castagnoli, r.Vector)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// text is what is embedded and what words are taken from.
func (r *record) text() string { return embedded(r.Content, r.Metadata) }

// document is a record as the API shows it.
type document struct {
	ID       string            `json:"id"`
	Type     string            `json:"documentType"`
	Content  string            `json:"content,omitempty"`
	Bytes    int               `json:"bytes"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Model    string            `json:"model"`
	Stale    bool              `json:"stale"`               // the vector is of another engine than the one in use
	Own      bool              `json:"ownVector,omitempty"` // the vector came with the document
	Version  uint64            `json:"version"`             // of the record: another one after each change
	Created  string            `json:"created"`
	Updated  string            `json:"updated"`
	Author   string            `json:"author"`
}

func (p *Pod) show(item store.Item, withContent bool) (document, error) {
	r, err := decodeRecord(item.Value)
	if err != nil {
		return document{}, err
	}
	d := document{
		ID: item.Key.Last(), Type: r.Type, Bytes: len(r.Content), Metadata: r.Metadata, Model: r.Model,
		Stale: !r.Own && r.Model != p.embedder.ID(), Own: r.Own, Version: item.Version,
		Created: pods.TimestampMicros(r.Created), Updated: pods.TimestampMicros(r.Updated), Author: r.Author,
	}
	if withContent {
		d.Content = r.Content
	}
	return d, nil
}
