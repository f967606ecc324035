package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// site is the appliance under test, and the identities enrolled for the run.
type site struct {
	config   client.Config // the operator's
	operator *client.Client
	enrolled []string
}

// openSite connects as the context's identity, which must be an operator.
func openSite(ctx context.Context, s settings) (*site, error) {
	file, err := client.Load(s.context)
	if err != nil {
		return nil, err
	}
	config, err := file.Config()
	if err != nil {
		return nil, err
	}
	config.IdleConns = s.clients + 8
	operator, err := client.New(config)
	if err != nil {
		return nil, err
	}
	if _, err := operator.Do(ctx, "GET", "/v1/identities/me", nil, nil); err != nil {
		return nil, err
	}
	return &site{config: config, operator: operator}, nil
}

// close revokes the identities of the run.
func (s *site) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, name := range s.enrolled {
		// What cannot be revoked now stays enrolled with a key that ends with
		// this process; the run's figures are none the worse.
		_, _ = s.operator.Do(ctx, "POST", "/v1/identities/"+name+"/revoke", nil, map[string]string{"reason": "end of a benchmark"})
	}
	s.operator.Close()
}

// enrol makes an identity with a key that lives as long as this process.
func (s *site) enrol(ctx context.Context, role tap.Role) (keyID string, key ed25519.PrivateKey, err error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", nil, tap.Wrap("bench.enrol", tap.Internal, err, "no key")
	}
	id := uuid.New()
	name := fmt.Sprintf("bench-%x", id[:8])
	_, err = s.operator.Do(ctx, "POST", "/v1/identities", nil, map[string]any{
		"name": name, "publicKey": base64.StdEncoding.EncodeToString(public), "roles": []tap.Role{role},
	})
	if err != nil {
		return "", nil, err
	}
	s.enrolled = append(s.enrolled, name)
	tenant, _, _ := strings.Cut(s.config.KeyID, "/")
	return tenant + "/" + name, key, nil
}

// as is a client with an identity of its own on shared settings.
func (s *site) as(keyID string, key ed25519.PrivateKey) (*client.Client, error) {
	config := s.config
	config.KeyID, config.Key, config.Retries = keyID, key, -1
	return client.New(config)
}

// dial opens a TAP session.
func (s *site) dial(ctx context.Context, transport, keyID string, key ed25519.PrivateKey) (*client.Session, error) {
	address, err := url.Parse(s.config.Address)
	if err != nil {
		return nil, tap.Wrap("bench.dial", tap.Invalid, err, "the context's address is no URL")
	}
	target := url.URL{Scheme: transport, Host: address.Host}
	if transport == "wss" {
		target.Path = "/tap"
	}
	return client.Dial(ctx, client.SessionConfig{URL: target.String(), TLS: &tls.Config{RootCAs: s.config.CA}, KeyID: keyID, Key: key})
}

// usage is what the appliance has used so far, by its own metrics.
type usage struct{ cpu, rss float64 }

func (s *site) usage(ctx context.Context) (usage, error) {
	reply, err := s.operator.Do(ctx, "GET", "/metrics", nil, nil)
	if err != nil {
		return usage{}, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(reply.Body))
	if err != nil {
		return usage{}, tap.Wrap("bench.metrics", tap.Invalid, err, "/metrics does not parse")
	}
	cpu, rss := families["process_cpu_seconds_total"], families["process_resident_memory_bytes"]
	if cpu == nil || rss == nil {
		return usage{}, tap.Wrap("bench.metrics", tap.Invalid, errors.New("no process metrics"), "the appliance does not say what it uses")
	}
	return usage{cpu.GetMetric()[0].GetCounter().GetValue(), rss.GetMetric()[0].GetGauge().GetValue()}, nil
}
