package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// evidenceStep: evidence is taken away and verified with nothing but the file and
// the log's public key, and a changed byte is found where it is.
type evidenceStep struct {
	outcome
	VerifierKey string          `json:"verifierKey"`
	policy      bookpi.Policy   // that key alone
	Bundles     []bundleFigures `json:"bundles"`
}

type bundleFigures struct {
	First    uint64  `json:"firstPosition"`
	Entries  int     `json:"entries"`
	Payloads int     `json:"payloads"`
	Bytes    int     `json:"bytes"`
	Size     uint64  `json:"ledgerSize"`
	Root     string  `json:"root"`
	VerifyMs float64 `json:"verifyMs"`
	Flipped  int     `json:"flippedByte"` // offset in the file
	Broken   uint64  `json:"brokenPosition"`
	Part     string  `json:"brokenPart"`
}

// rangeEntries is how many entries the larger bundle has at most.
const rangeEntries = 32

func (d *demo) evidence(ctx context.Context) error {
	r := &d.report.Evidence
	if len(d.report.Intent.Answers) == 0 {
		return wrong("no intent was answered, so there is no entry to take away")
	}
	intent := d.report.Intent.Answers[0]
	ana, err := d.person(ctx, "ana", tap.Citizen)
	if err != nil {
		return err
	}
	auditor, err := d.person(ctx, "auditor", tap.Auditor)
	if err != nil {
		return err
	}
	var key verifierKeys
	if err := ana.get(ctx, evidencePath+"/key", nil, &key); err != nil {
		return err
	}
	r.VerifierKey = key.Key
	if r.policy, err = keyPolicy(key.Key); err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "tamvctl-demo-")
	if err != nil {
		return fileError(err)
	}
	defer os.RemoveAll(folder)

	one, err := ana.fetch(ctx, entryPath(intent.EvidenceHash)+"/bundle", nil)
	if err != nil {
		return err
	}
	f, err := r.take(filepath.Join(folder, "intent.tamv"), one, intent.Position)
	if err != nil {
		return err
	}
	r.say(textOneVerified, f.Bytes, f.VerifyMs, f.Size, shortHash(f.Root))
	r.say(textFlipped, f.Flipped, f.Broken, f.Part)
	from := intent.Position - min(intent.Position, rangeEntries/2)
	several, err := auditor.fetch(ctx, evidencePath+"/bundle", filled(
		"from", strconv.FormatUint(from, 10), "to", strconv.FormatUint(intent.Position+1, 10)))
	if err != nil {
		return err
	}
	if f, err = r.take(filepath.Join(folder, "range.tamv"), several, (from+intent.Position)/2); err != nil {
		return err
	}
	r.say(textRangeVerified, f.Entries, f.Bytes, f.VerifyMs)
	r.say(textFlipped, f.Flipped, f.Broken, f.Part)
	return nil
}

// take keeps a bundle as a file, verifies the file offline, and then once more
// with one byte changed in the record of the entry at a position.
func (r *evidenceStep) take(file string, raw []byte, position uint64) (bundleFigures, error) {
	if err := writeFile(file, raw); err != nil {
		return bundleFigures{}, err
	}
	kept, err := os.ReadFile(file)
	if err != nil {
		return bundleFigures{}, fileError(err)
	}
	var v verified
	f := bundleFigures{Bytes: len(kept)}
	if f.VerifyMs, err = timed(func() error { v, err = verify(kept, r.policy, false); return err }); err != nil {
		return f, err
	}
	f.First, f.Entries, f.Payloads, f.Size, f.Root = v.Items[0].Position, v.Entries, v.Payloads, v.Size, v.Root
	if f.Flipped = recordByte(kept, position); f.Flipped < 0 {
		return f, wrong("the bundle lacks entry %d", position)
	}
	kept[f.Flipped] ^= 1
	_, err = bookpi.VerifyBundle(kept, r.VerifierKey)
	var where *bookpi.BrokenError
	if !errors.As(err, &where) || !where.HasPosition || where.Position != position {
		return f, wrong("byte %d was changed in entry %d, and verification says: %v", f.Flipped, position, err)
	}
	f.Broken, f.Part = where.Position, where.Part
	r.Bundles = append(r.Bundles, f)
	return f, nil
}

// recordByte is the offset of a byte in the middle of an entry's record; -1 when
// the bundle does not have the entry.
func recordByte(bundle []byte, position uint64) int {
	start := bytes.Index(bundle, fmt.Appendf(nil, "\nentry %d\n", position))
	if start < 0 {
		return -1
	}
	const label = "\nrecord "
	record := bytes.Index(bundle[start:], []byte(label))
	if record < 0 {
		return -1
	}
	start += record + len(label)
	return start + bytes.IndexByte(bundle[start:], '\n')/2
}
