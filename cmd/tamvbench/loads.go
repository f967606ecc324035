package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/google/uuid"

	"tamv.internal/tamv/cmd/tamvbench/load"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// questions are ordinary: none of them is refused or held.
var questions = []string{
	"How do I enrol a new identity?",
	"What does the operator do when a key is lost?",
	"How is a payment split between impact and operations?",
	"How can I verify an evidence bundle without a network?",
	"Which roles may read the whole ledger?",
	"How do two people see the same room?",
	"What happens to a request that is sent twice?",
	"How large may a document in memory be?",
	"¿Cómo se registra una identidad nueva?",
	"¿Cómo verifico un paquete de evidencia sin red?",
	"¿Qué pasa si se pierde una máquina?",
	"¿Cómo se reparte un pago entre impacto y operaciones?",
	"¿Quién puede aprobar una intención retenida?",
	"¿Cuántos documentos puedo añadir a la vez?",
}

// preparation makes one worker per outstanding request. stop releases what the
// workers hold; it is never nil.
type preparation func(ctx context.Context, s settings, site *site) (workers []load.Worker, stop func(), err error)

// intentLoad gives every client an identity and a connection of its own.
func intentLoad(ctx context.Context, s settings, site *site) ([]load.Worker, func(), error) {
	var clients []*client.Client
	stop := func() {
		for _, c := range clients {
			c.Close()
		}
	}
	var workers []load.Worker
	citizens, err := site.enrolAll(ctx, s.clients, tap.Citizen)
	if err != nil {
		return nil, stop, err
	}
	for i, citizen := range citizens {
		c, err := site.as(i, citizen)
		if err != nil {
			return nil, stop, err
		}
		clients = append(clients, c)
		tenant, _, _ := tap.SplitKeyID(citizen.id)
		workers = append(workers, func(ctx context.Context) error { return askOnce(ctx, c, tenant) })
	}
	return workers, stop, nil
}

func askOnce(ctx context.Context, c *client.Client, tenant string) error {
	reply, err := c.Do(ctx, "POST", "/v1/kernel/intent", nil, map[string]any{
		"tenantId": tenant, "type": "question", "safetyProfile": "STANDARD", "jurisdiction": "MX",
		"input": map[string]any{"type": "text", "data": questions[rand.IntN(len(questions))]},
	})
	if err != nil {
		return err
	}
	var answer struct {
		AIResponse   string      `json:"aiResponse"`
		EvidenceHash bookpi.Hash `json:"evidenceHash"`
	}
	if err := reply.Decode(&answer); err != nil {
		return err
	}
	if reply.Status != 200 || answer.AIResponse == "" || answer.EvidenceHash == (bookpi.Hash{}) {
		return tap.E("bench.intent", tap.Internal, "an answer without text or evidence, status %d", reply.Status)
	}
	return nil
}

// evidenceLoad gives every client an identity and a session of its own; the
// sessions are spread over the site's nodes.
func evidenceLoad(ctx context.Context, s settings, site *site) ([]load.Worker, func(), error) {
	var sessions []*client.Session
	stop := func() {
		for _, c := range sessions {
			_ = c.Close() // the run is over; the node closes what is left
		}
	}
	devices, err := site.enrolAll(ctx, s.clients, tap.Device)
	if err != nil {
		return nil, stop, err
	}
	var workers []load.Worker
	for i, d := range devices {
		session, err := site.dial(ctx, s.transport, i, d)
		if err != nil {
			return nil, stop, err
		}
		sessions = append(sessions, session)
		for range s.pipeline {
			workers = append(workers, recorder(session, records(i, s.record)))
		}
	}
	return workers, stop, nil
}

// The length of a record in bytes: what the fields of records need, and what a
// frame carries besides.
const (
	minRecord = 160
	maxRecord = 32 << 10
)

// records makes the readings of one sensor: each one different, and of exactly
// size bytes.
func records(sensor, size int) func() []byte {
	const text = "the door of the north hall was opened; "
	note := strings.Repeat(text, size/len(text)+1)
	reading := 0
	return func() []byte {
		reading++
		b := make([]byte, 0, size)
		b = fmt.Appendf(b, `{"action":"sensor.reading","outcome":"ok","data":{"sensor":%d,"reading":%d,"value":%d,"note":"`, sensor, reading, rand.Uint32())
		const end = `"}}`
		b = append(b, note[:size-len(b)-len(end)]...)
		return append(b, end...)
	}
}

// recorder appends one record after the other. One whose node was busy is repeated
// the next time, under its request id.
func recorder(session *client.Session, next func() []byte) load.Worker {
	var id uuid.UUID
	var record []byte // nil after an answer
	return func(ctx context.Context) error {
		if record == nil {
			id, record = newID(), next()
		}
		err := recordAs(ctx, session, id, record)
		if !comeBack(err) {
			record = nil
		}
		return err
	}
}

// newID makes a request id as the appliance's clients do: in order of time, so that
// the nodes' records of ids lie together.
func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

func recordOnce(ctx context.Context, session *client.Session, record []byte) error {
	return recordAs(ctx, session, newID(), record)
}

func recordAs(ctx context.Context, session *client.Session, id uuid.UUID, record []byte) error {
	ack, err := session.EvidenceAs(ctx, id, record)
	if err != nil {
		return err
	}
	var receipt struct {
		EvidenceHash string `json:"evidenceHash"`
	}
	if err := json.Unmarshal(ack, &receipt); err != nil || len(receipt.EvidenceHash) != 2*bookpi.HashSize {
		return tap.E("bench.evidence", tap.Internal, "an acknowledgement without an evidence hash")
	}
	return nil
}
