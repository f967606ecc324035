package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"net/url"
	"time"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// person is an identity of this run, whose key exists in memory alone.
type person struct {
	demo    *demo
	name    string
	config  client.Config
	clients map[tap.Lang]*client.Client
	revoked bool
}

// person enrols somebody on first use. The name is short within the run.
func (d *demo) person(ctx context.Context, short string, roles ...tap.Role) (*person, error) {
	if p := d.people[short]; p != nil {
		return p, nil
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	p := &person{demo: d, name: "demo-" + d.run + "-" + short, config: d.config, clients: map[tap.Lang]*client.Client{}}
	reply, err := d.app.requestAs(ctx, d.operator, ask{
		method: "POST", path: "/v1/identities",
		body: map[string]any{"name": p.name, "publicKey": encodePublic(key), "roles": roles},
	})
	if err != nil {
		return nil, err
	}
	var enrolled identity
	if err := reply.Decode(&enrolled); err != nil {
		return nil, err
	}
	p.config.KeyID, p.config.Key = enrolled.KeyID, key
	d.people[short] = p
	return p, nil
}

// client is the person's connection in a language.
func (p *person) client(lang tap.Lang) (*client.Client, error) {
	if c := p.clients[lang]; c != nil {
		return c, nil
	}
	config := p.config
	config.Lang = lang
	c, err := client.New(config)
	if err == nil {
		p.clients[lang] = c
	}
	return c, err
}

// get asks for a document and decodes it into v.
func (p *person) get(ctx context.Context, path string, query url.Values, v any) error {
	reply, err := p.request(ctx, path, query)
	if err != nil {
		return err
	}
	return reply.Decode(v)
}

// fetch is get for a reply that is no JSON.
func (p *person) fetch(ctx context.Context, path string, query url.Values) ([]byte, error) {
	reply, err := p.request(ctx, path, query)
	if err != nil {
		return nil, err
	}
	return reply.Body, nil
}

func (p *person) request(ctx context.Context, path string, query url.Values) (*client.Reply, error) {
	c, err := p.client(p.demo.app.lang)
	if err != nil {
		return nil, err
	}
	return p.demo.app.requestAs(ctx, c, ask{path: path, query: query})
}

// post sends a document and decodes the reply into v.
func (p *person) post(ctx context.Context, path string, body, v any) error {
	return p.postIn(ctx, p.demo.app.lang, path, body, v)
}

func (p *person) postIn(ctx context.Context, lang tap.Lang, path string, body, v any) error {
	c, err := p.client(lang)
	if err != nil {
		return err
	}
	reply, err := p.demo.app.requestAs(ctx, c, ask{method: "POST", path: path, body: body})
	if err != nil {
		return err
	}
	return reply.Decode(v)
}

// revoke takes the identity away.
func (p *person) revoke(ctx context.Context) error {
	_, err := p.demo.app.requestAs(ctx, p.demo.operator, ask{
		method: "POST", path: identityPath(p.name) + "/revoke",
		body: map[string]string{"reason": "end of the demonstration"},
	})
	p.revoked = p.revoked || err == nil
	return err
}

// retire revokes everybody whom this run enrolled, also after an interruption:
// their keys are about to be forgotten.
func (d *demo) retire(ctx context.Context) error {
	const enough = 10 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), enough)
	defer cancel()
	var first error
	for _, name := range sortedNames(d.people) {
		if p := d.people[name]; !p.revoked {
			if err := p.revoke(ctx); err != nil && first == nil {
				first = err
			}
		}
	}
	return first
}

// leave closes the connections.
func (d *demo) leave() {
	for _, p := range d.people {
		for _, c := range p.clients {
			c.Close()
		}
	}
}
