package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"

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

// intentLoad gives every client an identity and a connection of its own.
func intentLoad(ctx context.Context, s settings, site *site) ([]worker, func(), error) {
	var clients []*client.Client
	stop := func() {
		for _, c := range clients {
			c.Close()
		}
	}
	var workers []worker
	for range s.clients {
		keyID, key, err := site.enrol(ctx, tap.Citizen)
		if err != nil {
			return nil, stop, err
		}
		c, err := site.as(keyID, key)
		if err != nil {
			return nil, stop, err
		}
		clients = append(clients, c)
		tenant, _, _ := strings.Cut(keyID, "/")
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

// evidenceLoad gives every client an identity and a session of its own.
func evidenceLoad(ctx context.Context, s settings, site *site) ([]worker, func(), error) {
	var sessions []*client.Session
	stop := func() {
		for _, c := range sessions {
			_ = c.Close() // the run is over; the node closes what is left
		}
	}
	var workers []worker
	for i := range s.clients {
		keyID, key, err := site.enrol(ctx, tap.Device)
		if err != nil {
			return nil, stop, err
		}
		session, err := site.dial(ctx, s.transport, keyID, key)
		if err != nil {
			return nil, stop, err
		}
		sessions = append(sessions, session)
		for range s.pipeline {
			workers = append(workers, recordOnce(session, i))
		}
	}
	return workers, stop, nil
}

// recordOnce appends records of about 250 bytes, each one different.
func recordOnce(session *client.Session, number int) worker {
	n := 0
	note := strings.Repeat("the door of the north hall was opened; ", 4)
	return func(ctx context.Context) error {
		n++
		body := fmt.Appendf(nil, `{"action":"sensor.reading","outcome":"ok","data":{"sensor":%d,"reading":%d,"value":%d,"note":%q}}`, number, n, rand.Uint32(), note)
		ack, err := session.Evidence(ctx, body)
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
}
