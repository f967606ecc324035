package appliance_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// participant is one client in a room and the state that it has put together.
type participant struct {
	session *client.Session
	sub     *client.Subscription
	objects map[string]json.RawMessage
	durable uint64
	poses   int
}

func enter(t *testing.T, conf client.Config, scheme, room string) *participant {
	t.Helper()
	address, err := url.Parse(conf.Address)
	if err != nil {
		t.Fatal(err)
	}
	target := url.URL{Scheme: scheme, Host: address.Host}
	if scheme == "wss" {
		target.Path = "/tap"
	}
	session, err := client.Dial(t.Context(), client.SessionConfig{
		URL: target.String(), TLS: &tls.Config{RootCAs: conf.CA}, KeyID: conf.KeyID, Key: conf.Key,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	sub, err := session.Subscribe(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	return &participant{session: session, sub: sub, objects: map[string]json.RawMessage{}}
}

type roomObject struct {
	ID string `json:"id"`
}

// follow reads events until the participant has seen this many durable actions
// and poses.
func (p *participant) follow(t *testing.T, durable uint64, poses int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for p.durable < durable || p.poses < poses {
		e, err := p.sub.Next(ctx)
		if err != nil {
			t.Fatalf("after %d actions and %d poses: %v", p.durable, p.poses, err)
		}
		p.take(t, e)
	}
}

func (p *participant) take(t *testing.T, e client.Event) {
	t.Helper()
	switch {
	case e.Kind == client.Snapshot:
		var state struct {
			Objects []json.RawMessage `json:"objects"`
		}
		if err := json.Unmarshal(e.Data, &state); err != nil {
			t.Fatal(err)
		}
		for _, o := range state.Objects {
			p.put(t, o)
		}
		p.durable = e.Durable
	case e.Class == tap.ClassState:
		p.poses++
	case e.Class == tap.ClassDurable:
		if e.Durable != p.durable+1 {
			t.Fatalf("action %d follows %d", e.Durable, p.durable)
		}
		p.durable = e.Durable
		var act struct {
			Actor, Action string
			Object        json.RawMessage
		}
		if err := json.Unmarshal(e.Data, &act); err != nil || act.Actor == "" || act.Actor != e.From {
			t.Fatalf("an action by %q from %q: %v %s", act.Actor, e.From, err, e.Data)
		}
		p.put(t, act.Object)
	}
}

func (p *participant) put(t *testing.T, object json.RawMessage) {
	t.Helper()
	var o roomObject
	if err := json.Unmarshal(object, &o); err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, object); err != nil {
		t.Fatal(err)
	}
	p.objects[o.ID] = compact.Bytes()
}

func move(id string, x float64) []byte {
	return fmt.Appendf(nil, `{"action":"put","object":{"id":%q,"type":"cube","position":{"x":%v,"y":0,"z":1.5}}}`, id, x)
}

// A room's actions reach everybody in the same order, whether they came over
// WebSocket, QUIC, HTTP or inside an intent; poses reach everybody and touch
// neither log nor ledger.
func TestARoomAcrossTransports(t *testing.T) {
	running := start(t, t.TempDir())
	operator, conf := connect(t, running.Context), config(t, running.Context)
	if _, err := operator.Do(t.Context(), "POST", "/v1/dreamspaces", nil, map[string]string{"id": "plaza", "name": "Plaza"}); err != nil {
		t.Fatal(err)
	}
	conf.KeyID, conf.Key = enrol(t, operator, "ana", tap.Citizen)
	ana := enter(t, conf, "wss", "plaza")
	conf.KeyID, conf.Key = enrol(t, operator, "ben", tap.Device)
	ben := enter(t, conf, "quic", "plaza")

	publish := func(p *participant, class, key string, data []byte) tap.Ack {
		t.Helper()
		ack, err := p.session.Publish(t.Context(), tap.Publish{Room: "plaza", Class: class, Key: key, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		return ack
	}
	for i := range 10 {
		publish(ana, tap.ClassDurable, "", move("cube", float64(i)))
		publish(ben, tap.ClassDurable, "", move("ball", float64(-i)))
	}
	publish(ana, tap.ClassState, "head", []byte(`{"x":1}`))
	publish(ben, tap.ClassState, "head", []byte(`{"x":2}`))
	if _, err := operator.Do(t.Context(), "POST", "/v1/dreamspaces/plaza/actions", nil, json.RawMessage(move("lamp", 3))); err != nil {
		t.Fatal(err)
	}
	intent := fmt.Appendf(nil, `{"tenantId":"main","type":"scene","safetyProfile":"STANDARD","jurisdiction":"MX",
		"input":{"type":"spatial","data":{"room":"plaza","object":{"id":"tree","type":"tree","position":{"x":4,"y":0,"z":0}}}}}`)
	if _, err := operator.Do(t.Context(), "POST", "/v1/kernel/intent", nil, intent); err != nil {
		t.Fatal(err)
	}
	ana.follow(t, 22, 1)
	ben.follow(t, 22, 1)
	if d := cmp.Diff(ana.objects, ben.objects); d != "" || len(ana.objects) != 4 {
		t.Fatalf("the two ended with different rooms, or not four objects:\n%s\n%v", d, ana.objects)
	}
	state := get[struct {
		Objects  []json.RawMessage `json:"objects"`
		Sequence uint64            `json:"sequence"`
	}](t, operator, "/v1/dreamspaces/plaza", nil)
	if state.Sequence != 22 || len(state.Objects) != 4 {
		t.Fatalf("the appliance has %d objects at %d", len(state.Objects), state.Sequence)
	}
	for _, o := range state.Objects {
		var id roomObject
		var compact bytes.Buffer
		if json.Unmarshal(o, &id) != nil || json.Compact(&compact, o) != nil || compact.String() != string(ana.objects[id.ID]) {
			t.Errorf("%s differs: %s, %s", id.ID, o, ana.objects[id.ID])
		}
	}
	ledger := get[struct {
		Entries []struct {
			Actor string `json:"actor"`
		} `json:"entries"`
	}](t, operator, "/v1/evidence", url.Values{"action": {"room.act"}, "limit": {"500"}})
	if len(ledger.Entries) != 22 {
		t.Errorf("the ledger has %d entries about 22 actions and 2 poses", len(ledger.Entries))
	}
	_, err := ben.session.Publish(t.Context(), tap.Publish{Room: "plaza", Class: tap.ClassDurable, Data: []byte(`{"action":"put","object":{"id":"x","position":{"x":1e300,"y":0,"z":0}}}`)})
	if !tap.IsKind(err, tap.Invalid) {
		t.Errorf("an object beyond the world: %v", err)
	}
}

// Revoking an identity ends its session within one frame, and no new one
// begins.
func TestRevocationEndsTheSession(t *testing.T) {
	running := start(t, t.TempDir())
	operator, conf := connect(t, running.Context), config(t, running.Context)
	if _, err := operator.Do(t.Context(), "POST", "/v1/dreamspaces", nil, map[string]string{"id": "plaza", "name": "Plaza"}); err != nil {
		t.Fatal(err)
	}
	conf.KeyID, conf.Key = enrol(t, operator, "eve", tap.Citizen)
	eve := enter(t, conf, "wss", "plaza")
	if _, err := operator.Do(t.Context(), "POST", "/v1/identities/eve/revoke", nil, map[string]string{"reason": "lost headset"}); err != nil {
		t.Fatal(err)
	}
	_, err := eve.session.Evidence(t.Context(), []byte(`{"action":"test.late","outcome":"ok","data":1}`))
	if !tap.IsKind(err, tap.Unauthenticated) {
		t.Fatalf("a revoked session's record: %v", err)
	}
	select {
	case <-eve.session.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the session of a revoked identity stays open")
	}
	address, _ := url.Parse(conf.Address)
	for _, target := range []string{"wss://" + address.Host + "/tap", "quic://" + address.Host} {
		_, err := client.Dial(t.Context(), client.SessionConfig{URL: target, TLS: &tls.Config{RootCAs: conf.CA}, KeyID: conf.KeyID, Key: conf.Key})
		if !tap.IsKind(err, tap.Unauthenticated) {
			t.Errorf("a revoked identity at %s: %v", target, err)
		}
	}
}
