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
	"slices"
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
	nodes    []string // "https://HOST:PORT" of every node
	enrolled []string
}

// identity is one enrolled for the run.
type identity struct {
	id  string // "TENANT/NAME"
	key ed25519.PrivateKey
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
	nodes := config.Addresses
	if !slices.Contains(nodes, config.Address) { // a node's own file lists the others
		nodes = append([]string{config.Address}, nodes...)
	}
	config.IdleConns = s.clients + 8
	operator, err := client.New(config)
	if err != nil {
		return nil, err
	}
	if _, err := operator.Do(ctx, "GET", "/v1/identities/me", nil, nil); err != nil {
		return nil, err
	}
	return &site{config: config, operator: operator, nodes: nodes}, nil
}

// node is the address that client number uses: clients are spread over all.
func (s *site) node(number int) string { return s.nodes[number%len(s.nodes)] }

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

// enrolAll makes identities with keys that live as long as this process, and
// returns once every node knows them.
func (s *site) enrolAll(ctx context.Context, n int, role tap.Role) ([]identity, error) {
	var all []identity
	for range n {
		one, err := s.enrol(ctx, role)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	for number, address := range s.nodes {
		if err := s.awaitIdentity(ctx, address, s.enrolled[len(s.enrolled)-1]); err != nil {
			return nil, tap.Wrap("bench.enrol", tap.Unavailable, err, "node %d of %d does not know the clients", number+1, len(s.nodes))
		}
	}
	return all, nil
}

// awaitIdentity asks one node for the last identity until it is there: a
// follower may be a moment behind the node that enrolled it.
func (s *site) awaitIdentity(ctx context.Context, address, name string) error {
	c, err := client.New(client.Config{Address: address, CA: s.config.CA, KeyID: s.config.KeyID, Key: s.config.Key})
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := c.Do(ctx, "GET", "/v1/identities/"+name, nil, nil)
		if !tap.IsKind(err, tap.NotFound) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

func (s *site) enrol(ctx context.Context, role tap.Role) (identity, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return identity{}, tap.Wrap("bench.enrol", tap.Internal, err, "no key")
	}
	id := uuid.New()
	name := fmt.Sprintf("bench-%x", id[:8])
	_, err = s.operator.Do(ctx, "POST", "/v1/identities", nil, map[string]any{
		"name": name, "publicKey": base64.StdEncoding.EncodeToString(public), "roles": []tap.Role{role},
	})
	if err != nil {
		return identity{}, err
	}
	s.enrolled = append(s.enrolled, name)
	tenant, _, _ := tap.SplitKeyID(s.config.KeyID) // the appliance has just taken it
	return identity{tap.JoinKeyID(tenant, name), key}, nil
}

// as is client number, with an identity of its own. It talks to one node only.
func (s *site) as(number int, who identity) (*client.Client, error) {
	return client.New(client.Config{Address: s.node(number), CA: s.config.CA, KeyID: who.id, Key: who.key, Retries: -1, IdleConns: s.config.IdleConns})
}

// dial opens the TAP session of client number.
func (s *site) dial(ctx context.Context, transport string, number int, who identity) (*client.Session, error) {
	address, err := url.Parse(s.node(number))
	if err != nil {
		return nil, tap.Wrap("bench.dial", tap.Invalid, err, "the context's address is no URL")
	}
	target := url.URL{Scheme: transport, Host: address.Host}
	if transport == "wss" {
		target.Path = "/tap"
	}
	return client.Dial(ctx, client.SessionConfig{URL: target.String(), TLS: &tls.Config{RootCAs: s.config.CA}, KeyID: who.id, Key: who.key})
}

// usage is what the node that is asked has used so far, by its own metrics.
type usage struct {
	cpu, rss float64 // seconds, bytes
	building float64 // indexes of memory that are being made anew
}

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
	building := 0.0
	if f := families["tamv_memory_indexes_building"]; f != nil {
		building = f.GetMetric()[0].GetGauge().GetValue()
	}
	return usage{cpu.GetMetric()[0].GetCounter().GetValue(), rss.GetMetric()[0].GetGauge().GetValue(), building}, nil
}
