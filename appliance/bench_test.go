package appliance_test

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"sync/atomic"
	"testing"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// The benchmarks run client and server in one process, so that one CPU profile
// shows a request's whole way. Rates belong to tamvbench.

func BenchmarkIntent(b *testing.B) {
	cl := connect(b, start(b, b.TempDir()).Context)
	intent := map[string]any{
		"tenantId": "main", "type": "question", "safetyProfile": "STANDARD", "jurisdiction": "MX",
		"input": map[string]any{"type": "text", "data": "How can I verify an evidence bundle without a network?"},
	}
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := cl.Do(b.Context(), "POST", "/v1/kernel/intent", nil, intent); err != nil {
				b.Error(err)
				return
			}
		}
	})
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
