package spatial

import (
	"bytes"
	"encoding/json"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// The pod's part of the key space.
const (
	spaceRoom    = "room"    // one record per room
	spaceObject  = "object"  // one record per object: ROOM/OBJECT
	SpaceHistory = "history" // one sequence per room; its observers see every action in order
	// one record per act of the last minutes, ACTOR/REQUEST, so that an act sent
	// again in another batch is not done twice
	spaceActed = "room.acted"
)

// Room is a room as stored.
type Room struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Creator string `json:"creator"`
	Created string `json:"created"` // RFC 3339, UTC
	Request string `json:"request"` // id of the request that made it
}

// State is a room with everything in it.
type State struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Creator  string            `json:"creator"`
	Created  string            `json:"created"`
	Objects  []json.RawMessage `json:"objects"`  // in the order of their ids
	Sequence uint64            `json:"sequence"` // every action up to here is in Objects
}

// entry is one action in the history.
type entry struct {
	Actor  string          `json:"actor"`
	Time   string          `json:"time"`
	Action string          `json:"action"`
	Object json.RawMessage `json:"object"`
}

// findRoom reads a room's record; NotFound when there is none.
func findRoom(view store.View, tenant, room string) (Room, error) {
	missing := func() (Room, error) { return Room{}, tap.E("spatial.room", tap.NotFound, "no such dreamspace") }
	if !tap.ValidName(room) {
		return missing()
	}
	item, ok, err := view.Get(store.K(tenant, spaceRoom, room))
	if err != nil {
		return Room{}, err
	}
	if !ok {
		return missing()
	}
	return decodeRoom(item.Value)
}

func decodeRoom(b []byte) (Room, error) {
	var r Room
	if err := json.Unmarshal(b, &r); err != nil {
		return Room{}, tap.Wrap("spatial.room", tap.Internal, err, "a stored dreamspace does not parse")
	}
	return r, nil
}

// RoomState reads a room with all its objects. The sequence number is read
// first; see the package comment for why that suffices to join.
func RoomState(view store.View, tenant, room string) (State, error) {
	r, err := findRoom(view, tenant, room)
	if err != nil {
		return State{}, err
	}
	s := State{ID: r.ID, Name: r.Name, Creator: r.Creator, Created: r.Created, Objects: []json.RawMessage{}}
	if s.Sequence, err = view.SequenceLast(store.K(tenant, SpaceHistory, room)); err != nil {
		return State{}, err
	}
	err = view.Scan(store.K(tenant, spaceObject, room).Prefix(), "", func(i store.Item) bool {
		s.Objects = append(s.Objects, i.Value)
		return true
	})
	return s, err
}

// encode writes a value whose parts were all validated as JSON. It does not
// escape what HTML would want escaped.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
