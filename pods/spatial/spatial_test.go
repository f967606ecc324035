package spatial

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

var (
	ana     = podtest.Who("ana", tap.Citizen)
	headset = podtest.Who("headset-1", tap.Device)
	auditor = podtest.Who("eve", tap.Auditor)
)

const here = "/v1/dreamspaces/plaza"

// plaza is a host with one room.
func plaza(t testing.TB) *podtest.Host {
	t.Helper()
	h := podtest.NewHost(t, podtest.NewState(), New())
	_, err := h.Do(context.Background(), podtest.Request{
		As: ana, Method: "POST", Target: "/v1/dreamspaces", Body: `{"id":"plaza","name":"La plaza"}`,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// cube is an object at a place.
func cube(id string, x int) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"id":%q,"position":{"x":%d,"y":0,"z":-1.50}}`, id, x))
}

func action(kind string, object json.RawMessage) string {
	return fmt.Sprintf(`{"action":%q,"object":%s}`, kind, object)
}

func TestConformance(t *testing.T) {
	podtest.Conform(t, podtest.NewState(), New(), []podtest.Request{
		{As: ana, Method: "POST", Target: "/v1/dreamspaces", Body: `{"id":"plaza","name":"La plaza"}`},
		{As: ana, Method: "POST", Target: "/v1/dreamspaces", Body: `{"name":"Sin nombre"}`},
		{As: headset, Method: "POST", Target: here + "/actions", Body: action("put", json.RawMessage(
			`{"id":"lamp","type":"light","position":{"x":1e3,"y":0.10,"z":-2},"rotation":{"x":0,"y":1,"z":0},"scale":{"x":1,"y":1,"z":2},"metadata":{"colour":"<warm>"}}`))},
		{As: ana, Method: "POST", Target: here + "/actions", Body: action("put", cube("cube", 1))},
		{As: ana, Method: "POST", Target: here + "/actions", Body: action("remove", json.RawMessage(`{"id":"cube"}`))},
		{As: auditor, Method: "GET", Target: "/v1/dreamspaces?limit=1"},
		{As: headset, Method: "GET", Target: here},
		{As: ana, Method: "GET", Target: here + "/history?after=1&limit=1"},
	})
}

func TestRoomShowsWhatWasPut(t *testing.T) {
	h := plaza(t)
	put := `{"id":"lamp","position":{"x":1e3,"y":0.10,"z":-2},"metadata":{ "colour" : "<warm>" }}`
	var acted actedReply
	if _, err := h.Do(t.Context(), podtest.Request{As: headset, Method: "POST", Target: here + "/actions", Body: action("put", json.RawMessage(put))}, &acted); err != nil {
		t.Fatal(err)
	}
	if acted.Sequence != 1 || acted.Receipt == nil {
		t.Errorf("reply %+v", acted)
	}
	s, err := RoomState(h.State, "main", "plaza")
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"lamp","type":"object","position":{"x":1e3,"y":0.10,"z":-2},"rotation":{"x":0,"y":0,"z":0},"scale":{"x":1,"y":1,"z":1},"metadata":{"colour":"<warm>"}}`
	if len(s.Objects) != 1 || string(s.Objects[0]) != want {
		t.Errorf("stored %s, want %s", s.Objects, want)
	}
	if s.Sequence != 1 || s.Name != "La plaza" || s.Creator != "ana" {
		t.Errorf("state %+v", s)
	}
}

func TestRefusedObjects(t *testing.T) {
	at := func(x string) string { return `{"id":"a","position":{"x":` + x + `,"y":0,"z":0}}` }
	for name, object := range map[string]string{
		"infinite":             at("1e400"),
		"far":                  at("1000001"),
		"far the other way":    at("-1e7"),
		"long number":          at("0." + strings.Repeat("1", 40)),
		"text for a number":    at(`"1"`),
		"null":                 at("null"),
		"no position":          `{"id":"a"}`,
		"half a position":      `{"id":"a","position":{"x":1,"y":2}}`,
		"four dimensions":      `{"id":"a","position":{"x":1,"y":2,"z":3,"w":4}}`,
		"bad id":               `{"id":"A/B","position":{"x":1,"y":2,"z":3}}`,
		"no id":                `{"position":{"x":1,"y":2,"z":3}}`,
		"unknown field":        `{"id":"a","position":{"x":1,"y":2,"z":3},"owner":"me"}`,
		"far rotation":         `{"id":"a","position":{"x":1,"y":2,"z":3},"rotation":{"x":1e9,"y":0,"z":0}}`,
		"far scale":            `{"id":"a","position":{"x":1,"y":2,"z":3},"scale":{"x":1,"y":0,"z":-1e9}}`,
		"list as metadata":     `{"id":"a","position":{"x":1,"y":2,"z":3},"metadata":[]}`,
		"much metadata":        `{"id":"a","position":{"x":1,"y":2,"z":3},"metadata":{"a":"` + strings.Repeat("m", MaxMetadata) + `"}}`,
		"deep metadata":        `{"id":"a","position":{"x":1,"y":2,"z":3},"metadata":{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}}`,
		"duplicate coordinate": `{"id":"a","position":{"x":1,"x":2,"y":2,"z":3}}`,
		"empty":                `{}`,
	} {
		t.Run(name, func(t *testing.T) {
			h := plaza(t)
			before, _ := h.State.Size()
			_, err := h.Do(t.Context(), podtest.Request{As: ana, Method: "POST", Target: here + "/actions", Body: action("put", json.RawMessage(object))}, nil)
			podtest.WantKind(t, err, tap.Invalid, "")
			if after, _ := h.State.Size(); after != before {
				t.Error("a refused action is in the ledger")
			}
		})
	}
	for _, n := range []string{"1000000", "-1e6", "0.0000001", "-0"} {
		if _, err := parseObject(json.RawMessage(at(n))); err != nil {
			t.Errorf("%s: %v", n, err)
		}
	}
}

func TestRefusedActions(t *testing.T) {
	h := plaza(t)
	for name, c := range map[string]struct {
		target, body string
		kind         tap.Kind
	}{
		"unknown action": {here, action("burn", cube("a", 1)), tap.Invalid},
		"no object":      {here, `{"action":"put"}`, tap.Invalid},
		"remove nothing": {here, action("remove", json.RawMessage(`{"id":"ghost"}`)), tap.NotFound},
		"remove no id":   {here, action("remove", json.RawMessage(`{}`)), tap.Invalid},
		"remove bad id":  {here, action("remove", json.RawMessage(`{"id":"A"}`)), tap.Invalid},
		"no room":        {"/v1/dreamspaces/nowhere", action("put", cube("a", 1)), tap.NotFound},
		"bad room":       {"/v1/dreamspaces/No%00", action("put", cube("a", 1)), tap.NotFound},
	} {
		_, err := h.Do(t.Context(), podtest.Request{As: ana, Method: "POST", Target: c.target + "/actions", Body: c.body}, nil)
		if !tap.IsKind(err, c.kind) {
			t.Errorf("%s: %v, want %s", name, err, c.kind)
		}
	}
	_, err := h.Do(t.Context(), podtest.Request{As: auditor, Method: "POST", Target: here + "/actions", Body: action("put", cube("a", 1))}, nil)
	podtest.WantKind(t, err, tap.Forbidden, "role")
	for name, data := range map[string]string{"not JSON": `{`, "extra": `{"action":"put","object":{},"x":1}`} {
		if _, err := ParseAct("ana", uuid.New(), []byte(data)); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, errs := ActBatch(h.State, "main", "plaza", []Act{{Actor: "ana", Action: "burn"}}, podtest.Epoch)
	podtest.WantKind(t, errs[0], tap.Invalid, "action")
}

func TestWhoMay(t *testing.T) {
	if !MayRead(auditor) || MayAct(auditor) || !MayAct(headset) || MayRead(nil) {
		t.Error("wrong roles")
	}
}

// model is what a room must look like after actions: the plain meaning of "the
// last writer of an object wins".
type model map[string]string

func (m model) apply(kind string, id string, value json.RawMessage) {
	if kind == Remove {
		delete(m, id)
		return
	}
	m[id] = string(value)
}

// drawActs makes acts of several participants on few objects, and the batches
// that they travel in.
func drawActs(t *rapid.T) [][]Act {
	var batches [][]Act
	for range rapid.IntRange(1, 6).Draw(t, "batches") {
		var acts []Act
		for range rapid.IntRange(1, 6).Draw(t, "acts") {
			id := rapid.StringMatching(`[abc]`).Draw(t, "object")
			a := Act{
				Actor: rapid.SampledFrom([]string{"ana", "bea", "cam"}).Draw(t, "actor"), RequestID: uuid.New(),
				Action: Put, Object: cube(id, rapid.IntRange(-99, 99).Draw(t, "x")),
			}
			if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
				a.Action, a.Object = Remove, json.RawMessage(`{"id":"`+id+`"}`)
			}
			acts = append(acts, a)
		}
		batches = append(batches, acts)
	}
	return batches
}

func newPlaza(t *rapid.T) *podtest.State {
	state := podtest.NewState()
	mustCommit(t, state, store.Batch{
		RequestID: uuid.New(), Tenant: "main",
		Ops:      []store.Op{store.Create(store.K("main", spaceRoom, "plaza"), encode(Room{ID: "plaza", Name: "P"}))},
		Evidence: []store.Evidence{{Actor: "ana", Action: "room.create", Outcome: "ok"}},
	})
	return state
}

func mustCommit(t *rapid.T, state *podtest.State, b store.Batch) store.Receipt {
	receipt, err := state.Commit(context.Background(), b)
	if err != nil {
		t.Fatal(err)
	}
	return receipt
}

func objects(t *rapid.T, state store.View) model {
	s, err := RoomState(state, "main", "plaza")
	if err != nil {
		t.Fatal(err)
	}
	m := model{}
	for _, raw := range s.Objects {
		var o Object
		if err := json.Unmarshal(raw, &o); err != nil {
			t.Fatal(err)
		}
		m[o.ID] = string(raw)
	}
	return m
}

// history is everything that happened after a sequence number.
func history(t *rapid.T, state store.View, after uint64) (entries []entry) {
	next := after + 1
	err := state.Sequence(store.K("main", SpaceHistory, "plaza"), next, func(n uint64, value []byte) bool {
		var e entry
		if err := json.Unmarshal(value, &e); err != nil || n != next {
			t.Fatalf("number %d after %d: %v", n, next-1, err)
		}
		next++
		entries = append(entries, e)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func replay(t *rapid.T, m model, entries []entry) model {
	for _, e := range entries {
		var o struct{ ID string }
		if err := json.Unmarshal(e.Object, &o); err != nil {
			t.Fatal(err)
		}
		m.apply(e.Action, o.ID, e.Object)
	}
	return m
}

// Feature: tamv-hardened-backend, Property 32: DreamSpace State Initialization
// Feature: tamv-hardened-backend, Property 33: DreamSpace Conflict Resolution
// Feature: tamv-hardened-backend, Property 34: DreamSpace Action History
func TestRoomIsWhatItsHistorySays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		batches := drawActs(t)
		one, two := newPlaza(t), newPlaza(t)
		join := rapid.IntRange(0, len(batches)-1).Draw(t, "join")
		var joined model
		var joinedAt uint64
		done := 0
		for i, acts := range batches {
			if i == join {
				s, err := RoomState(one, "main", "plaza")
				if err != nil {
					t.Fatal(err)
				}
				joined, joinedAt = objects(t, one), s.Sequence
			}
			b, errs := ActBatch(one, "main", "plaza", acts, podtest.Epoch)
			again, _ := ActBatch(two, "main", "plaza", acts, podtest.Epoch)
			if len(b.Evidence) == 0 {
				continue
			}
			receipt := mustCommit(t, one, b)
			mustCommit(t, two, again)
			accepted := 0
			for _, err := range errs {
				if err == nil {
					accepted++
				} else if !tap.IsKind(err, tap.NotFound) {
					t.Fatal(err)
				}
			}
			if len(receipt.Appended) != accepted || receipt.Entries != accepted {
				t.Fatalf("%d accepted, receipt %+v", accepted, receipt)
			}
			done += accepted
		}
		now := objects(t, one)
		if !maps.Equal(now, objects(t, two)) {
			t.Fatal("two machines disagree about one log")
		}
		entries := history(t, one, 0)
		if len(entries) != done {
			t.Fatalf("%d actions in the history, %d were accepted", len(entries), done)
		}
		if replayed := replay(t, model{}, entries); !maps.Equal(now, replayed) {
			t.Fatalf("the room is %v, its history says %v", now, replayed)
		}
		if caught := replay(t, joined, history(t, one, joinedAt)); !maps.Equal(now, caught) {
			t.Fatalf("who joined sees %v, the room is %v", caught, now)
		}
	})
}
