package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"sync/atomic"
	"unicode/utf8"

	"tamv.internal/tamv/tap"
)

// maxLine bounds a line of an import, in bytes: a document of the largest size,
// with every character escaped and a vector as numbers, is shorter.
const maxLine = 256 << 10

// byteOrderMark is what some editors put before UTF-8.
var byteOrderMark = []byte("\ufeff")

// importLine is a line on its way into memory.
type importLine struct {
	number uint64 // from 1
	blank  bool
	raw    []byte
	id     string // empty when the line gives none
	body   json.RawMessage
	fault  *tap.Error // why it is not sent
}

func bodies(lines []importLine) []json.RawMessage {
	all := make([]json.RawMessage, len(lines))
	for i := range lines {
		all[i] = lines[i].body
	}
	return all
}

// lineReader reads lines of any length and keeps those that are not too long.
type lineReader struct {
	source *bufio.Reader
	number uint64
	read   atomic.Int64 // bytes
}

func newLineReader(source io.Reader) *lineReader {
	return &lineReader{source: bufio.NewReaderSize(source, 64<<10)}
}

// next is the next line, or io.EOF.
func (r *lineReader) next() (importLine, error) {
	r.number++
	line := importLine{number: r.number}
	size := 0
	for {
		part, err := r.source.ReadSlice('\n')
		size += len(part)
		if size <= maxLine {
			line.raw = append(line.raw, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == io.EOF && size == 0:
			return line, io.EOF
		case err != nil && err != io.EOF:
			return line, err
		}
		break
	}
	r.read.Add(int64(size))
	if size > maxLine {
		line.fault = badInput("the line is longer than %d bytes", maxLine)
	}
	if line.number == 1 {
		line.raw = bytes.TrimPrefix(line.raw, byteOrderMark)
	}
	line.raw = bytes.TrimSpace(line.raw)
	line.blank = size <= maxLine && len(line.raw) == 0
	return line, nil
}

// lineDefaults is what lines that do not say it themselves are given.
type lineDefaults struct {
	kind, model string
	metadata    map[string]string
}

// document makes the document of a line. Whether it is a good one the appliance
// says; here it only has to be an object.
func (line *importLine) document(defaults *lineDefaults) {
	if line.fault != nil {
		return
	}
	var fields map[string]json.RawMessage
	if !utf8.Valid(line.raw) {
		line.fault = badInput("the line is not UTF-8")
		return
	}
	err := json.Unmarshal(line.raw, &fields)
	var broken *json.SyntaxError
	switch {
	case errors.As(err, &broken):
		line.fault = badInput("the line is not JSON from byte %d on", broken.Offset)
		return
	case err != nil || fields == nil:
		line.fault = badInput("the line is no JSON object")
		return
	}
	if err := defaults.apply(fields); err != nil {
		line.fault = badInput("%v", err)
		return
	}
	// An id that is no text is the appliance's to refuse.
	_ = json.Unmarshal(fields["id"], &line.id)
	line.raw = nil
	line.body, _ = json.Marshal(fields) // every value is JSON that was parsed
}

// apply fills in what a line leaves out and makes its vector short.
func (d *lineDefaults) apply(fields map[string]json.RawMessage) error {
	text := func(name, value string) {
		if _, ok := fields[name]; !ok && value != "" {
			fields[name], _ = json.Marshal(value) // a string always encodes
		}
	}
	text("documentType", d.kind)
	if vector, ok := fields["vector"]; ok {
		text("model", d.model)
		if len(vector) > 0 && vector[0] == '[' {
			numbers, err := vectorNumbers(vector)
			if err != nil {
				return err
			}
			text := packVector(numbers)
			fields["vector"], _ = json.Marshal(text)
		}
	} else {
		delete(fields, "model") // an export names it; without a vector it says nothing
	}
	if len(d.metadata) == 0 {
		return nil
	}
	merged := map[string]json.RawMessage{}
	if own, ok := fields["metadata"]; ok {
		if err := json.Unmarshal(own, &merged); err != nil || merged == nil {
			return errors.New("the metadata is no object")
		}
	}
	for name, value := range d.metadata {
		if _, ok := merged[name]; !ok {
			merged[name], _ = json.Marshal(value)
		}
	}
	fields["metadata"], _ = json.Marshal(merged)
	return nil
}

// vectorNumbers reads a JSON array of numbers.
func vectorNumbers(raw []byte) ([]float32, error) {
	var numbers []float32
	if err := json.Unmarshal(raw, &numbers); err != nil || bytes.Contains(raw, []byte("null")) { // which would be taken for 0
		return nil, errors.New("the vector is no list of numbers")
	}
	return numbers, nil
}

// packVector is a vector as base64 of float32, little-endian.
func packVector(v []float32) string {
	raw := make([]byte, 0, 4*len(v))
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(raw)
}
