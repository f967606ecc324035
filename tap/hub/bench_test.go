package hub_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
	"tamv.internal/tamv/tap/hub"
)

// BenchmarkEvidence measures evidence records per second through 64 sessions
// against a handler that does nothing; client and server share the machine.
func BenchmarkEvidence(b *testing.B) {
	for _, inFlight := range []int{1, 8} {
		name := fmt.Sprintf("%d-in-flight", inFlight)
		b.Run("wss/"+name, func(b *testing.B) { benchmarkEvidence(b, false, inFlight) })
		b.Run("quic/"+name, func(b *testing.B) { benchmarkEvidence(b, true, inFlight) })
	}
}

func benchmarkEvidence(b *testing.B, overQUIC bool, inFlight int) {
	n := newNode(b, hub.Limits{})
	wss, quicURL, roots := n.listen(b)
	url := wss
	if overQUIC {
		url = quicURL
	}
	const sessions = 64
	body := []byte(`{"action":"sensor.reading","outcome":"ok","data":{"sensor":"t-17","celsius":21.4,"at":"2026-01-01T00:00:00Z"}}`)
	ctx := context.Background()
	all := make([]*client.Session, sessions)
	for i := range all {
		var err error
		all[i], err = client.Dial(ctx, client.SessionConfig{URL: url, TLS: &tls.Config{RootCAs: roots}, KeyID: "main/ana", Key: n.directory.keys["main/ana"]})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	var work sync.WaitGroup
	for _, s := range all {
		for range inFlight {
			work.Go(func() {
				for left.Add(-1) >= 0 {
					reply, err := s.Evidence(ctx, body)
					if err != nil || !bytes.Equal(reply, body) {
						b.Errorf("%s, %v", reply, err)
						return
					}
				}
			})
		}
	}
	work.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	for _, s := range all {
		_ = s.Close()
	}
}

// BenchmarkFanOut measures deliveries per second from one publisher to 64
// subscribers over TLS WebSocket.
func BenchmarkFanOut(b *testing.B) {
	const subscribers = 64
	n := newNode(b, hub.Limits{PublishRate: 1e9, RingBytes: 64 << 20, RingFrames: 1 << 18, SessionsPerIdentity: subscribers + 1})
	wss, _, roots := n.listen(b)
	ctx := context.Background()
	dial := func() (*client.Session, *client.Subscription) {
		s, err := client.Dial(ctx, client.SessionConfig{URL: wss, TLS: &tls.Config{RootCAs: roots}, KeyID: "main/ana", Key: n.directory.keys["main/ana"]})
		if err != nil {
			b.Fatal(err)
		}
		sub, err := s.Subscribe(ctx, "plaza")
		if err != nil {
			b.Fatal(err)
		}
		return s, sub
	}
	publisher, _ := dial()
	var work sync.WaitGroup
	for range subscribers {
		_, sub := dial()
		work.Go(func() {
			for got := 0; got < b.N; {
				e, err := sub.Next(ctx)
				if err != nil {
					b.Error(err)
					return
				}
				if e.Kind == client.Published {
					got++
				}
			}
		})
	}
	b.ResetTimer()
	data := make([]byte, 100)
	var publishing sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(b.N))
	for range 16 {
		publishing.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := publisher.Publish(ctx, tap.Publish{Room: "plaza", Class: tap.ClassEvent, Data: data}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	publishing.Wait()
	work.Wait()
	b.ReportMetric(float64(b.N*subscribers)/b.Elapsed().Seconds(), "deliveries/s")
}
