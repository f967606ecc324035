package bookpi

import (
	"context"
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
	"auth.", "cluster.", "guardian.", "identity.", "intent.", "log.", "memory.", "room.", "security.", "session.", "subject.", "system.",
	"tcep.",
}

type appendReply struct {
	Position     uint64         `json:"position"`
	EvidenceHash bookpi.Hash    `json:"evidenceHash"`
	Receipt      *store.Receipt `json:"receipt"`
}

// append records what a client testifies, sealed when it says whom that concerns.
// It is the busiest call of the appliance: no value is made of the body, one entry,
// no reads.
func (p *Pod) append(_ context.Context, c *pods.Call) (*pods.Result, error) {
	members, err := pods.Members(c.Body)
	if err != nil {
		return nil, err
	}
	var action, outcome, subject string
	var data []byte // keeps its bytes as they came
	for i := range members {
		switch m := &members[i]; string(m.Name) {
		case "action":
			action, _ = m.Text()
		case "outcome":
			outcome, _ = m.Text()
		case "subject":
			subject, _ = m.Text()
		case "data":
			data = m.Value
		}
	}
	if len(data) > MaxData {
		return nil, tap.E("bookpi.append", tap.Invalid, "the data is longer than %d bytes", MaxData).WithCode("too_large")
	}
	if isReserved(action) {
		return nil, tap.E("bookpi.append", tap.Invalid, "actions that begin with this prefix are recorded by the appliance itself").
			WithCode("action").WithDetail("reserved", reserved)
	}
	reply := &appendReply{}
	return &pods.Result{
		Body:     reply,
		Evidence: []store.Evidence{{Actor: c.Actor(), Action: action, Outcome: outcome, Payload: data, Subject: subject}},
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
