package spatial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

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

// The window counts from the commit, also when the machine's clock runs ahead of
// this node's, or stood still while nobody wrote.
func TestActSentAgainWithClocksApart(t *testing.T) {
	for name, c := range map[string]struct{ machine, node, commit time.Duration }{
		"the machine runs ahead": {machine: time.Hour},
		"the machine was idle":   {node: time.Hour, commit: time.Hour},
	} {
		h := plaza(t)
		h.State.Advance(c.machine)
		now := podtest.Epoch.Add(c.node)
		act := Act{Actor: "ana", RequestID: uuid.New(), Action: Put, Object: cube("a", 1)}
		b, errs := ActBatch(h.State, "main", "plaza", []Act{act}, now)
		if errs[0] != nil {
			t.Fatal(errs[0])
		}
		h.State.Advance(c.commit) // the leader's stamp
		if _, err := h.State.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		h.State.Advance(store.IdempotencyWindow - time.Second)
		if _, errs := ActBatch(h.State, "main", "plaza", []Act{act}, now); !isRepeated(errs[0]) {
			t.Errorf("%s: done again within the window: %v", name, errs[0])
		}
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
		podtest.FailEveryRead(t, name, state, run)
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
