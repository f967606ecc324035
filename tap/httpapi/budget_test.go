package httpapi

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
)

func TestBudget(t *testing.T) {
	const unit = 1 << 20
	ana, ben := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	b := newBudget(5*unit, 3*unit)
	for i, c := range []struct {
		peer netip.Addr
		n    int64
		want bool
	}{
		{ana, 3*unit + 1, false}, // more than its share
		{ana, 2 * unit, true},
		{ana, unit + 1, false},
		{ana, unit, true},
		{ana, 1, false}, // nothing left of its share
		{ben, 2*unit + 1, false},
		{ben, 2 * unit, true},
		{ben, 1, false}, // nothing left of the whole
	} {
		if got := b.take(c.peer, c.n); got != c.want {
			t.Errorf("step %d: %t", i, got)
		}
	}
	b.give(ana, unit)
	if !b.take(ben, unit) || b.take(ana, 1) {
		t.Error("what one gives back another may take, once")
	}
	b.give(ana, 2*unit)
	b.give(ben, unit)
	b.give(ben, 2*unit)
	if b.used != 0 || len(b.networks) != 0 {
		t.Errorf("%d bytes of %d networks are kept", b.used, len(b.networks))
	}
}

func TestSmallBodiesAreChargedTheLeast(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.1")
	b := newBudget(10*minCharge, 10*minCharge)
	for range 10 {
		if !b.take(peer, 1) {
			t.Fatal("too little is left")
		}
	}
	if b.take(peer, 1) {
		t.Error("small bodies are free")
	}
	for range 10 {
		b.give(peer, 1)
	}
	if b.used != 0 {
		t.Errorf("%d bytes are kept", b.used)
	}
}

func TestNetwork(t *testing.T) {
	for _, c := range []struct {
		a, b string
		one  bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true},
		{"2001:db8:0:1::1", "2001:db8:0:2::1", false},
		{"::1", "127.0.0.1", false},
	} {
		if one := network(netip.MustParseAddr(c.a)) == network(netip.MustParseAddr(c.b)); one != c.one {
			t.Errorf("%s and %s are one network: %t", c.a, c.b, one)
		}
	}
	if network(netip.Addr{}) != (netip.Addr{}) {
		t.Error("peers without an address are not one network")
	}
}

// Whatever is taken and given, nobody holds more than allowed and nothing is
// left at the end.
func TestBudgetIsKept(t *testing.T) {
	type charge struct {
		peer netip.Addr
		n    int64
	}
	rapid.Check(t, func(t *rapid.T) {
		b := newBudget(100_000, 40_000)
		var held []charge
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			if len(held) > 0 && rapid.Bool().Draw(t, "give") {
				i := rapid.IntRange(0, len(held)-1).Draw(t, "which")
				b.give(held[i].peer, held[i].n)
				held = append(held[:i], held[i+1:]...)
			} else {
				c := charge{netip.AddrFrom4([4]byte{192, 0, 2, rapid.Byte().Draw(t, "peer") % 4}), rapid.Int64Range(1, 50_000).Draw(t, "n")}
				if b.take(c.peer, c.n) {
					held = append(held, c)
				}
			}
			sum, each := int64(0), map[netip.Addr]int64{}
			for _, c := range held {
				sum += max(c.n, minCharge)
				each[c.peer] += max(c.n, minCharge)
				if each[c.peer] > 40_000 {
					t.Fatalf("%s holds %d", c.peer, each[c.peer])
				}
			}
			if sum != b.used || sum > 100_000 || len(each) != len(b.networks) {
				t.Fatalf("%d bytes of %d networks are held, the budget says %d of %d", sum, len(each), b.used, len(b.networks))
			}
		}
		for _, c := range held {
			b.give(c.peer, c.n)
		}
		if b.used != 0 || len(b.networks) != 0 {
			t.Fatalf("%d bytes of %d networks are kept", b.used, len(b.networks))
		}
	})
}

// However a request with a body ends, the budget has its bytes again.
func TestEveryEndGivesBack(t *testing.T) {
	panics := tap.HandlerFunc(func(context.Context, *tap.Request) (*tap.Response, error) { panic("x") })
	for name, c := range map[string]struct {
		next  tap.Handler
		spoil func(*http.Request)
		want  int
	}{
		"served":    {&recorded{}, func(*http.Request) {}, 200},
		"refused":   {&recorded{err: tap.E("", tap.Forbidden, "no")}, func(*http.Request) {}, 403},
		"panicked":  {panics, func(*http.Request) {}, 500},
		"truncated": {&recorded{}, func(r *http.Request) { r.ContentLength = 99 }, 400},
		"too large": {&recorded{}, func(r *http.Request) { r.ContentLength = 1 << 30 }, 400},
		"no budget": {&recorded{}, func(r *http.Request) { r.ContentLength = 64 << 10 }, 503},
	} {
		h := newHandler(c.next, Options{BodyBudget: 32 << 10, BodyBudgetPerPeer: 32 << 10})
		r := jsonRequest("POST", "/", `{"x":1}`)
		c.spoil(r)
		if got := do(h, r).Code; got != c.want {
			t.Errorf("%s: %d", name, got)
		}
		if b := h.(*handler).bodies; b.used != 0 || len(b.networks) != 0 {
			t.Errorf("%s: %d bytes of %d networks are kept", name, b.used, len(b.networks))
		}
	}
}

// stalling is a body that sends all but its last byte and then waits.
type stalling struct {
	left int
	last <-chan struct{} // closed when the last byte may go
}

func (s *stalling) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	if s.left == 1 {
		<-s.last
	}
	n := copy(p, strings.Repeat("x", min(len(p), max(1, s.left-1))))
	s.left -= n
	return n, nil
}

// An attack that needs no key: many HTTP/2 streams that announce large bodies,
// send all but the last byte and wait. It gets its share of the budget, and no
// more; all others are served.
func TestStalledStreamsHoldOnlyTheirShare(t *testing.T) {
	const streams, size, share = 120, 32 << 10, 4
	next := tap.HandlerFunc(func(_ context.Context, r *tap.Request) (*tap.Response, error) {
		if _, err := tap.ParseSignature(r); err != nil {
			return nil, err
		}
		return &tap.Response{}, nil
	})
	h := newHandler(next, Options{
		BodyBudget: 2*share*size - 1, BodyBudgetPerPeer: share * size, BodyTimeout: time.Minute,
		Limit: func(_, _ string, signed bool) int64 {
			if signed {
				return defaultLimit
			}
			return 0
		},
	})
	ts := httptest.NewUnstartedServer(nil)
	ts.Config = NewServer(h, nil)
	ts.EnableHTTP2 = true
	ts.StartTLS()
	defer ts.Close()

	last, answers := make(chan struct{}), make(chan *http.Response, streams)
	send := func(signed bool) {
		r, err := http.NewRequest("POST", ts.URL, &stalling{size, last})
		if err != nil {
			t.Error(err)
			return
		}
		r.ContentLength = size
		r.Header.Set("Content-Type", "application/json")
		if signed {
			r.Header.Set("Signature", "forged")
			r.Header.Set("Signature-Input", "forged")
		}
		response, err := ts.Client().Do(r)
		if err != nil {
			t.Error(err)
			return
		}
		answers <- response
		response.Body.Close() // waits for the request's body
	}
	for range streams {
		go send(true)
	}
	for range streams - share {
		if got := <-answers; got.StatusCode != 503 || got.Header.Get("Retry-After") == "" || got.ProtoMajor != 2 {
			t.Errorf("%d over %s, Retry-After %q", got.StatusCode, got.Proto, got.Header.Get("Retry-After"))
		}
	}
	bodies := h.(*handler).bodies
	bodies.mu.Lock()
	if bodies.used != share*size {
		t.Errorf("%d bytes are held, want %d", bodies.used, share*size)
	}
	bodies.mu.Unlock()

	go send(false)
	if got := <-answers; got.StatusCode != 401 {
		t.Errorf("unsigned, while the budget is gone: %d", got.StatusCode)
	}
	// httptest's requests come from 192.0.2.1.
	signed := func(n int) *http.Request {
		r := jsonRequest("POST", "/", strings.Repeat("x", n))
		r.Header.Set("Signature", "forged")
		r.Header.Set("Signature-Input", "forged")
		return r
	}
	if e := refusal(t, do(h, signed(size))); e.Code != tap.CodeMalformedSignature {
		t.Errorf("another address: %v", e)
	}
	if e := refusal(t, do(h, signed(share*size))); e.Kind != tap.Unavailable || e.Code != "overload" {
		t.Errorf("more than is left of the whole: %v", e)
	}

	close(last)
	for range share {
		if got := <-answers; got.StatusCode != 401 {
			t.Errorf("a stream that held its share: %d", got.StatusCode)
		}
	}
	if bodies.used != 0 {
		t.Errorf("%d bytes are kept", bodies.used)
	}
}
