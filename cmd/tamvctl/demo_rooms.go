package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// roomsStep: two people in one room, over two transports, end with one state.
type roomsStep struct {
	outcome
	Room         string               `json:"room"`
	Participants []participantFigures `json:"participants"`
	Sequence     uint64               `json:"sequence"` // durable actions in the room
	State        string               `json:"stateSha256"`
	Same         bool                 `json:"same"` // both participants and the API have this state
}

type participantFigures struct {
	Transport string  `json:"transport"`
	Identity  string  `json:"identity"`
	JoinMs    float64 `json:"joinMs"` // connect, authenticate, subscribe, snapshot
	MoveMs    float64 `json:"moveMs"` // a durable action, until it is committed
	PoseMs    float64 `json:"poseMs"` // a pose, until the other one has it
	State     string  `json:"stateSha256"`
}

// participant is one end of the room.
type participant struct {
	*person
	figures participantFigures
	session *client.Session
	sub     *client.Subscription
	objects map[string]json.RawMessage // canonical, by id
	durable uint64                     // of the last action in objects
	poses   map[string]string          // by key
}

func (d *demo) rooms(ctx context.Context) error {
	r := &d.report.Rooms
	address, err := url.Parse(d.config.Address)
	if err != nil {
		return err
	}
	ana, err := d.person(ctx, "ana", tap.Citizen)
	if err != nil {
		return err
	}
	eva, err := d.person(ctx, "eva", tap.Device)
	if err != nil {
		return err
	}
	if err := d.furnish(ctx, ana); err != nil {
		return err
	}
	r.say(textRoomOpened, r.Room)
	both := []*participant{newParticipant(ana), newParticipant(eva)}
	defer func() {
		for _, p := range both {
			p.leave()
		}
	}()
	for i, target := range []string{"wss://" + address.Host + "/tap", "quic://" + address.Host} {
		if err := both[i].join(ctx, target, r.Room); err != nil {
			return err
		}
	}
	if err := d.play(ctx, both); err != nil {
		return err
	}
	return d.compare(ctx, both)
}

// furnish opens a room with two objects in it.
func (d *demo) furnish(ctx context.Context, ana *person) error {
	r := &d.report.Rooms
	r.Room = "demo-" + d.run
	var reply json.RawMessage
	if err := ana.post(ctx, "/v1/dreamspaces", map[string]string{"id": r.Room, "name": "Demonstration"}, &reply); err != nil {
		return err
	}
	for _, id := range []string{"lamp", "chair"} {
		if err := ana.post(ctx, roomPath(r.Room)+"/actions", put(id, "0"), &reply); err != nil {
			return err
		}
	}
	return nil
}

// put is the action that places an object.
func put(id string, x json.Number) map[string]any {
	return map[string]any{"action": "put", "object": object{ID: id, Type: id, Position: &vector{x, "1.25", "-0.5"}}}
}

func newParticipant(p *person) *participant {
	return &participant{person: p, objects: map[string]json.RawMessage{}, poses: map[string]string{}}
}

// join connects, enters the room and takes its snapshot.
func (p *participant) join(ctx context.Context, target, room string) error {
	transport, _, _ := strings.Cut(target, ":")
	p.figures = participantFigures{Transport: transport, Identity: p.name}
	var err error
	p.figures.JoinMs, err = timed(func() error {
		var err error
		p.session, err = client.Dial(ctx, client.SessionConfig{
			URL: target, TLS: &tls.Config{RootCAs: p.config.CA, MinVersion: tls.VersionTLS13}, KeyID: p.config.KeyID, Key: p.config.Key,
		})
		if err != nil {
			return err
		}
		if p.sub, err = p.session.Subscribe(ctx, room); err != nil {
			return err
		}
		return p.next(ctx)
	})
	return err
}

func (p *participant) leave() {
	if p.session != nil {
		_ = p.session.Close() // what failed before matters more
	}
}

// next takes one event of the room.
func (p *participant) next(ctx context.Context) error {
	e, err := p.sub.Next(ctx)
	if err != nil {
		return err
	}
	switch {
	case e.Kind == client.Snapshot:
		var state struct {
			Objects []json.RawMessage `json:"objects"`
		}
		if err := json.Unmarshal(e.Data, &state); err != nil {
			return wrong("the snapshot is not a room")
		}
		clear(p.objects)
		p.durable = e.Durable
		for _, o := range state.Objects {
			if err := p.apply("put", o); err != nil {
				return err
			}
		}
	case e.Kind == client.Published && e.Class == tap.ClassState:
		p.poses[e.Key] = string(e.Data)
	case e.Kind == client.Published && e.Class == tap.ClassDurable:
		var act struct {
			Action string          `json:"action"`
			Object json.RawMessage `json:"object"`
		}
		if err := json.Unmarshal(e.Data, &act); err != nil {
			return wrong("the event is not an action")
		}
		p.durable = e.Durable
		return p.apply(act.Action, act.Object)
	}
	return nil
}

// apply does an action on the participant's own copy of the room.
func (p *participant) apply(action string, raw json.RawMessage) error {
	var o object
	if err := json.Unmarshal(raw, &o); err != nil {
		return wrong("the object does not parse")
	}
	if action == "remove" {
		delete(p.objects, o.ID)
		return nil
	}
	canonical, err := canonicalJSON(raw)
	p.objects[o.ID] = canonical
	return err
}

// canonicalJSON is the value with sorted names and the digits as they were.
func canonicalJSON(raw []byte) (json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, wrong("the object does not parse")
	}
	return json.Marshal(v)
}

// state is the digest of the participant's copy of the room.
func (p *participant) state() string {
	hash := sha256.New()
	for _, id := range sortedNames(p.objects) {
		hash.Write(p.objects[id])
		hash.Write([]byte{'\n'})
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// moves are what the two participants do: which object goes how far.
var moves = []struct {
	object string
	x      json.Number
}{{"lamp", "2.5"}, {"chair", "-3.75"}}

// play has each participant move an object and strike a pose, and both follow
// until they have seen it all.
func (d *demo) play(ctx context.Context, both []*participant) error {
	r := &d.report.Rooms
	for i, p := range both {
		if err := p.move(ctx, r, put(moves[i].object, moves[i].x)); err != nil {
			return err
		}
	}
	for i, p := range both {
		if err := p.pose(ctx, r.Room, both[1-i]); err != nil {
			return err
		}
	}
	for _, p := range both {
		for p.durable < r.Sequence {
			if err := p.next(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// move acts for good: the answer comes once it is committed.
func (p *participant) move(ctx context.Context, r *roomsStep, action map[string]any) error {
	body, err := marshal(action)
	if err != nil {
		return err
	}
	p.figures.MoveMs, err = timed(func() error {
		ack, err := p.session.Publish(ctx, tap.Publish{Room: r.Room, Class: tap.ClassDurable, Data: body})
		r.Sequence = max(r.Sequence, ack.Durable)
		return err
	})
	return err
}

// pose shows a passing state and waits until the other one has seen it.
func (p *participant) pose(ctx context.Context, room string, other *participant) error {
	const head = `{"head":[0.1,1.7,0.2]}`
	key := "pose." + p.name
	var err error
	p.figures.PoseMs, err = timed(func() error {
		_, err := p.session.Publish(ctx, tap.Publish{Room: room, Class: tap.ClassState, Key: key, Data: []byte(head)})
		for err == nil && other.poses[key] != head {
			err = other.next(ctx)
		}
		return err
	})
	return err
}

// compare holds both copies against each other and against the API's.
func (d *demo) compare(ctx context.Context, both []*participant) error {
	r := &d.report.Rooms
	var shown struct {
		Objects  []json.RawMessage `json:"objects"`
		Sequence uint64            `json:"sequence"`
	}
	if err := both[0].get(ctx, roomPath(r.Room), nil, &shown); err != nil {
		return err
	}
	api := newParticipant(both[0].person)
	for _, o := range shown.Objects {
		if err := api.apply("put", o); err != nil {
			return err
		}
	}
	r.State, r.Same = api.state(), shown.Sequence == r.Sequence && len(shown.Objects) > 0
	for _, p := range both {
		p.figures.State = p.state()
		r.Same = r.Same && p.figures.State == r.State
		r.Participants = append(r.Participants, p.figures)
		r.say(textParticipant, p.figures.Transport, p.name, p.figures.JoinMs, p.figures.MoveMs, p.figures.PoseMs)
	}
	if !r.Same {
		return wrong("the states differ: %s (API), %s, %s", r.State, both[0].figures.State, both[1].figures.State)
	}
	r.say(textSameState, len(shown.Objects), r.Sequence, shortHash(r.State))
	return nil
}
