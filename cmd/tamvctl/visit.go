package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"tamv.internal/tamv/store/bookpi"
)

// The kinds of an audit.
const (
	auditWhole     = "whole"
	auditSinceLast = "since-last"
)

// auditKind is what an audit was, which is not always what was asked for: a first one is
// whole.
func auditKind(r *bookpi.AuditReport) string {
	if r.From > 0 {
		return auditSinceLast
	}
	return auditWhole
}

// visitFile is the auditor's memory of a log, as a file. Those written before there were
// audits of a part have the first three fields alone.
type visitFile struct {
	Origin string      `json:"origin"`
	Size   uint64      `json:"ledgerSize"`
	Root   bookpi.Hash `json:"root"`

	Kind     string `json:"audit,omitempty"`         // "whole" or "since-last"
	First    uint64 `json:"firstPosition,omitempty"` // that it looked at
	Payloads string `json:"payloads,omitempty"`      // present, required or ignored
	Time     string `json:"time,omitempty"`          // when it began, by this machine's clock
	// Of the last audit that was whole; missing if none is known.
	WholeSize uint64 `json:"wholeSize,omitempty"`
	WholeTime string `json:"wholeTime,omitempty"`
}

// newVisit is what to remember of an audit that found no damage.
func newVisit(r *bookpi.AuditReport, payloads string, last *visitFile, began time.Time) visitFile {
	v := visitFile{
		Origin: r.Origin, Size: r.Size, Root: r.Root,
		Kind: auditKind(r), First: r.From, Payloads: payloads, Time: began.UTC().Format(time.RFC3339),
	}
	if r.From == 0 {
		v.WholeSize, v.WholeTime = v.Size, v.Time
	} else if last != nil {
		v.WholeSize, v.WholeTime = last.WholeSize, last.WholeTime
	}
	return v
}

// visit is what an audit needs of it; nil when there was none.
func (v *visitFile) visit() *bookpi.Visit {
	if v == nil {
		return nil
	}
	return &bookpi.Visit{Origin: v.Origin, Size: v.Size, Root: v.Root}
}

// readVisit reads the last visit; nil when there was none.
func (a *app) readVisit(name string) (*visitFile, error) {
	if name == "" {
		return nil, nil
	}
	if _, err := os.Stat(a.path(name)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	raw, err := a.readFile(name)
	if err != nil {
		return nil, err
	}
	var v visitFile
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	err = d.Decode(&v)
	if _, end := d.Token(); err != nil || end != io.EOF || v.Origin == "" || v.Size > bookpi.MaxSize {
		// Beginning anew would forget what the log must still contain.
		return nil, badInput("%s is not the memory of an audit", name)
	}
	return &v, nil
}

func (a *app) writeVisit(name string, v visitFile) error {
	if name == "" {
		return nil
	}
	raw, err := marshal(v)
	if err != nil {
		return err
	}
	return writeFile(a.path(name), raw)
}
