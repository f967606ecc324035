package spatial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tamv.internal/tamv/pods"
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

func TestActSentAgain(t *testing.T) {
	h := plaza(t)
	mine := Act{Actor: "ana", RequestID: uuid.New(), Action: Put, Object: cube("a", 1)}
	other := Act{Actor: "bea", RequestID: uuid.New(), Action: Put, Object: cube("b", 1)}
	b, errs := ActBatch(h.State, "main", "plaza", []Act{mine, other, mine}, podtest.Epoch)
	podtest.WantKind(t, errs[2], tap.Conflict, codeRepeated)
	if errs[0] != nil || errs[1] != nil || len(b.Evidence) != 2 {
		t.Fatalf("%v, %d entries", errs, len(b.Evidence))
	}
	if _, err := h.State.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	b, errs = ActBatch(h.State, "main", "plaza", []Act{other}, podtest.Epoch)
	podtest.WantKind(t, errs[0], tap.Conflict, codeRepeated)
	if len(b.Ops)+len(b.Evidence) != 0 {
		t.Error("a repeated act has effects")
	}
	stolen := Act{Actor: "eve", RequestID: other.RequestID, Action: Put, Object: cube("b", 2)}
	if _, errs := ActBatch(h.State, "main", "plaza", []Act{stolen}, podtest.Epoch); errs[0] != nil {
		t.Errorf("another actor's id occupies mine: %v", errs[0])
	}
	h.State.Advance(store.IdempotencyWindow + 1e9)
	if _, errs := ActBatch(h.State, "main", "plaza", []Act{other}, podtest.Epoch); errs[0] != nil {
		t.Errorf("after the window: %v", errs[0])
	}
}

func TestRequestSentAgain(t *testing.T) {
	h, id := plaza(t), uuid.New()
	send := func(target, body string, out any) error {
		_, err := h.Do(t.Context(), podtest.Request{As: ana, ID: id, Method: "POST", Target: target, Body: body}, out)
		return err
	}
	var first, again, later actedReply
	body := action("put", cube("a", 1))
	for _, reply := range []*actedReply{&first, &again} {
		if err := send(here+"/actions", body, reply); err != nil {
			t.Fatal(err)
		}
	}
	if first.Sequence != 1 || again.Sequence != 1 || !again.Receipt.Duplicate {
		t.Errorf("first %+v, again %+v", first, again)
	}
	h.State.Forget()
	if err := send(here+"/actions", body, &later); err != nil || later.Sequence != 0 {
		t.Errorf("forgotten by the store: %+v, %v", later, err)
	}
	id = uuid.New()
	var room, sameRoom roomReply
	for _, reply := range []*roomReply{&room, &sameRoom} {
		if err := send("/v1/dreamspaces", `{"name":"x"}`, reply); err != nil {
			t.Fatal(err)
		}
	}
	if room.Room != id.String() || sameRoom.Room != room.Room || !sameRoom.Receipt.Duplicate {
		t.Errorf("%+v, %+v", room, sameRoom)
	}
	id = uuid.New()
	podtest.WantKind(t, send("/v1/dreamspaces", `{"id":"plaza","name":"La plaza"}`, nil), tap.Conflict, "room_exists")
}

func TestRefusedRooms(t *testing.T) {
	h := plaza(t)
	for _, body := range []string{
		`{"name":" "}`, `{"name":"a\u0000b"}`, `{"id":"A","name":"a"}`, `{"id":"a/b","name":"a"}`,
		`{"name":"` + strings.Repeat("ñ", 200) + `"}`, `{"name":""}`, `{"id":"a"}`,
	} {
		_, err := h.Do(t.Context(), podtest.Request{As: ana, Method: "POST", Target: "/v1/dreamspaces", Body: body}, nil)
		podtest.WantKind(t, err, tap.Invalid, "")
	}
	_, err := New().create(t.Context(), &pods.Call{Body: []byte(`[`)})
	podtest.WantKind(t, err, tap.Invalid, "")
}

func TestPages(t *testing.T) {
	h := plaza(t)
	for _, id := range []string{"alpha", "beta"} {
		if _, err := h.Do(t.Context(), podtest.Request{As: ana, Method: "POST", Target: "/v1/dreamspaces", Body: `{"id":"` + id + `","name":"n"}`}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		if _, err := h.Do(t.Context(), podtest.Request{As: ana, Method: "POST", Target: here + "/actions", Body: action("put", cube("a", i))}, nil); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	for after := ""; ; {
		var page listReply
		if _, err := h.Do(t.Context(), podtest.Request{As: ana, Method: "GET", Target: "/v1/dreamspaces?limit=2&after=" + after}, &page); err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Rooms {
			ids = append(ids, r.ID)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if !slices.Equal(ids, []string{"alpha", "beta", "plaza"}) {
		t.Errorf("rooms %v", ids)
	}
	var numbers []uint64
	for after := uint64(0); ; {
		var page historyReply
		if _, err := h.Do(t.Context(), podtest.Request{As: ana, Method: "GET", Target: fmt.Sprintf("%s/history?limit=2&after=%d", here, after)}, &page); err != nil {
			t.Fatal(err)
		}
		for _, a := range page.Actions {
			numbers = append(numbers, a.Sequence)
		}
		if after = page.Next; after == 0 {
			break
		}
	}
	if !slices.Equal(numbers, []uint64{1, 2, 3, 4, 5}) {
		t.Errorf("history %v", numbers)
	}
	for _, target := range []string{
		"/v1/dreamspaces?limit=0", "/v1/dreamspaces?limit=501", "/v1/dreamspaces?after=A%2FB", here + "/history?limit=0",
		here + "/history?after=x", "/v1/dreamspaces?limit=x",
	} {
		_, err := h.Do(t.Context(), podtest.Request{As: ana, Method: "GET", Target: target}, nil)
		podtest.WantKind(t, err, tap.Invalid, "query")
	}
	_, err := h.Do(t.Context(), podtest.Request{As: ana, Method: "GET", Target: "/v1/dreamspaces/no/history"}, nil)
	podtest.WantKind(t, err, tap.NotFound, "")
	stranger := podtest.Who("ana", tap.Citizen)
	stranger.Tenant = "other"
	_, err = h.Do(t.Context(), podtest.Request{As: stranger, Method: "GET", Target: here}, nil)
	podtest.WantKind(t, err, tap.NotFound, "")
}

// fullRoom pretends that the room holds n objects and saw many actions.
type fullRoom struct {
	store.View
	n int
}

func (f fullRoom) SequenceLast(store.Key) (uint64, error) { return 1 << 40, nil }

func (f fullRoom) Scan(prefix, _ store.Key, fn func(store.Item) bool) error {
	for i := range f.n {
		fn(store.Item{Key: prefix + store.Key(fmt.Sprintf("o%d", i))})
	}
	return nil
}

func (f fullRoom) Get(k store.Key) (store.Item, bool, error) {
	if k.Space() == spaceObject {
		return store.Item{}, strings.HasPrefix(k.Last(), "o"), nil
	}
	return f.View.Get(k)
}

func TestRoomIsFull(t *testing.T) {
	h := plaza(t)
	act := func(kind, id string) Act {
		return Act{Actor: "ana", RequestID: uuid.New(), Action: kind, Object: cube(id, 1)}
	}
	view := fullRoom{h.State, MaxObjects - 1}
	_, errs := ActBatch(view, "main", "plaza", []Act{
		act(Put, "o1"), act(Put, "new"), act(Put, "o2"), act(Put, "more"), act(Remove, "new"), act(Put, "more"),
	}, podtest.Epoch)
	for i, err := range errs {
		if i == 3 {
			podtest.WantKind(t, err, tap.Limited, "room_full")
		} else if err != nil {
			t.Errorf("act %d: %v", i, err)
		}
	}
	_, errs = ActBatch(view, "main", "plaza", []Act{act(Remove, "o1"), act(Put, "new"), act(Put, "newer"), act(Put, "newest")}, podtest.Epoch)
	if errs[1] != nil || errs[2] != nil || !tap.IsKind(errs[3], tap.Limited) {
		t.Errorf("one out, three in: %v", errs)
	}
}

func TestBatchIsBounded(t *testing.T) {
	h := plaza(t)
	big := fmt.Sprintf(`{"id":"a","position":{"x":1,"y":2,"z":3},"metadata":{"m":%q}}`, strings.Repeat("m", MaxMetadata-10))
	for name, object := range map[string]string{"large objects": big, "small objects": string(cube("a", 1))} {
		acts := make([]Act, 1100)
		for i := range acts {
			acts[i] = Act{Actor: strings.Repeat("a", 64), RequestID: uuid.New(), Action: Put, Object: json.RawMessage(object)}
		}
		b, errs := ActBatch(h.State, "main", "plaza", acts, podtest.Epoch)
		podtest.WantKind(t, errs[len(errs)-1], tap.Limited, "busy")
		if _, err := store.EncodeBatch(b); err != nil || len(b.Evidence) < 50 {
			t.Errorf("%s: %d entries, %v", name, len(b.Evidence), err)
		}
	}
}

func TestIntentPlacesAnObject(t *testing.T) {
	h := plaza(t)
	c := &pods.Call{RequestID: uuid.New(), Principal: ana, Tenant: "main", View: h.State, Now: podtest.Epoch}
	wish := func(room, object string) *pods.Intent {
		return &pods.Intent{Parsed: pods.ParsedInput{Spatial: &pods.SpatialInput{Room: room, Object: json.RawMessage(object)}}}
	}
	part, err := New().place(t.Context(), c, wish("plaza", string(cube("a", 7))))
	if err != nil || part.Degraded != "" || len(part.Ops) == 0 {
		t.Fatalf("%+v, %v", part, err)
	}
	if shown := string(encode(part.Spatial)); !strings.Contains(shown, `"room":"plaza","action":"put"`) || !strings.Contains(shown, `"x":7`) {
		t.Errorf("spatialData %s", shown)
	}
	_, err = h.State.Commit(t.Context(), store.Batch{
		RequestID: c.RequestID, Tenant: "main", Ops: part.Ops, Evidence: []store.Evidence{{Actor: "ana", Action: "intent.process", Outcome: "ok"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if part, err := New().place(t.Context(), c, wish("plaza", string(cube("a", 7)))); err != nil || len(part.Ops) != 0 {
		t.Errorf("sent again: %+v, %v", part, err)
	}
	for name, in := range map[string]*pods.Intent{"no room": wish("nowhere", string(cube("a", 1))), "no position": wish("plaza", `{"id":"a"}`)} {
		if part, err := New().place(t.Context(), c, in); err != nil || part.Degraded == "" || len(part.Ops) != 0 {
			t.Errorf("%s: %+v, %v", name, part, err)
		}
	}
	if part, err := New().place(t.Context(), c, &pods.Intent{}); err != nil || part.Spatial != nil || part.Degraded != "" {
		t.Errorf("nothing spatial: %+v, %v", part, err)
	}
}

func TestReadFailuresSurface(t *testing.T) {
	h := plaza(t)
	state := h.State
	call := func(v store.View, body string) *pods.Call {
		return &pods.Call{RequestID: uuid.New(), Principal: ana, Tenant: "main", View: v, Now: podtest.Epoch, Body: []byte(body), Params: map[string]string{"id": "plaza"}}
	}
	p := New()
	for name, run := range map[string]func(store.View) error{
		"create":  func(v store.View) error { _, err := p.create(t.Context(), call(v, `{"name":"n"}`)); return err },
		"list":    func(v store.View) error { _, err := p.list(t.Context(), call(v, "")); return err },
		"get":     func(v store.View) error { _, err := p.get(t.Context(), call(v, "")); return err },
		"history": func(v store.View) error { _, err := p.history(t.Context(), call(v, "")); return err },
		"act": func(v store.View) error {
			_, err := p.act(t.Context(), call(v, action("put", cube("z", 1))))
			return err
		},
		"act in a full room": func(v store.View) error {
			_, errs := ActBatch(busyRoom{v}, "main", "plaza", []Act{{Actor: "ana", Action: Put, Object: cube("z", 1)}}, podtest.Epoch)
			return errs[0]
		},
		"place": func(v store.View) error {
			_, err := p.place(t.Context(), call(v, ""), &pods.Intent{Parsed: pods.ParsedInput{Spatial: &pods.SpatialInput{Room: "plaza", Object: cube("z", 1)}}})
			return err
		},
	} {
		good := 0
		for ; ; good++ {
			err := run(&podtest.Flaky{View: state, Good: good})
			if err == nil {
				break
			}
			if !errors.Is(err, podtest.ErrUnreadable) {
				t.Fatalf("%s after %d reads: %v", name, good, err)
			}
		}
		if good == 0 {
			t.Errorf("%s reads nothing", name)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.list(cancelled, call(state, "")); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled list: %v", err)
	}
	if _, err := p.history(cancelled, call(state, "")); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled history: %v", err)
	}
}

// busyRoom saw as many actions as a room may hold objects.
type busyRoom struct{ store.View }

func (b busyRoom) SequenceLast(k store.Key) (uint64, error) {
	n, err := b.View.SequenceLast(k)
	return n + MaxObjects, err
}

func TestDamagedRecords(t *testing.T) {
	h := plaza(t)
	_, err := h.State.Commit(t.Context(), store.Batch{
		RequestID: uuid.New(), Tenant: "main",
		Ops:      []store.Op{store.Put(store.K("main", spaceRoom, "bad"), []byte("{")), store.Append(store.K("main", SpaceHistory, "plaza"), []byte("["))},
		Evidence: []store.Evidence{{Actor: "ana", Action: "x", Outcome: "ok"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/v1/dreamspaces/bad", "/v1/dreamspaces", here + "/history"} {
		_, err := h.Do(t.Context(), podtest.Request{As: ana, Method: "GET", Target: target}, nil)
		podtest.WantKind(t, err, tap.Internal, "")
	}
}

// FuzzObject: an object is refused, or it is stored in a form that is accepted
// again and stays the same.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{string(cube("a", 1)), `{"id":"a","position":{"x":1e6,"y":0.1,"z":-0},"metadata":{"k":[1,{"b":null}]}}`, `{}`, `[`, `{"id":"a","position":{"x":1e999999999,"y":1e-999999999,"z":0}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := parseObject(raw)
		if err != nil {
			return
		}
		stored := encode(o)
		again, err := parseObject(stored)
		if err != nil || string(encode(again)) != string(stored) {
			t.Errorf("%q is stored as %q, which reads as %q, %v", raw, stored, encode(again), err)
		}
	})
}
