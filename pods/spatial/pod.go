package spatial

import (
	"cmp"
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

const (
	defaultPage = 50
	maxPage     = 500
	maxRoomName = 255 // bytes
)

// Pod is the spatial pod. It has no state of its own.
type Pod struct{}

// New makes the pod.
func New() *Pod { return &Pod{} }

var (
	readers = []tap.Role{tap.Citizen, tap.Device, tap.Auditor}
	actors  = []tap.Role{tap.Citizen, tap.Device}
)

// MayRead says whether the principal may see rooms.
func MayRead(p *tap.Principal) bool { return p.Has(readers...) }

// MayAct says whether the principal may change rooms.
func MayAct(p *tap.Principal) bool { return p.Has(actors...) }

// Manifest describes the pod.
func (p *Pod) Manifest() pods.Manifest {
	page := []pods.Parameter{
		{Name: "limit", Summary: "per page, 1 to 500", Integer: true},
		{Name: "after", Summary: "continue behind this one"},
	}
	return pods.Manifest{
		Name: "spatial",
		Summary: tap.Text{
			EN: "Dreamspaces: shared rooms, their objects and what happened in them.",
			ES: "Dreamspaces: salas compartidas, sus objetos y lo que ocurrió en ellas.",
		},
		Intent: p.place,
		Routes: []pods.Route{
			{
				Method: "POST", Pattern: "/v1/dreamspaces", Summary: "Open a dreamspace",
				Roles: []tap.Role{tap.Citizen}, Body: createSchema, Reply: createdSchema, BodyLimit: 16 << 10, Run: p.create,
			},
			{
				Method: "GET", Pattern: "/v1/dreamspaces", Summary: "List dreamspaces by id",
				Roles: readers, Reply: listSchema, Query: page, Run: p.list,
			},
			{
				Method: "GET", Pattern: "/v1/dreamspaces/{id}", Summary: "Show a dreamspace with its objects",
				Roles: readers, Reply: stateSchema, Run: p.get,
			},
			{
				Method: "GET", Pattern: "/v1/dreamspaces/{id}/history", Summary: "List what happened in a dreamspace, in order",
				Roles: readers, Reply: historySchema, Query: page, Run: p.history,
			},
			{
				Method: "POST", Pattern: "/v1/dreamspaces/{id}/actions", Summary: "Put or remove an object",
				Roles: actors, Body: actSchema, Reply: actedSchema, BodyLimit: 32 << 10, Run: p.act,
			},
		},
	}
}

type roomReply struct {
	Room    string         `json:"room"`
	Receipt *store.Receipt `json:"receipt,omitempty"`
}

// create opens a room. The same request sent again finds its own room.
func (p *Pod) create(_ context.Context, c *pods.Call) (*pods.Result, error) {
	var in struct{ ID, Name string }
	if err := json.Unmarshal(c.Body, &in); err != nil {
		return nil, tap.Wrap("spatial.create", tap.Invalid, err, "the body is no dreamspace")
	}
	r := Room{
		ID: cmp.Or(in.ID, c.RequestID.String()), Name: in.Name, Creator: c.Actor(),
		Created: pods.Timestamp(c.Now), Request: c.RequestID.String(),
	}
	switch {
	case !tap.ValidName(r.ID):
		return nil, tap.E("spatial.create", tap.Invalid, "a dreamspace id is 1 to 64 lower-case letters, digits, '-', '_' or '.'").WithCode("name")
	case strings.TrimSpace(r.Name) == "" || len(r.Name) > maxRoomName || strings.ContainsFunc(r.Name, unicode.IsControl):
		return nil, tap.E("spatial.create", tap.Invalid, "a dreamspace name is 1 to %d bytes without control characters", maxRoomName).WithCode("name")
	}
	reply := &roomReply{Room: r.ID}
	result := &pods.Result{Body: reply, Receipted: func(receipt store.Receipt) { reply.Receipt = &receipt }}
	outcome := "ok"
	standing, err := findRoom(c.View, c.Tenant, r.ID)
	switch {
	case tap.IsKind(err, tap.NotFound):
		result.Ops = []store.Op{store.Create(c.Key(spaceRoom, r.ID), encode(r))}
	case err != nil:
		return nil, err
	case standing.Request != r.Request || standing.Name != r.Name || standing.Creator != r.Creator:
		return nil, tap.E("spatial.create", tap.Conflict, "a dreamspace with this id exists").WithCode("room_exists")
	default:
		outcome = "repeated"
	}
	result.Evidence = []store.Evidence{{
		Actor: c.Actor(), Action: "room.create", Outcome: outcome, Payload: encode(map[string]string{"room": r.ID}),
	}}
	return result, nil
}

type listReply struct {
	Rooms []Room `json:"dreamspaces"`
	Next  string `json:"next,omitempty"` // what to send as "after"
}

func (p *Pod) list(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	limit, err := c.PageSize(defaultPage, maxPage)
	if err != nil {
		return nil, err
	}
	after := c.Query["after"]
	if after != "" && !tap.ValidName(after) {
		return nil, tap.E("spatial.list", tap.Invalid, `"after" is no dreamspace id`).WithCode("query")
	}
	reply := listReply{Rooms: []Room{}}
	var failed error
	err = c.View.Scan(c.Key(spaceRoom).Prefix(), c.Key(spaceRoom, after), func(i store.Item) bool {
		if i.Key.Last() == after {
			return true
		}
		if len(reply.Rooms) == limit {
			reply.Next = reply.Rooms[limit-1].ID
			return false
		}
		var r Room
		if r, failed = decodeRoom(i.Value); failed != nil {
			return false
		}
		reply.Rooms = append(reply.Rooms, r)
		return ctx.Err() == nil
	})
	if err = cmp.Or(err, failed, ctx.Err()); err != nil {
		return nil, err
	}
	return &pods.Result{Body: reply}, nil
}

func (p *Pod) get(_ context.Context, c *pods.Call) (*pods.Result, error) {
	s, err := RoomState(c.View, c.Tenant, c.Params["id"])
	return &pods.Result{Body: s}, err
}

type historyReply struct {
	Actions []recorded `json:"actions"`
	Next    uint64     `json:"next,omitempty"` // what to send as "after"
}

type recorded struct {
	Sequence uint64 `json:"sequence"`
	entry
}

func (p *Pod) history(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	limit, err := c.PageSize(defaultPage, maxPage)
	if err != nil {
		return nil, err
	}
	after, err := strconv.ParseUint(cmp.Or(c.Query["after"], "0"), 10, 63)
	if err != nil {
		return nil, tap.E("spatial.history", tap.Invalid, `"after" is no sequence number`).WithCode("query")
	}
	room := c.Params["id"]
	if _, err := findRoom(c.View, c.Tenant, room); err != nil {
		return nil, err
	}
	reply := historyReply{Actions: []recorded{}}
	var failed error
	err = c.View.Sequence(c.Key(SpaceHistory, room), after+1, func(number uint64, value []byte) bool {
		if len(reply.Actions) == limit {
			reply.Next = number - 1
			return false
		}
		r := recorded{Sequence: number}
		if err := json.Unmarshal(value, &r.entry); err != nil {
			failed = tap.Wrap("spatial.history", tap.Internal, err, "a stored action does not parse")
			return false
		}
		reply.Actions = append(reply.Actions, r)
		return ctx.Err() == nil
	})
	if err = cmp.Or(err, failed, ctx.Err()); err != nil {
		return nil, err
	}
	return &pods.Result{Body: reply}, nil
}

type actedReply struct {
	Sequence uint64         `json:"sequence,omitempty"` // missing for a repetition of an act from another batch
	Receipt  *store.Receipt `json:"receipt,omitempty"`
}

// act puts or removes one object.
func (p *Pod) act(_ context.Context, c *pods.Call) (*pods.Result, error) {
	a, err := ParseAct(c.Actor(), c.RequestID, c.Body)
	if err != nil {
		return nil, err
	}
	b, errs := ActBatch(c.View, c.Tenant, c.Params["id"], []Act{a}, c.Now)
	if isRepeated(errs[0]) { // the store gives the first receipt again
		b.Evidence = []store.Evidence{a.evidence(c.Params["id"], "", nil)}
		b.Evidence[0].Outcome = codeRepeated
	} else if errs[0] != nil {
		return nil, errs[0]
	}
	reply := &actedReply{}
	return &pods.Result{
		Body: reply, Ops: b.Ops, Evidence: b.Evidence,
		Receipted: func(r store.Receipt) {
			reply.Receipt = &r
			if len(r.Appended) > 0 {
				reply.Sequence = r.Appended[0]
			}
		},
	}, nil
}

// placed is what a spatial intent adds to the answer.
type placed struct {
	Room   string          `json:"room"`
	Action string          `json:"action"`
	Object json.RawMessage `json:"object"`
}

// place is the pod's part of an intent: the object of a spatial input is put into
// its room.
func (p *Pod) place(_ context.Context, c *pods.Call, in *pods.Intent) (*pods.Part, error) {
	wish := in.Parsed.Spatial
	if wish == nil {
		return &pods.Part{}, nil
	}
	acts := []Act{{Actor: c.Actor(), RequestID: c.RequestID, Action: Put, Object: wish.Object}}
	b, errs := ActBatch(c.View, c.Tenant, wish.Room, acts, c.Now)
	if err := errs[0]; err != nil {
		switch tap.KindOf(err) {
		case tap.Conflict: // the intent was sent again: nothing is left to do
			return &pods.Part{}, nil
		case tap.Invalid, tap.NotFound, tap.Limited:
			return &pods.Part{Degraded: tap.AsError(err).Message}, nil
		}
		return nil, err
	}
	return &pods.Part{Ops: b.Ops, Evidence: b.Evidence, Spatial: placed{wish.Room, Put, b.Ops[0].Value}}, nil
}
