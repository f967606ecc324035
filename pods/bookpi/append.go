package bookpi

import (
	"context"
	"encoding/json"
	"strings"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// MaxData is the longest evidence payload of a client, in bytes.
const MaxData = 256 << 10

// reserved are the prefixes of the actions that the appliance itself records.
var reserved = []string{
	"auth.", "guardian.", "identity.", "intent.", "memory.", "room.", "session.", "system.", "tcep.",
}

type appendReply struct {
	Position     uint64         `json:"position"`
	EvidenceHash bookpi.Hash    `json:"evidenceHash"`
	Receipt      *store.Receipt `json:"receipt"`
}

// append records what a client testifies. It is the busiest call of the
// appliance: one parse, one entry, no reads.
func (p *Pod) append(_ context.Context, c *pods.Call) (*pods.Result, error) {
	var in struct {
		Action  string          `json:"action"`
		Outcome string          `json:"outcome"`
		Data    json.RawMessage `json:"data"` // keeps its bytes as they came
	}
	if err := json.Unmarshal(c.Body, &in); err != nil {
		return nil, tap.Wrap("bookpi.append", tap.Invalid, err, "the body is no evidence")
	}
	if len(in.Data) > MaxData {
		return nil, tap.E("bookpi.append", tap.Invalid, "the data is longer than %d bytes", MaxData).WithCode("too_large")
	}
	if isReserved(in.Action) {
		return nil, tap.E("bookpi.append", tap.Invalid, "actions that begin with this prefix are recorded by the appliance itself").
			WithCode("action").WithDetail("reserved", reserved)
	}
	reply := &appendReply{}
	return &pods.Result{
		Body:     reply,
		Evidence: []store.Evidence{{Actor: c.Actor(), Action: in.Action, Outcome: in.Outcome, Payload: in.Data}},
		Receipted: func(r store.Receipt) {
			reply.Position, reply.EvidenceHash, reply.Receipt = r.Position, r.Leaf, &r
		},
	}, nil
}

func isReserved(action string) bool {
	for _, prefix := range reserved {
		if strings.HasPrefix(action, prefix) {
			return true
		}
	}
	return false
}
