package appliance_test

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"

	"tamv.internal/tamv/docs/manual"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// The benchmarks run client and server in one process, so that one CPU profile
// shows a request's whole way. Rates belong to tamvbench.

func BenchmarkIntent(b *testing.B) {
	cl := connect(b, start(b, b.TempDir()).Context)
	loadManual(b, cl)
	questions := []string{
		"How can I verify an evidence bundle without a network?",
		"How is a payment split between impact and operations?",
		"¿Qué pasa si se pierde una máquina?",
		"¿Quién puede aprobar una intención retenida?",
	}
	var asked atomic.Uint64
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			intent := map[string]any{
				"tenantId": "main", "type": "question", "safetyProfile": "STANDARD", "jurisdiction": "MX",
				"input": map[string]any{"type": "text", "data": questions[asked.Add(1)%4]},
			}
			if _, err := cl.Do(b.Context(), "POST", "/v1/kernel/intent", nil, intent); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// loadManual fills memory as the demo does.
func loadManual(b *testing.B, cl *client.Client) {
	b.Helper()
	for _, lang := range manual.Languages() {
		passages, err := manual.Passages(lang)
		if err != nil {
			b.Fatal(err)
		}
		for part := range slices.Chunk(passages, 50) {
			var documents []map[string]any
			for _, p := range part {
				documents = append(documents, map[string]any{
					"id": "manual." + p.Lang + "." + p.ID, "documentType": "MANUAL", "content": p.Content,
					"metadata": map[string]string{"title": p.Title, "lang": p.Lang},
				})
			}
			if _, err := cl.Do(b.Context(), "POST", "/v1/memory/documents", nil, map[string]any{"documents": documents}); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkEvidence(b *testing.B) {
	running := start(b, b.TempDir())
	operator, conf := connect(b, running.Context), config(b, running.Context)
	target := url.URL{Scheme: "wss", Host: running.Address, Path: "/tap"}
	var n atomic.Uint64
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		keyID, key := enrol(b, operator, fmt.Sprintf("device-%d", n.Add(1)), tap.Device)
		session, err := client.Dial(b.Context(), client.SessionConfig{
			URL: target.String(), TLS: &tls.Config{RootCAs: conf.CA}, KeyID: keyID, Key: key,
		})
		if err != nil {
			b.Error(err)
			return
		}
		defer session.Close()
		for pb.Next() {
			body := fmt.Appendf(nil, `{"action":"sensor.reading","outcome":"ok","data":{"n":%d}}`, n.Add(1))
			if _, err := session.Evidence(b.Context(), body); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
