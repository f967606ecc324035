package faults

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	registerKeys    = 6
	registerClients = 4 // of one key; a search takes too long beyond 8
	// searchTime bounds the search for one key's linearization.
	searchTime = 30 * time.Second
	// maxOpen is how many writes of one key may be unknown: every one of them
	// doubles the search. Later ones are repeated until they are answered.
	maxOpen = 6
)

// RegisterOp is one operation on a register, as its client saw it. A register
// counts its writes: each write learns its number, which makes it a
// read-modify-write, and each read sees the value of the last one.
type RegisterOp struct {
	Client int
	Write  bool
	Value  string // written, or read; empty = nothing was written yet
	Number uint64 // of an acknowledged write
	Known  bool   // an unknown write has no number, and may take effect at any later time
	Span   Span
}

// Registers is the key-value workload: a register is the one object of a room.
// A put is answered with its number in the room's history.
type Registers struct {
	Caller *Caller
	Prefix string // of the rooms' names, this run's own

	mu      sync.Mutex // guards all below
	history map[string][]RegisterOp
	open    map[string]int // unknown writes
}

// Prepare opens the rooms.
func (r *Registers) Prepare(ctx context.Context) error {
	r.history, r.open = map[string][]RegisterOp{}, map[string]int{}
	for key := range registerKeys {
		a := r.Caller.Do(ctx, Operation{
			Method: "POST", Path: "/v1/dreamspaces", Repeat: true, Body: map[string]string{"id": r.room(key), "name": "register"},
		}, key)
		if a.Outcome != Acknowledged {
			return fmt.Errorf("room %s: %w", r.room(key), a.Err)
		}
	}
	return nil
}

func (r *Registers) room(key int) string { return fmt.Sprintf("%s-%d", r.Prefix, key) }

// Run writes and reads until load ends; three of four operations are reads.
func (r *Registers) Run(load, life context.Context) {
	clients(load, registerKeys*registerClients, func(client, n int) {
		room := r.room(client % registerKeys)
		op := RegisterOp{Client: client / registerKeys}
		var ok bool
		if (client+n)%4 == 0 {
			op.Write, op.Value = true, fmt.Sprintf("c%d-%d", client, n)
			ok = r.write(life, room, client, n, &op)
		} else {
			ok = r.read(life, room, client, n, &op)
		}
		if !ok {
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.history[room] = append(r.history[room], op)
		if !op.Known {
			r.open[room]++
		}
	})
}

// crowded says whether no more writes of a key may stay unknown.
func (r *Registers) crowded(room string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open[room] >= maxOpen
}

// write puts the value; false when nothing can have happened.
func (r *Registers) write(life context.Context, room string, client, n int, op *RegisterOp) bool {
	origin := map[string]int{"x": 0, "y": 0, "z": 0}
	a := r.Caller.Do(life, Operation{
		Method: "POST", Path: "/v1/dreamspaces/" + room + "/actions", Repeat: repeats(client) || r.crowded(room),
		Body: map[string]any{"action": "put", "object": map[string]any{"id": "register", "type": op.Value, "position": origin}},
	}, home(client, n))
	op.Span, op.Known = a.Span, a.Outcome == Acknowledged
	if op.Known {
		var reply struct {
			Sequence uint64 `json:"sequence"`
		}
		_ = a.Reply.Decode(&reply) // a reply without a number is no linearization's
		op.Number = reply.Sequence
	}
	return a.Outcome != Refused
}

// read asks for the value with the strongest consistency; false when the answer
// never came, which says nothing.
func (r *Registers) read(life context.Context, room string, client, n int, op *RegisterOp) bool {
	a := r.Caller.Do(life, Operation{
		Method: "GET", Path: "/v1/dreamspaces/" + room, Query: url.Values{"consistency": {"linearizable"}},
	}, home(client, n))
	if a.Outcome != Acknowledged {
		return false
	}
	var reply struct {
		Objects []struct {
			Type string `json:"type"`
		} `json:"objects"`
	}
	if a.Reply.Decode(&reply) != nil || len(reply.Objects) > 1 {
		op.Value = "unreadable"
	} else if len(reply.Objects) == 1 {
		op.Value = reply.Objects[0].Type
	}
	op.Span, op.Known = a.Span, true
	return true
}

// Check searches a linearization for each register.
func (r *Registers) Check(context.Context) (Verdict, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var v Verdict
	for _, room := range sortedKeys(r.history) {
		switch CheckRegister(r.history[room]) {
		case porcupine.Illegal:
			v.find(&v.Stale, "room %s: %d operations have no linearization", room, len(r.history[room]))
		case porcupine.Unknown:
			return v, fmt.Errorf("room %s: no linearization of %d operations was found in %s", room, len(r.history[room]), searchTime)
		}
	}
	return v, nil
}

// register is the state of porcupine's model.
type register struct {
	number uint64
	value  string
}

var registerModel = porcupine.Model{
	Init: func() any { return register{} },
	Step: func(state, input, _ any) (bool, any) {
		s, op := state.(register), input.(RegisterOp)
		switch {
		case !op.Write:
			return op.Value == s.value, s
		case op.Known && op.Number != s.number+1:
			return false, s
		}
		return true, register{s.number + 1, op.Value}
	},
	Equal: func(a, b any) bool { return a == b },
	DescribeOperation: func(input, _ any) string {
		op := input.(RegisterOp)
		verb := "read"
		if op.Write {
			verb = "write"
		}
		return fmt.Sprintf("%s %q #%d", verb, op.Value, op.Number)
	},
}

// CheckRegister says whether the history has a linearization.
func CheckRegister(history []RegisterOp) porcupine.CheckResult {
	operations := make([]porcupine.Operation, 0, len(history))
	for _, op := range history {
		end := int64(op.Span.End)
		if !op.Known {
			end = math.MaxInt64
		}
		operations = append(operations, porcupine.Operation{ClientId: op.Client, Input: op, Call: int64(op.Span.Start), Return: end})
	}
	return porcupine.CheckOperationsTimeout(registerModel, operations, searchTime)
}
