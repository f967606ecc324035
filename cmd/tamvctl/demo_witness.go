package main

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"tamv.internal/tamv/cmd/tamvctl/witness"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// witnessStep: somebody outside of the site, with a key of their own and no network,
// vouches for the ledger, and an auditor checks all of it.
type witnessStep struct {
	outcome
	Witness   string  `json:"witness"`
	Size      uint64  `json:"ledgerSize"`    // that it cosigned
	Request   int     `json:"requestBytes"`  // carried there
	Answer    int     `json:"answerBytes"`   // carried back
	Cosigners int     `json:"cosignatures"`  // that the policy counted, one a key
	VerifyMs  float64 `json:"verifyMs"`      // of the bundle against the policy
	Entries   uint64  `json:"auditEntries"`  // of the whole ledger
	Payloads  uint64  `json:"auditPayloads"` // that were checked
	AuditMs   float64 `json:"auditMs"`
}

func (d *demo) witness(ctx context.Context) error {
	r := &d.report.Witness
	if len(d.report.Intent.Answers) == 0 {
		return wrong("no intent was answered, so there is no entry to vouch for")
	}
	entry := entryPath(d.report.Intent.Answers[0].EvidenceHash)
	auditor, err := d.person(ctx, "auditor", tap.Auditor)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "tamvctl-demo-")
	if err != nil {
		return fileError(err)
	}
	defer os.RemoveAll(folder)
	policy, err := d.anchor(ctx, auditor, entry, folder)
	// The keys of this witness are about to be forgotten, so the site forgets it too.
	defer d.forgetWitness(ctx, r.Witness)
	if err != nil {
		return err
	}
	if err := d.verifyAnchored(ctx, auditor, entry, policy); err != nil {
		return err
	}
	return d.auditAll(ctx, auditor, policy)
}

// anchor has a fresh witness cosign a checkpoint that covers the entry, by files, and
// brings the answer back. It returns a policy that asks for this witness.
func (d *demo) anchor(ctx context.Context, auditor *person, entry, folder string) (policy bookpi.Policy, err error) {
	r := &d.report.Witness
	name := "demo-" + d.run + "/witness"
	keys, err := witness.Init(folder, name, rand.Reader)
	if err != nil {
		return policy, witnessError(err)
	}
	for _, k := range keys {
		if _, err := d.app.requestAs(ctx, d.operator, ask{method: http.MethodPost, path: witnessesPath, body: map[string]string{"key": k.String()}}); err != nil {
			return policy, err
		}
		r.Witness = name
	}
	var site verifierKeys
	if err := auditor.get(ctx, keyPath, nil, &site); err != nil {
		return policy, err
	}
	if policy, err = keyPolicy(site.text()); err != nil {
		return policy, err
	}
	answer, err := d.carry(ctx, auditor, entry, folder, policy)
	if err != nil {
		return policy, err
	}
	var taken anchored
	if err := auditor.post(ctx, anchorsPath, map[string]string{"cosignatures": string(answer)}, &taken); err != nil {
		return policy, err
	}
	r.Size, r.Answer = taken.Size, len(answer)
	r.say(textCarried, r.Request, r.Answer, r.Size)
	both := bookpi.PolicyGroup{Name: "both", Threshold: len(keys)}
	for _, k := range keys {
		member := k.Algorithm().String()
		policy.Witnesses = append(policy.Witnesses, bookpi.PolicyWitness{Name: member, Key: k})
		both.Members = append(both.Members, member)
	}
	policy.Groups, policy.Quorum = []bookpi.PolicyGroup{both}, both.Name
	file := filepath.Join(folder, "policy")
	if err := writeFile(file, policy.Encode()); err != nil {
		return policy, err
	}
	return d.app.policyOf(trustFlags{policy: file})
}

// carry takes a request to the witness and brings its cosignatures back, as files.
func (d *demo) carry(ctx context.Context, auditor *person, entry, folder string, site bookpi.Policy) ([]byte, error) {
	var proof struct {
		Size uint64 `json:"size"`
	}
	if err := auditor.get(ctx, entry+"/proof", filled("cosigned", "false"), &proof); err != nil {
		return nil, err
	}
	path := anchorsPath + "/" + url.PathEscape(d.report.Witness.Witness) + "/request"
	raw, err := auditor.fetch(ctx, path, filled("size", strconv.FormatUint(proof.Size, 10)))
	if err != nil {
		return nil, err
	}
	request := filepath.Join(folder, "request")
	if err := writeFile(request, raw); err != nil {
		return nil, err
	}
	d.report.Witness.Request = len(raw)
	w, err := witness.Open(folder)
	if err != nil {
		return nil, witnessError(err)
	}
	defer w.Close()
	for _, l := range site.Logs {
		if _, err := w.Trust(l.Key); err != nil {
			return nil, witnessError(err)
		}
	}
	kept, err := os.ReadFile(request)
	if err != nil {
		return nil, fileError(err)
	}
	done, err := w.Cosign(kept, time.Now())
	if err != nil {
		return nil, witnessError(err)
	}
	return done.Lines, nil
}

// verifyAnchored verifies the entry's bundle against the policy, which refuses it with
// the site's own signature alone.
func (d *demo) verifyAnchored(ctx context.Context, auditor *person, entry string, policy bookpi.Policy) error {
	r := &d.report.Witness
	bundle, err := auditor.fetch(ctx, entry+"/bundle", filled("cosigned", "true"))
	if err != nil {
		return err
	}
	var v verified
	if r.VerifyMs, err = timed(func() error { v, err = verify(bundle, policy, false); return err }); err != nil {
		return err
	}
	r.Cosigners = len(v.CosignedBy)
	r.say(textPolicyHolds, r.VerifyMs, r.Cosigners, v.Quorum)
	alone, err := auditor.fetch(ctx, entry+"/bundle", filled("cosigned", "false"))
	if err != nil {
		return err
	}
	if _, err := bookpi.VerifyBundleWithPolicy(alone, policy); !errors.Is(err, bookpi.ErrQuorum) {
		return wrong("without the witness the policy says: %v", err)
	}
	r.say(textPolicyRefuses)
	return nil
}

// auditAll walks the whole ledger as the auditor. The ledger has grown since the witness
// saw it, so its newest checkpoint is believed for the log's key alone.
func (d *demo) auditAll(ctx context.Context, auditor *person, policy bookpi.Policy) error {
	r := &d.report.Witness
	c, err := auditor.client(d.app.lang)
	if err != nil {
		return err
	}
	policy.Quorum = bookpi.QuorumNone
	var found bookpi.AuditReport
	r.AuditMs, err = timed(func() (err error) {
		found, err = bookpi.Audit(ctx, applianceLog{d.app, c}, bookpi.AuditOptions{Policy: &policy})
		return err
	})
	if err != nil {
		return logError(err)
	}
	r.Entries, r.Payloads = found.Entries, found.Payloads
	r.say(textAudited, r.Entries, r.Payloads, found.Recorded, r.AuditMs)
	return nil
}

// forgetWitness is best effort, as a witness that is left over harms nobody.
func (d *demo) forgetWitness(ctx context.Context, name string) {
	if name == "" {
		return
	}
	const enough = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), enough)
	defer cancel()
	_, _ = d.app.requestAs(ctx, d.operator, ask{method: http.MethodDelete, path: witnessesPath + "/" + url.PathEscape(name)})
}
