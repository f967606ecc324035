package main

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) roomCommand() *cobra.Command {
	return a.group("room", textRoom, a.roomCreate(), a.roomList(), a.roomShow(), a.roomHistory(), a.roomAct())
}

// vector is three numbers with the digits that were typed or sent.
type vector struct {
	X json.Number `json:"x"`
	Y json.Number `json:"y"`
	Z json.Number `json:"z"`
}

// given is nil for a flag that was not.
func (v *vector) given() *vector {
	if v.X == "" {
		return nil
	}
	return v
}

// String implements pflag.Value.
func (v *vector) String() string {
	if v == nil || v.given() == nil {
		return ""
	}
	return v.X.String() + "," + v.Y.String() + "," + v.Z.String()
}

// Set implements pflag.Value: three numbers with commas between them.
func (v *vector) Set(s string) error {
	parts := strings.Split(s, ",")
	bad := usage("three numbers are needed, as in 1,0,-2.5")
	if len(parts) != 3 {
		return bad
	}
	for i, into := range []*json.Number{&v.X, &v.Y, &v.Z} {
		*into = json.Number(strings.TrimSpace(parts[i]))
		if *into == "" { // which would be written as 0
			return bad
		}
	}
	if _, err := json.Marshal(v); err != nil {
		return bad
	}
	return nil
}

// Type implements pflag.Value.
func (v *vector) Type() string { return "X,Y,Z" }

// object is a thing in a room.
type object struct {
	ID       string          `json:"id"`
	Type     string          `json:"type,omitempty"`
	Position *vector         `json:"position,omitempty"`
	Rotation *vector         `json:"rotation,omitempty"`
	Scale    *vector         `json:"scale,omitempty"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// room is a room, with its objects where they are asked for.
type room struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Creator  string   `json:"creator"`
	Created  string   `json:"created"`
	Objects  []object `json:"objects"`
	Sequence uint64   `json:"sequence"`
}

func roomPath(id string) string { return "/v1/dreamspaces/" + url.PathEscape(id) }

func (a *app) roomCreate() *cobra.Command {
	var name string
	c := a.verb("create [ID] --name TEXT", textRoomCreate, cobra.MaximumNArgs(1), func(ctx context.Context, args []string) error {
		body := map[string]string{"name": name}
		if len(args) == 1 {
			body["id"] = args[0]
		}
		return show(ctx, a, ask{method: "POST", path: "/v1/dreamspaces", body: body}, func(t *table, v struct {
			Room    string   `json:"room"`
			Receipt *receipt `json:"receipt"`
		},
		) {
			t.field(textRoomID, v.Room)
			v.Receipt.draw(t)
		})
	})
	c.Flags().StringVar(&name, "name", "", textFlagRoomName.In(a.lang))
	return require(c, "name")
}

func (a *app) roomList() *cobra.Command {
	var p paging
	c := a.verb("list [flags]", textRoomList, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		return show(ctx, a, ask{path: "/v1/dreamspaces", query: p.query()}, func(t *table, v struct {
			Rooms []room `json:"dreamspaces"`
			Next  cursor `json:"next"`
		},
		) {
			t.head(textRoomID, textName, textCreator, textCreated)
			for _, r := range v.Rooms {
				t.row(r.ID, r.Name, r.Creator, r.Created)
			}
			t.more(v.Next)
		})
	})
	p.flags(a, c)
	return c
}

func (a *app) roomShow() *cobra.Command {
	return a.verb("show ID", textRoomShow, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		return show(ctx, a, ask{path: roomPath(args[0])}, func(t *table, r room) {
			t.field(textRoomID, r.ID)
			t.field(textName, r.Name)
			t.field(textCreator, r.Creator)
			t.field(textCreated, r.Created)
			t.field(textSequence, strconv.FormatUint(r.Sequence, 10))
			t.line("")
			t.head(textObject, textType, textPlace, textRotation, textScale, textMetadata)
			for _, o := range r.Objects {
				t.row(o.ID, o.Type, o.Position.String(), o.Rotation.String(), o.Scale.String(), string(o.Metadata))
			}
		})
	})
}

func (a *app) roomHistory() *cobra.Command {
	var p paging
	c := a.verb("history ID [flags]", textRoomHistory, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		return show(ctx, a, ask{path: roomPath(args[0]) + "/history", query: p.query()}, func(t *table, v struct {
			Actions []struct {
				Sequence uint64 `json:"sequence"`
				Actor    string `json:"actor"`
				Time     string `json:"time"`
				Action   string `json:"action"`
				Object   object `json:"object"`
			} `json:"actions"`
			Next cursor `json:"next"`
		},
		) {
			t.head(textSequence, textTime, textActor, textAction, textObject, textPlace)
			for _, r := range v.Actions {
				t.row(strconv.FormatUint(r.Sequence, 10), r.Time, r.Actor, r.Action, r.Object.ID, r.Object.Position.String())
			}
			t.more(v.Next)
		})
	})
	p.flags(a, c)
	return c
}

func (a *app) roomAct() *cobra.Command {
	var kind, metadata string
	var position, rotation, scale vector
	c := a.verb("act ROOM put|remove OBJECT [flags]", textRoomAct, cobra.ExactArgs(3), func(ctx context.Context, args []string) error {
		o := object{ID: args[2], Type: kind, Position: position.given(), Rotation: rotation.given(), Scale: scale.given()}
		if metadata != "" {
			raw, err := a.argument(metadata)
			if err != nil {
				return err
			}
			if !json.Valid(raw) {
				return badInput("the metadata is not JSON")
			}
			o.Metadata = raw
		}
		body := map[string]any{"action": args[1], "object": o}
		return show(ctx, a, ask{method: "POST", path: roomPath(args[0]) + "/actions", body: body}, func(t *table, v struct {
			Sequence uint64   `json:"sequence"`
			Receipt  *receipt `json:"receipt"`
		},
		) {
			t.field(textSequence, strconv.FormatUint(v.Sequence, 10))
			v.Receipt.draw(t)
		})
	})
	c.Flags().StringVar(&kind, "type", "", textFlagObjectType.In(a.lang))
	c.Flags().Var(&position, "position", textFlagPosition.In(a.lang))
	c.Flags().Var(&rotation, "rotation", textFlagRotation.In(a.lang))
	c.Flags().Var(&scale, "scale", textFlagScale.In(a.lang))
	c.Flags().StringVar(&metadata, "metadata", "", textFlagMetadata.In(a.lang))
	return c
}
