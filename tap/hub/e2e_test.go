package hub_test

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
	"tamv.internal/tamv/tap/hub"
)

func newEphemeral(t testing.TB) *ecdh.PrivateKey {
	t.Helper()
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Two subscribers, one over WebSocket and one over QUIC, publish at once and
// see the same frames in the same order.
func TestSubscribersOfBothTransportsSeeTheSameOrder(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("serve", func(t *testing.T) {
		n := newNode(t, hub.Limits{})
		wss, quicURL, roots := n.listen(t)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		const each = 200
		names, urls := []string{"ana", "beto"}, []string{wss, quicURL}
		seen := make([][]string, 2)
		var all sync.WaitGroup
		var subscribed sync.WaitGroup
		subscribed.Add(2)
		for i := range names {
			all.Go(func() {
				s, err := client.Dial(ctx, client.SessionConfig{
					URL: urls[i], TLS: &tls.Config{RootCAs: roots}, KeyID: "main/" + names[i], Key: n.directory.keys["main/"+names[i]],
				})
				if err != nil {
					t.Error(err)
					subscribed.Done()
					return
				}
				sub, err := s.Subscribe(ctx, "plaza")
				subscribed.Done()
				if err != nil {
					t.Error(err)
					return
				}
				subscribed.Wait()
				var publishing sync.WaitGroup
				publishing.Go(func() {
					for k := range each {
						class := []string{tap.ClassEvent, tap.ClassDurable}[k%2]
						if _, err := s.Publish(ctx, tap.Publish{Room: "plaza", Class: class, Data: fmt.Appendf(nil, `[%d,%d]`, i, k)}); err != nil {
							t.Error(err)
						}
					}
				})
				var last uint64
				for len(seen[i]) < 2*each {
					e, err := sub.Next(ctx)
					if err != nil {
						t.Error(err)
						break
					}
					if e.Kind == client.Published {
						if e.Sequence <= last {
							t.Errorf("%s: sequence %d after %d", names[i], e.Sequence, last)
						}
						last = e.Sequence
						seen[i] = append(seen[i], fmt.Sprintf("%d %d %s %s %s", e.Sequence, e.Durable, e.Class, e.From, e.Data))
					}
				}
				publishing.Wait()
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for k := range seen[0] {
			if k >= len(seen[1]) || seen[0][k] != seen[1][k] {
				t.Fatalf("frame %d: WebSocket saw %q, QUIC %q", k, seen[0][k], seen[1][min(k, len(seen[1])-1)])
			}
		}
	})
	expectGoroutines(t, before)
}

// expectGoroutines waits until no more goroutines run than before.
func expectGoroutines(t *testing.T, before int) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		runtime.Gosched()
	}
}
