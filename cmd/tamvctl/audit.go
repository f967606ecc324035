package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/cmd/tamvctl/mirror"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// auditFlags is what evidence audit is told.
type auditFlags struct {
	trust    trustFlags
	state    string
	since    bool
	damages  int
	payloads string
	parallel int
	segments string
}

func (a *app) evidenceAudit() *cobra.Command {
	in := auditFlags{parallel: 4}
	c := a.verb("audit [DIR|URL] [--key KEY|@FILE | --policy FILE] [flags]", textEvidenceAudit, cobra.MaximumNArgs(1), func(ctx context.Context, args []string) error {
		place := ""
		if len(args) == 1 {
			place = args[0]
		}
		return a.audit(ctx, place, in)
	})
	in.trust.flags(a, c)
	c.Flags().StringVar(&in.state, "state", "", textFlagVisit.In(a.lang))
	c.Flags().BoolVar(&in.since, "since-last", false, textFlagSinceLast.In(a.lang))
	c.Flags().IntVar(&in.damages, "continue", 1, textFlagContinue.In(a.lang))
	c.Flags().StringVar(&in.payloads, "payloads", "present", textFlagPayloads.In(a.lang))
	c.Flags().IntVar(&in.parallel, "parallel", in.parallel, textFlagParallel.In(a.lang))
	c.Flags().StringVar(&in.segments, "segments", "", textFlagSegments.In(a.lang))
	complete(c, "payloads", "present", "required", "ignored")
	return c
}

var payloadChecks = map[string]bookpi.PayloadCheck{
	"present": bookpi.PayloadsIfPresent, "required": bookpi.PayloadsRequired, "ignored": bookpi.PayloadsIgnored,
}

// audited is what an audit found.
type audited struct {
	OK         bool       `json:"ok"`
	Kind       string     `json:"audit"` // "whole" or "since-last"
	First      uint64     `json:"firstPosition"`
	Origin     string     `json:"origin"`
	Size       uint64     `json:"ledgerSize"`
	Root       string     `json:"root"`
	Entries    uint64     `json:"entries"`
	Payloads   uint64     `json:"payloads"`
	Withheld   uint64     `json:"payloadsWithheld"`
	Recorded   int        `json:"recordedCheckpoints"`
	CosignedBy []cosigner `json:"cosignedBy,omitempty"`
	Quorum     string     `json:"quorum,omitempty"`
	From       string     `json:"firstTime,omitempty"`
	To         string     `json:"lastTime,omitempty"`
	Since      *uint64    `json:"sinceSize,omitempty"` // of the last visit
	TookMs     float64    `json:"tookMs"`
	Damages    []damage   `json:"damages,omitempty"`
}

// damage is one contradiction.
type damage struct {
	Position *uint64 `json:"position,omitempty"`
	Part     string  `json:"part"`
	Reason   string  `json:"reason"`
}

func (a *app) audit(ctx context.Context, place string, in auditFlags) error {
	check, ok := payloadChecks[in.payloads]
	switch {
	case !ok:
		return usage("--payloads %q is not present, required or ignored", in.payloads)
	case in.since && in.state == "":
		return usage("--since-last needs --state FILE, which remembers the last visit")
	case in.parallel < 1 || in.parallel > maxParallel:
		return usage("--parallel %d is not within 1..%d", in.parallel, maxParallel)
	case in.damages < 1 || in.damages > maxReported:
		return usage("--continue %d is not within 1..%d", in.damages, maxReported)
	}
	policy, err := a.policyOf(in.trust)
	if err != nil {
		return err
	}
	last, err := a.readVisit(in.state)
	if err != nil {
		return err
	}
	src, err := a.logSource(place)
	if err == nil {
		src, err = a.withSegments(src, in.segments)
	}
	if err != nil {
		return err
	}
	began := time.Now()
	report, failed := bookpi.Audit(ctx, src, bookpi.AuditOptions{
		Policy: &policy, Last: last.visit(), SinceLast: in.since, Payloads: check, Damages: in.damages, Workers: in.parallel,
		Progress: a.entriesProgress(textAuditing, began),
	})
	a.progress("")
	v := newAudited(&report, policy, last, time.Since(began))
	if failed == nil {
		// What was found is worth knowing where it cannot be remembered, too.
		if err := a.printValue(v, v.draw); err != nil {
			return err
		}
		return a.writeVisit(in.state, newVisit(&report, in.payloads, last, began))
	}
	if len(report.Damages) > 1 { // the first is in the error
		if err := a.printValue(v, v.draw); err != nil {
			return err
		}
	}
	return logError(failed)
}

// entriesProgress draws how far a walk over a log is.
func (a *app) entriesProgress(what tap.Text, began time.Time) func(done, total uint64) {
	return func(done, total uint64) {
		rate := float64(done) / max(time.Since(began).Seconds(), 0.001)
		a.progress("%s %s"+textEntriesAt.In(a.lang), what.In(a.lang), bar(int64(done), int64(total)), done, total, rate)
	}
}

func newAudited(r *bookpi.AuditReport, policy bookpi.Policy, last *visitFile, took time.Duration) *audited {
	v := &audited{
		Kind: auditKind(r), First: r.From,
		OK: len(r.Damages) == 0, Origin: r.Origin, Size: r.Size, Root: r.Root.String(), Entries: r.Entries,
		Payloads: r.Payloads, Withheld: r.Withheld, Recorded: r.Recorded, CosignedBy: cosigners(r.CosignedBy), Quorum: quorum(policy),
		TookMs: millis(took),
	}
	if r.FirstTimestamp != 0 {
		v.From, v.To = stamp(r.FirstTimestamp), stamp(r.LastTimestamp)
	}
	if last != nil {
		v.Since = &last.Size
	}
	for _, d := range r.Damages {
		shown := damage{Part: d.Part, Reason: d.Reason}
		if d.HasPosition {
			shown.Position = &d.Position
		}
		v.Damages = append(v.Damages, shown)
	}
	return v
}

func (v *audited) draw(t *table) {
	t.field(textVerified, yesNo(t, v.OK))
	if v.Kind == auditSinceLast {
		t.field(textAudit, fmt.Sprintf(textAuditSinceLast.In(t.lang), v.First))
	} else {
		t.field(textAudit, textAuditWhole.In(t.lang))
	}
	t.field(textOrigin, v.Origin)
	t.field(textLedgerSize, fmt.Sprint(v.Size))
	if v.Since != nil {
		t.field(textLastVisit, fmt.Sprint(*v.Since))
	}
	t.field(textMerkleRoot, v.Root)
	t.field(textEntries, fmt.Sprint(v.Entries))
	t.field(textPayloads, fmt.Sprint(v.Payloads))
	t.field(textWithheld, fmt.Sprint(v.Withheld))
	t.field(textCheckpoints, fmt.Sprint(v.Recorded))
	t.field(textFrom, v.From)
	t.field(textTo, v.To)
	drawCosigners(t, v.CosignedBy, v.Quorum)
	if len(v.Damages) == 0 {
		return
	}
	t.line("")
	t.head(textPosition, textPart, textReason)
	for _, d := range v.Damages {
		position := ""
		if d.Position != nil {
			position = fmt.Sprint(*d.Position)
		}
		t.row(position, d.Part, d.Reason)
	}
}

// mirrored is what a copy came to.
type mirrored struct {
	Folder     string     `json:"folder"`
	Origin     string     `json:"origin"`
	Before     uint64     `json:"sizeBefore"`
	Size       uint64     `json:"ledgerSize"`
	Root       string     `json:"root"`
	Files      uint64     `json:"files"`
	Bytes      uint64     `json:"bytes"`
	Payloads   uint64     `json:"payloads"`
	Withheld   uint64     `json:"payloadsWithheld"`
	Recorded   int        `json:"recordedCheckpoints"`
	Trust      string     `json:"trust"` // "given", "folder" or "first-use"
	CosignedBy []cosigner `json:"cosignedBy,omitempty"`
}

func (a *app) evidenceMirror() *cobra.Command {
	var trust trustFlags
	var from, segments string
	o := mirror.Options{Workers: 4}
	c := a.verb("mirror DIR [--from URL|DIR] [--key KEY|@FILE | --policy FILE] [--payloads]", textEvidenceMirror, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		if o.Workers < 1 || o.Workers > maxParallel {
			return usage("--parallel %d is not within 1..%d", o.Workers, maxParallel)
		}
		src, err := a.logSource(from)
		if err == nil {
			src, err = a.withSegments(src, segments)
		}
		if err != nil {
			return err
		}
		v := mirrored{Folder: args[0]}
		if o.Policy, v.Trust, err = a.mirrorPolicy(ctx, src, args[0], trust); err != nil {
			return err
		}
		began := time.Now()
		show := a.entriesProgress(textMirroring, began)
		o.Progress = func(done, total uint64) { show(done*bookpi.TileWidth, total*bookpi.TileWidth) }
		r, err := mirror.Copy(ctx, src, a.path(args[0]), o)
		a.progress("")
		if err != nil {
			return logError(err)
		}
		v.Origin, v.Size, v.Root, v.Before = r.Checkpoint.Origin, r.Checkpoint.Size, r.Checkpoint.Root.String(), r.Before
		v.Files, v.Bytes, v.Payloads, v.Withheld, v.Recorded = r.Files, r.Bytes, r.Payloads, r.Withheld, r.Recorded
		v.CosignedBy = cosigners(r.CosignedBy)
		return a.printValue(v, v.draw)
	})
	trust.optional(a, c)
	c.Flags().StringVar(&from, "from", "", textFlagMirrorFrom.In(a.lang))
	c.Flags().BoolVar(&o.Payloads, "payloads", false, textFlagMirrorPayloads.In(a.lang))
	c.Flags().StringVar(&segments, "segments", "", textFlagSegments.In(a.lang))
	c.Flags().IntVar(&o.Workers, "parallel", o.Workers, textFlagParallel.In(a.lang))
	return c
}

// mirrorPolicy is what to trust: what the flags say, else the keys that the mirror was
// begun with, else, for a new one, those that the log itself states.
func (a *app) mirrorPolicy(ctx context.Context, src bookpi.Source, folder string, f trustFlags) (bookpi.Policy, string, error) {
	if f.given() {
		p, err := a.policyOf(f)
		return p, "given", err
	}
	how := "folder"
	text, err := bookpi.DirSource(os.DirFS(a.path(folder))).Fetch(ctx, bookpi.KeyPath, bookpi.MaxPolicySize)
	if errors.Is(err, fs.ErrNotExist) {
		how = "first-use"
		text, err = src.Fetch(ctx, bookpi.KeyPath, bookpi.MaxPolicySize)
	}
	if err != nil {
		return bookpi.Policy{}, how, logError(err)
	}
	p, err := keyPolicy(string(text))
	return p, how, err
}

func (v mirrored) draw(t *table) {
	t.field(textFolder, v.Folder)
	t.field(textOrigin, v.Origin)
	t.field(textLedgerSize, fmt.Sprintf("%d (+%d)", v.Size, v.Size-v.Before))
	t.field(textMerkleRoot, v.Root)
	t.field(textFiles, fmt.Sprint(v.Files))
	t.field(textBytes, fmt.Sprint(v.Bytes))
	t.field(textPayloads, fmt.Sprint(v.Payloads))
	t.field(textWithheld, fmt.Sprint(v.Withheld))
	t.field(textCheckpoints, fmt.Sprint(v.Recorded))
	drawCosigners(t, v.CosignedBy, "")
	if v.Trust == "first-use" {
		t.line("")
		t.line(textFirstUse.In(t.lang))
	}
}
