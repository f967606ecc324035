package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"slices"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// refusalsStep: requests that must not be served are refused, each with its code,
// and each attempt is in the ledger.
type refusalsStep struct {
	outcome
	Attempts   []attemptFigures `json:"attempts"`
	EvidenceMs float64          `json:"evidenceMs"` // until the last attempt was in the ledger
}

type attemptFigures struct {
	Attempt      string `json:"attempt"`
	Code         string `json:"code"`
	Status       int    `json:"status"`
	Actor        string `json:"actor"` // who the request said it came from
	EvidenceHash string `json:"evidenceHash"`
	Position     uint64 `json:"position"`
}

// attempt is one request that must be refused.
type attempt struct {
	name  string
	kind  tap.Kind
	code  string
	actor string
	make  func() (*tap.Request, error)
}

// Attempts reach the ledger within a second or so; see package anubis.
const (
	evidenceWithin = 5 * time.Second
	evidenceEvery  = 100 * time.Millisecond
)

func (d *demo) refusals(ctx context.Context) error {
	r := &d.report.Refusals
	ana, err := d.person(ctx, "ana", tap.Citizen)
	if err != nil {
		return err
	}
	auditor, err := d.person(ctx, "auditor", tap.Auditor)
	if err != nil {
		return err
	}
	mallory, err := d.person(ctx, "mallory", tap.Citizen)
	if err != nil {
		return err
	}
	if err := mallory.revoke(ctx); err != nil {
		return err
	}
	var before status
	if err := auditor.get(ctx, "/v1/status", nil, &before); err != nil {
		return err
	}
	sender, err := ana.client(d.app.lang)
	if err != nil {
		return err
	}
	for _, a := range attempts(ctx, sender, ana, mallory) {
		request, err := a.make()
		if err != nil {
			return err
		}
		reply, err := sender.DoRaw(ctx, request)
		if err := refused(err, a.kind, a.code); err != nil {
			return err
		}
		r.Attempts = append(r.Attempts, attemptFigures{Attempt: a.name, Code: a.code, Status: reply.Status, Actor: a.actor})
	}
	if r.EvidenceMs, err = timed(func() error { return r.find(ctx, auditor, before.Ledger.Size) }); err != nil {
		return err
	}
	for _, f := range r.Attempts {
		r.say(textAttempt, f.Attempt, f.Status, f.Code, f.Position, shortHash(f.EvidenceHash))
	}
	r.say(textAttemptsFound, len(r.Attempts), r.EvidenceMs)
	return nil
}

// attempts are the requests that must be refused. The clock of a signature, its
// key, its body and its nonce are each wrong in one of them alone.
func attempts(ctx context.Context, sender *client.Client, ana, mallory *person) []attempt {
	const me = "/v1/identities/me"
	plain := func(method, path string, body []byte) *tap.Request {
		return &tap.Request{ID: uuid.Must(uuid.NewV7()), Method: method, Path: path, Body: body}
	}
	signed := func(r *tap.Request, by *person, keyID string, key ed25519.PrivateKey, created time.Time) (*tap.Request, error) {
		r.Header = map[string]string{tap.HeaderRequestID: r.ID.String()}
		if keyID == "" {
			keyID, key = by.config.KeyID, by.config.Key
		}
		return r, tap.SignRequest(r, key, keyID, created, tap.NewNonce())
	}
	stranger := func() (ed25519.PrivateKey, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	tenant, _, _ := tap.SplitKeyID(ana.config.KeyID)
	nobody := "demo-" + ana.demo.run + "-nobody"
	return []attempt{
		{"unsigned", tap.Unauthenticated, "unsigned", "anonymous", func() (*tap.Request, error) {
			return plain("GET", me, nil), nil
		}},
		{"replayed", tap.Unauthenticated, "replayed", ana.name, func() (*tap.Request, error) {
			r, err := signed(plain("GET", me, nil), ana, "", nil, time.Now())
			if err == nil {
				_, err = sender.DoRaw(ctx, r) // the first time it is served
			}
			return r, err
		}},
		{"expired", tap.Unauthenticated, "expired", ana.name, func() (*tap.Request, error) {
			return signed(plain("GET", me, nil), ana, "", nil, time.Now().Add(-2*tap.SignatureWindow))
		}},
		{"revoked", tap.Unauthenticated, "revoked", mallory.name, func() (*tap.Request, error) {
			return signed(plain("GET", me, nil), mallory, "", nil, time.Now())
		}},
		{"wrong body", tap.Unauthenticated, "digest_mismatch", ana.name, func() (*tap.Request, error) {
			r, err := signed(plain("POST", evidencePath, []byte(`{"action":"demo","outcome":"ok","data":1}`)), ana, "", nil, time.Now())
			r.Body = []byte(`{"action":"demo","outcome":"ok","data":2}`)
			return r, err
		}},
		{"wrong key", tap.Unauthenticated, "bad_signature", ana.name, func() (*tap.Request, error) {
			key, err := stranger()
			if err != nil {
				return nil, err
			}
			return signed(plain("GET", me, nil), ana, ana.config.KeyID, key, time.Now())
		}},
		{"unknown identity", tap.Unauthenticated, "unknown_identity", nobody, func() (*tap.Request, error) {
			key, err := stranger()
			if err != nil {
				return nil, err
			}
			return signed(plain("GET", me, nil), ana, tap.JoinKeyID(tenant, nobody), key, time.Now())
		}},
		{"wrong role", tap.Forbidden, "role", ana.name, func() (*tap.Request, error) {
			return signed(plain("GET", "/v1/identities", nil), ana, "", nil, time.Now())
		}},
	}
}

// find waits until every attempt is in the ledger, from a size on.
func (r *refusalsStep) find(ctx context.Context, auditor *person, from uint64) error {
	ctx, cancel := context.WithTimeout(ctx, evidenceWithin)
	defer cancel()
	ticker := time.NewTicker(evidenceEvery)
	defer ticker.Stop()
	for {
		var page ledgerPage
		if err := auditor.get(ctx, evidencePath, filled("action", "auth.attempts", "limit", "500"), &page); err != nil && ctx.Err() == nil {
			return err
		}
		missing := 0
		for i := range r.Attempts {
			f := &r.Attempts[i]
			at := slices.IndexFunc(page.Entries, func(e ledgerEntry) bool {
				return e.Position >= from && e.Actor == f.Actor && e.Outcome == f.Code
			})
			if at < 0 {
				missing++
				continue
			}
			f.EvidenceHash, f.Position = page.Entries[at].EvidenceHash, page.Entries[at].Position
		}
		if missing == 0 {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return wrong("%d of %d attempts are not in the ledger after %s", missing, len(r.Attempts), evidenceWithin)
		}
	}
}
