package client

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

// clientOf is a client of several nodes, asked in this order.
func clientOf(t *testing.T, change func(*Config), nodes ...*appliance) *Client {
	t.Helper()
	return nodes[0].client(t, func(c *Config) {
		c.Retries = 1
		for _, n := range nodes[1:] {
			c.Addresses = append(c.Addresses, n.URL)
		}
		if change != nil {
			change(c)
		}
	})
}

func serving(t *testing.T) *appliance {
	return newAppliance(t, func(_ int, w http.ResponseWriter) { ok(w) })
}

func refusing(t *testing.T, e *tap.Error) *appliance {
	return newAppliance(t, func(_ int, w http.ResponseWriter) { refuse(w, e) })
}

// hangUp ends the connection after what was written so far.
func hangUp(w http.ResponseWriter) {
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// ids lists the request ids that a node saw, and fails when a nonce came twice.
func ids(t *testing.T, nodes ...*appliance) (all []string) {
	t.Helper()
	var nonces []string
	for _, n := range nodes {
		n.mu.Lock()
		for _, r := range n.seen {
			s, err := tap.ParseSignature(r)
			if err != nil {
				t.Fatal(err)
			}
			if slices.Contains(nonces, s.Nonce) {
				t.Errorf("a nonce came twice, with %s %s", r.Method, r.Path)
			}
			nonces = append(nonces, s.Nonce)
			all = append(all, r.Header[tap.HeaderRequestID])
		}
		n.mu.Unlock()
	}
	return all
}

// A dead node costs one attempt; the next request goes straight to the one that
// works.
func TestDeadNodeIsPassedOver(t *testing.T) {
	dead, alive, spare := serving(t), serving(t), serving(t)
	dead.Close()
	c := clientOf(t, nil, dead, alive, spare)
	var dials atomic.Int32
	transport := c.http.Transport.(*http.Transport)
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		return dial(ctx, network, address)
	}
	for range 3 {
		if _, err := c.Do(t.Context(), "POST", "/v1/x", nil, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	if len(ids(t, alive)) != 3 || len(ids(t, spare)) != 0 || dials.Load() != 2 {
		t.Errorf("%d and %d requests, %d dials", len(alive.seen), len(spare.seen), dials.Load())
	}
	if _, err := clientOf(t, func(c *Config) { c.Retries = -1 }, dead, alive).DoRaw(t.Context(), &tap.Request{Method: "GET", Path: "/raw"}); err != nil {
		t.Errorf("a raw request: %v", err)
	}
}

// A node that dies in the middle of its answer leaves the outcome unknown: the
// other node gets the same id under a new signature.
func TestUnknownOutcomeKeepsItsID(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter){
		"before the status": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"in the body": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "99")
			io.WriteString(w, "half")
			hangUp(w)
		},
		"in the chunks": func(w http.ResponseWriter) { io.WriteString(w, "half"); hangUp(w) },
	} {
		first := newAppliance(t, func(_ int, w http.ResponseWriter) { answer(w) })
		second := serving(t)
		id := uuid.Must(uuid.NewV7())
		r := &tap.Request{ID: id, Method: "POST", Path: "/v1/x", Body: []byte("{}")}
		if _, err := clientOf(t, nil, first, second).Send(t.Context(), r); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := ids(t, first, second); len(got) != 2 || got[0] != id.String() || got[1] != got[0] {
			t.Errorf("%s: the nodes saw %v", name, got)
		}
		if len(r.Header) != 0 {
			t.Errorf("%s: the caller's request was changed", name)
		}
	}
}

// A client that may not send twice stops where the node may have the request.
func TestNoRetriesMeansOnce(t *testing.T) {
	first := newAppliance(t, func(int, http.ResponseWriter) { panic(http.ErrAbortHandler) })
	second := serving(t)
	c := clientOf(t, func(c *Config) { c.Retries = -1 }, first, second)
	_, err := c.Do(t.Context(), "POST", "/v1/x", nil, []byte("{}"))
	if e := tap.AsError(err); e == nil || e.Code != CodeUnreachable || len(ids(t, first)) != 1 || len(second.seen) != 0 {
		t.Errorf("%v; %d and %d requests", err, len(first.seen), len(second.seen))
	}
}

// Whoever sends a request without an id has it named once for all attempts; an
// id in the header is kept.
func TestRequestsAreNamed(t *testing.T) {
	first, second := refusing(t, tap.E("", tap.Unavailable, "stops").WithCode("stopped")), serving(t)
	c := clientOf(t, nil, first, second)
	if _, err := c.Send(t.Context(), &tap.Request{Method: "POST", Path: "/"}); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, first, second); len(got) != 2 || got[0] == "" || got[0] != got[1] {
		t.Errorf("the nodes saw %q", got)
	}
	r := &tap.Request{Method: "POST", Path: "/", Header: map[string]string{tap.HeaderRequestID: "mine"}}
	if _, err := c.Send(t.Context(), r); err != nil || ids(t, second)[1] != "mine" {
		t.Errorf("%v, %q", err, ids(t, second))
	}
}

// Nodes that cannot serve are left at once, whatever they ask to wait; a refusal
// that any node would give is final.
func TestWhatSendsElsewhere(t *testing.T) {
	for _, kind := range tap.Kinds() {
		first := newAppliance(t, func(_ int, w http.ResponseWriter) {
			w.Header().Set("Retry-After", "9")
			refuse(w, tap.E("", kind, "no").WithCode("why"))
		})
		second := serving(t)
		_, err := clientOf(t, nil, first, second).Do(t.Context(), "GET", "/v1/x", nil, nil)
		moves := kind == tap.Unavailable || kind == tap.Timeout
		if len(first.seen) != 1 || (len(second.seen) == 1) != moves || (err == nil) != moves {
			t.Errorf("%s: %d requests elsewhere, %v", kind, len(second.seen), err)
		}
		if e := tap.AsError(err); e != nil && (e.Kind != kind || e.Details["node"] != host(first) || e.Details["tried"] != 1) {
			t.Errorf("%s: %+v", kind, e)
		}
	}
}

func host(a *appliance) string { return strings.TrimPrefix(a.URL, "https://") }

// A request that takes too long is given to no more nodes than there are
// retries: it may be as much work for each.
func TestTimeoutsCountAsRetries(t *testing.T) {
	for retries, want := range map[int]int{-1: 1, 1: 2, 2: 3} {
		slow := func() *appliance { return refusing(t, tap.E("", tap.Timeout, "budget")) }
		a, b, c := slow(), slow(), slow()
		_, err := clientOf(t, func(c *Config) { c.Retries = retries }, a, b, c).Do(t.Context(), "GET", "/v1/x", nil, nil)
		if got := len(ids(t, a, b, c)); got != want || !tap.IsKind(err, tap.Timeout) {
			t.Errorf("%d retries: %d requests, %v", retries, got, err)
		}
	}
}

// A node that accepts and never answers costs its share of the time.
func TestBlackHoles(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // nobody accepts: the kernel does
	held := make(chan struct{})
	defer close(held)
	silent := newAppliance(t, func(int, http.ResponseWriter) { <-held })
	stuck := newAppliance(t, func(_ int, w http.ResponseWriter) {
		io.WriteString(w, "{")
		_ = http.NewResponseController(w).Flush()
		<-held
	})
	alive := serving(t)
	c := clientOf(t, func(c *Config) {
		c.Address, c.TryTimeout = "https://"+listener.Addr().String(), 200*time.Millisecond
	}, silent, stuck, alive)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := c.Do(ctx, "POST", "/v1/x", nil, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, silent, stuck, alive); len(got) < 3 || len(slices.Compact(got)) != 1 || len(alive.seen) == 0 {
		t.Errorf("the nodes saw %v", got)
	}
}

// The error of dead nodes names the last node and how many there were, and
// what a node answered is worth more than that others are gone.
func TestAllNodesDead(t *testing.T) {
	a, b := serving(t), serving(t)
	a.Close()
	b.Close()
	_, err := clientOf(t, nil, a, b).Do(t.Context(), "GET", "/v1/x", nil, nil)
	e := tap.AsError(err)
	if e == nil || e.Code != CodeUnreachable || e.Details["node"] != host(b) || e.Details["tried"] != 2 ||
		!strings.Contains(e.Message, "2 of 2 nodes") || !strings.Contains(e.Message, host(b)) {
		t.Errorf("%v, %v", err, e.Details)
	}
	full := newAppliance(t, func(_ int, w http.ResponseWriter) {
		w.Header().Set("Retry-After", "30")
		refuse(w, tap.E("", tap.Unavailable, "the disk is full").WithCode("disk_full"))
	})
	reply, err := clientOf(t, func(c *Config) { c.Retries = -1 }, a, full, b).Do(t.Context(), "GET", "/v1/x", nil, nil)
	if e := tap.AsError(err); reply == nil || e == nil || e.Code != "disk_full" || e.Details["node"] != host(full) {
		t.Errorf("%v, %+v", err, reply)
	}
}

// impostor is a server with a certificate of its own for the right name.
func impostor(t *testing.T) *appliance {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := serving(t)
	a.TLS.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	return a
}

// Nothing is ever sent to a server with the wrong certificate; the others are
// asked, and when there are none the error says what is wrong.
func TestWrongCertificateOnOneNode(t *testing.T) {
	dead, wrong, alive := serving(t), impostor(t), serving(t)
	dead.Close()
	for range 2 {
		if _, err := clientOf(t, nil, dead, wrong, alive).Do(t.Context(), "POST", "/v1/x", nil, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	_, err := clientOf(t, nil, wrong, dead).Do(t.Context(), "POST", "/v1/x", nil, []byte("{}"))
	if e := tap.AsError(err); e == nil || e.Code != CodeUnreachable {
		t.Errorf("wrong and dead: %v", err)
	}
	_, err = clientOf(t, func(c *Config) { c.Retries = 9 }, wrong, impostor(t)).Do(t.Context(), "POST", "/v1/x", nil, []byte("{}"))
	if e := tap.AsError(err); e == nil || e.Code != CodeCertificate || e.Details["tried"] != 2 {
		t.Errorf("all wrong: %v", err)
	}
	if len(wrong.seen) != 0 || len(alive.seen) != 2 {
		t.Errorf("%d requests at the impostor, %d elsewhere", len(wrong.seen), len(alive.seen))
	}
}

// A kept connection that breaks is no reason to leave the node, and net/http
// does not repeat the request under the used nonce.
func TestKeptConnectionsThatBroke(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "DELETE", "POST"} {
		for _, body := range []any{nil, []byte("{}")} {
			a := newAppliance(t, func(n int, w http.ResponseWriter) {
				if n == 1 {
					panic(http.ErrAbortHandler)
				}
				ok(w)
			})
			spare := serving(t)
			c := clientOf(t, nil, a, spare)
			for range 2 {
				if _, err := c.Do(t.Context(), method, "/v1/x", nil, body); err != nil {
					t.Fatalf("%s: %v", method, err)
				}
			}
			if got := ids(t, a, spare); len(got) != 3 || got[1] != got[2] || len(spare.seen) != 0 {
				t.Errorf("%s with %s: the node saw %v, the other %d", method, body, got, len(spare.seen))
			}
			if len(a.seen[2].Body) != len(a.seen[0].Body) || a.seen[0].Header["transfer-encoding"] != "" {
				t.Errorf("%s: body %q", method, a.seen[2].Body)
			}
		}
	}
}

// network is a client of three nodes a, b and c on a network that the test
// plays, in virtual time.
func network(t *testing.T, f func(host string, r *http.Request) (*http.Response, error)) *Client {
	t.Helper()
	c, err := New(Config{Addresses: []string{"https://a", "https://b", "https://c", "https://a"}, KeyID: "main/ana", Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	c.http.Transport = roundTrip(func(r *http.Request) (*http.Response, error) { return f(r.URL.Host, r) })
	return c
}

func replying(status int, body io.Reader) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(body)}
}

// A node that could not be reached comes last for a while, then it is one of
// them again.
func TestDeadNodesAreTriedAgainLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down, asked := map[string]bool{"a": true}, ""
		c := network(t, func(host string, _ *http.Request) (*http.Response, error) {
			if asked += host; down[host] {
				return nil, net.ErrClosed
			}
			return replying(200, strings.NewReader("{}")), nil
		})
		do := func(want string) {
			t.Helper()
			asked = ""
			if _, err := c.Do(t.Context(), "GET", "/", nil, nil); err != nil || asked != want {
				t.Errorf("asked %q, want %q; %v", asked, want, err)
			}
		}
		do("ab")
		do("b")
		down = map[string]bool{"b": true}
		do("bc") // a still rests
		<-time.After(nodeRest)
		down = map[string]bool{"c": true}
		do("ca")
		down = map[string]bool{"a": true, "b": true}
		<-time.After(nodeRest - time.Second)
		do("abc") // c rests, but is not given up
	})
}

// Without word from a node its share of the time is at most twelve seconds and
// at least three; a reply that goes on coming is waited for.
func TestSharesOfTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			deadline time.Duration // 0 = none
			body     int
			want     []time.Duration // when a, b and c are asked
			kind     tap.Kind
		}{
			{30 * time.Second, 0, []time.Duration{0, 10 * time.Second, 20 * time.Second}, tap.Timeout},
			{4 * time.Second, 0, []time.Duration{0, 3 * time.Second}, tap.Timeout},
			{60 * time.Second, 0, []time.Duration{0, 12 * time.Second, 24 * time.Second, 36 * time.Second, 44 * time.Second, 52 * time.Second}, tap.Timeout},
			{25 * time.Second, 8 * uploadRate, []time.Duration{0, 8*time.Second + 25*time.Second/3}, tap.Timeout},
		} {
			began := time.Now()
			var at []time.Duration
			client := network(t, func(_ string, r *http.Request) (*http.Response, error) {
				at = append(at, time.Since(began))
				<-r.Context().Done()
				return nil, r.Context().Err()
			})
			ctx, cancel := context.WithTimeout(t.Context(), c.deadline)
			_, err := client.Do(ctx, "POST", "/", nil, make([]byte, c.body))
			cancel()
			if !tap.IsKind(err, c.kind) || time.Since(began) > c.deadline || len(at) != len(c.want) {
				t.Errorf("%s: asked at %v, %v", c.deadline, at, err)
			}
			for i := range min(len(at), len(c.want)) {
				if late := at[i] - c.want[i]; late < 0 || late > time.Second {
					t.Errorf("%s: asked at %v, want %v", c.deadline, at, c.want)
				}
			}
		}
		c := network(t, func(string, *http.Request) (*http.Response, error) {
			r, w := io.Pipe()
			go func() {
				for range 10 {
					<-time.After(10 * time.Second)
					io.WriteString(w, "1")
				}
				w.Close()
			}()
			return replying(200, r), nil
		})
		if reply, err := c.Do(t.Context(), "GET", "/", nil, nil); err != nil || string(reply.Body) != "1111111111" {
			t.Errorf("a slow reply: %v", err)
		}
	})
}

func TestAddresses(t *testing.T) {
	many := make([]string, maxNodes+1)
	for i := range many {
		many[i] = fmt.Sprint("https://h:", i+1)
	}
	for _, addresses := range [][]string{nil, {""}, {"https://h", "http://i"}, many} {
		if _, err := New(Config{Addresses: addresses}); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%d addresses: %v", len(addresses), err)
		}
	}
	c, err := New(Config{Address: "https://b", Addresses: []string{"https://a", "https://b/", "https://c"}})
	if err != nil || len(c.nodes) != 3 || c.nodes[0].base.Host != "b" {
		t.Errorf("%v, %v", c, err)
	}
}

// A context file names all nodes.
func TestContextOfACluster(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.json")
	saved := &Context{Address: "https://a", Addresses: []string{"https://a", "https://b"}}
	if err := saved.Save(path); err != nil {
		t.Fatal(err)
	}
	loaded, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	config, err := loaded.Config()
	if err != nil || config.Address != "https://a" || !slices.Equal(config.Addresses, saved.Addresses) {
		t.Errorf("%+v, %v", config, err)
	}
	for _, text := range []string{`{"addresses":"https://a"}`, `{"addresses":[1]}`} {
		if _, err := Load(write(t, path, text)); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if raw, err := json.Marshal(&Context{Address: "https://a"}); err != nil || string(raw) != `{"address":"https://a"}` {
		t.Errorf("one node: %s, %v", raw, err)
	}
}
