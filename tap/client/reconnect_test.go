package client_test

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
	"tamv.internal/tamv/tap/hub"
)

// Feature: tamv-hardened-backend, Property 10: WebSocket Reconnection with Exponential Backoff
//
// For any number of failures in a row and any randomness, the pause after the
// k-th is within [d/2, d], d = 1, 2, 4, ... capped at 30 seconds, and the upper
// bound is reached without jitter.
func TestPropertyReconnectionBacksOff(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		failures := rapid.IntRange(1, 12).Draw(rt, "failures")
		draws := rapid.SliceOfN(rapid.Float64Range(0, 0.999999), failures, failures).Draw(rt, "draws")
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, hub.Limits{})
			var dials []time.Time
			var drawn int
			r := client.NewReconnector(client.ReconnectConfig{
				Backoff: client.Backoff{Rand: func() float64 { drawn++; return draws[drawn-1] }},
				Dial: func(ctx context.Context, c client.SessionConfig) (*client.Session, error) {
					dials = append(dials, time.Now())
					if len(dials) <= failures {
						return nil, tap.E("test", tap.Unavailable, "nobody home")
					}
					session, _, err := s.pipe(ctx, c)
					return session, err
				},
			})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- r.Run(ctx) }()
			if _, err := r.Session(ctx); err != nil {
				t.Fatal(err)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			for k := range failures {
				d := min(30*time.Second, time.Second<<k)
				pause := dials[k+1].Sub(dials[k])
				if pause < d/2 || pause > d {
					t.Errorf("pause %d was %s, not within [%s, %s]", k, pause, d/2, d)
				}
			}
			if _, err := r.Session(t.Context()); !tap.IsKind(err, tap.Unavailable) {
				t.Errorf("after the end: %v", err)
			}
		})
	})
}

func TestBackoffBounds(t *testing.T) {
	low := client.Backoff{Rand: func() float64 { return 0 }}
	high := client.Backoff{Rand: func() float64 { return 1 }}
	for k, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30, 30} {
		if got := high.Delay(k); got != want*time.Second {
			t.Errorf("longest pause after %d failures is %s, want %s", k, got, want*time.Second)
		}
		if got := low.Delay(k); got != want*time.Second/2 {
			t.Errorf("shortest pause after %d failures is %s, want %s", k, got, want*time.Second/2)
		}
	}
	if got := (client.Backoff{First: time.Hour}).Delay(1000); got > 30*time.Second {
		t.Errorf("after 1000 failures: %s", got)
	}
}

// A cut connection is replaced; the room's stream goes on without a loss and
// evidence that was not answered is repeated with its id.
func TestReconnectorResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, hub.Limits{})
		cuts := make(chan func(), 10)
		r := client.NewReconnector(client.ReconnectConfig{
			Dial: func(ctx context.Context, c client.SessionConfig) (*client.Session, error) {
				session, cut, err := s.pipe(ctx, c)
				cuts <- cut
				return session, err
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		sub, err := r.Subscribe(ctx, "plaza")
		if err != nil {
			t.Fatal(err)
		}
		if e, err := sub.Next(ctx); err != nil || e.Kind != client.Snapshot {
			t.Fatalf("%+v, %v", e, err)
		}
		other, _ := s.dial(t, client.SessionConfig{})
		if _, err := other.Subscribe(ctx, "plaza"); err != nil {
			t.Fatal(err)
		}
		say := func(text string) {
			if _, err := other.Publish(ctx, tap.Publish{Room: "plaza", Class: tap.ClassEvent, Data: []byte(text)}); err != nil {
				t.Fatal(err)
			}
		}
		heard := func(want string) {
			t.Helper()
			if e, err := sub.Next(ctx); err != nil || e.Kind != client.Published || string(e.Data) != want {
				t.Fatalf("heard %s %s, %v; want %s", e.Kind, e.Data, err, want)
			}
		}
		for round := range 3 {
			say(fmt.Sprint("before ", round))
			heard(fmt.Sprint("before ", round))
			(<-cuts)()
			synctest.Wait()
			say(fmt.Sprint("meanwhile ", round))
			heard(fmt.Sprint("meanwhile ", round))
		}

		s.mu.Lock()
		s.hold, s.served = make(chan struct{}), nil
		s.mu.Unlock()
		answered := make(chan error, 1)
		go func() {
			_, err := r.Evidence(ctx, []byte(`{}`))
			answered <- err
		}()
		synctest.Wait()
		(<-cuts)()
		close(s.hold)
		if err := <-answered; err != nil {
			t.Error(err)
		}
		if len(s.served) != 2 || s.served[0] != s.served[1] {
			t.Errorf("evidence came as %v", s.served)
		}
		if err := other.Close(); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if _, err := sub.Next(t.Context()); !tap.IsKind(err, tap.Unavailable) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// Evidence is repeated under its id when the node said to come back, and no longer
// than the caller waits.
func TestReconnectorComesBackWhenToldBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, hub.Limits{})
		r := client.NewReconnector(client.ReconnectConfig{
			Dial: func(ctx context.Context, c client.SessionConfig) (*client.Session, error) {
				session, _, err := s.pipe(ctx, c)
				return session, err
			},
		})
		running, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(running) }()
		if _, err := r.Session(t.Context()); err != nil {
			t.Fatal(err)
		}
		refuse := func(times int) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.busy, s.served = times, nil
		}
		refuse(2)
		began := time.Now()
		if _, err := r.Evidence(t.Context(), []byte(`{}`)); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 80*time.Millisecond {
			t.Errorf("told twice to come back in 40 ms it took %v", took)
		}
		if len(s.served) != 3 || s.served[0] != s.served[1] || s.served[1] != s.served[2] {
			t.Errorf("evidence came as %v", s.served)
		}
		refuse(1000)
		ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer stop()
		_, err := r.Evidence(ctx, []byte(`{}`))
		if e := tap.AsError(err); e == nil || e.Kind != tap.Limited || e.Code != "busy" || len(s.served) != 3 {
			t.Errorf("got %v after %d attempts", err, len(s.served))
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A refusal that no retry can change ends the attempts.
func TestReconnectorGivesUpOnARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, hub.Limits{})
		var cut func()
		var changes []error
		r := client.NewReconnector(client.ReconnectConfig{
			Dial: func(ctx context.Context, c client.SessionConfig) (session *client.Session, err error) {
				session, cut, err = s.pipe(ctx, c)
				return session, err
			},
			Changed: func(err error) { changes = append(changes, err) },
		})
		ended := make(chan error, 1)
		go func() { ended <- r.Run(t.Context()) }()
		if _, err := r.Session(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Subscribe(t.Context(), "nowhere"); !tap.IsKind(err, tap.NotFound) {
			t.Errorf("an unknown room: %v", err)
		}
		s.mu.Lock()
		s.revoked = true
		s.mu.Unlock()
		cut()
		err := <-ended
		if e := tap.AsError(err); e == nil || e.Kind != tap.Unauthenticated || e.Code != "revoked" {
			t.Errorf("ended with %v", err)
		}
		if len(changes) != 3 || changes[0] != nil || !tap.IsKind(changes[1], tap.Unavailable) || !tap.IsKind(changes[2], tap.Unauthenticated) {
			t.Errorf("changes %v", changes)
		}
		if _, err := r.Evidence(t.Context(), []byte(`{}`)); !tap.IsKind(err, tap.Unauthenticated) {
			t.Errorf("after the end: %v", err)
		}
		if _, err := r.Subscribe(t.Context(), "plaza"); !tap.IsKind(err, tap.Unauthenticated) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// A subscription that was closed is not taken along.
func TestClosedSubscriptionsStayClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, hub.Limits{})
		var cut func()
		r := client.NewReconnector(client.ReconnectConfig{
			Dial: func(ctx context.Context, c client.SessionConfig) (session *client.Session, err error) {
				session, cut, err = s.pipe(ctx, c)
				return session, err
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		sub, err := r.Subscribe(ctx, "plaza")
		if err != nil {
			t.Fatal(err)
		}
		if err := sub.Close(ctx); err != nil {
			t.Fatal(err)
		}
		cut()
		synctest.Wait()
		again, err := r.Session(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_, err = again.Publish(ctx, tap.Publish{Room: "plaza", Class: tap.ClassEvent})
		if e := tap.AsError(err); e == nil || e.Code != "not_subscribed" {
			t.Errorf("got %v", err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// fleet is nodes by their address. A node that is down refuses; a silent one
// stops saying anything.
type fleet struct {
	*testing.T
	sites map[string]*site
	down  map[string]error
	dials []string
	cut   func()
}

func newFleet(t *testing.T, names ...string) *fleet {
	f := &fleet{T: t, sites: map[string]*site{}, down: map[string]error{}}
	for i, name := range names {
		f.sites[name] = newSiteAt(t, hub.Limits{}, uint64(i+1))
	}
	return f
}

func (f *fleet) dial(ctx context.Context, c client.SessionConfig) (s *client.Session, err error) {
	f.dials = append(f.dials, c.URL)
	if err := f.down[c.URL]; err != nil {
		return nil, err
	}
	s, f.cut, err = f.sites[c.URL].pipe(ctx, c)
	return s, err
}

// run starts a Reconnector over the addresses; the function ends it.
func (f *fleet) run(urls ...string) (*client.Reconnector, func() error) {
	r := client.NewReconnector(client.ReconnectConfig{
		Session: client.SessionConfig{URL: urls[0]}, URLs: urls, Dial: f.dial,
		Backoff: client.Backoff{Rand: func() float64 { return 1 }},
	})
	ctx, cancel := context.WithCancel(f.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	return r, func() error { cancel(); return <-ended }
}

var errDown = tap.E("test", tap.Unavailable, "down").WithCode(client.CodeUnreachable).WithRetryAfter(time.Hour)

// A session whose node dies goes on with the next: the room is entered there,
// with its snapshot, and evidence without an answer is repeated under its id.
func TestReconnectorMovesToTheNextNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "a", "b", "c")
		r, end := f.run("a", "b", "c")
		sub, err := r.Subscribe(t.Context(), "plaza")
		if err != nil {
			t.Fatal(err)
		}
		snapshot := func() {
			t.Helper()
			if e, err := sub.Next(t.Context()); err != nil || e.Kind != client.Snapshot {
				t.Fatalf("%+v, %v", e, err)
			}
		}
		snapshot()
		a, c := f.sites["a"], f.sites["c"]
		a.mu.Lock()
		a.hold = make(chan struct{})
		a.mu.Unlock()
		answered := make(chan error, 1)
		go func() {
			_, err := r.Evidence(t.Context(), []byte(`{}`))
			answered <- err
		}()
		synctest.Wait()
		f.down["a"], f.down["b"] = errDown, errDown
		began := time.Now()
		f.cut()
		close(a.hold)
		if err := <-answered; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); fmt.Sprint(f.dials) != "[a b c]" || took > time.Second {
			t.Errorf("dialled %v in %s", f.dials, took)
		}
		if len(a.served) != 1 || len(c.served) != 1 || a.served[0] != c.served[0] {
			t.Errorf("evidence came as %v and %v", a.served, c.served)
		}
		snapshot()
		if err := end(); err != nil {
			t.Error(err)
		}
	})
}

// The pauses of a round over n addresses add up to one pause of a single one.
func TestReconnectorPausesByTheRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "a", "b")
		f.down["a"], f.down["b"] = errDown, errDown
		_, end := f.run("a", "b", "a", "")
		for _, seconds := range []time.Duration{1, 2, 4} {
			<-time.After(seconds * time.Second)
		}
		synctest.Wait()
		if err := end(); err != nil || fmt.Sprint(f.dials) != "[a b a b a b a]" {
			t.Errorf("dialled %v, %v", f.dials, err)
		}
	})
}

// A node that says nothing, as after a power cut, is left after the silence.
func TestReconnectorLeavesASilentNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "b")
		var near net.Conn
		r := client.NewReconnector(client.ReconnectConfig{
			Session: client.SessionConfig{URL: "a"}, URLs: []string{"b"},
			Dial: func(ctx context.Context, c client.SessionConfig) (*client.Session, error) {
				if c.URL == "b" {
					return f.dial(ctx, c)
				}
				f.dials = append(f.dials, "a")
				var far net.Conn
				near, far = net.Pipe()
				mute := &muteConn{Conn: far}
				s := f.sites["b"]
				go func() { _ = s.hub.ServeConn(context.Background(), pipeConn(mute)) }()
				c.KeyID, c.Key = "main/ana", anaKey
				session, err := client.NewSession(ctx, pipeConn(near), c)
				mute.silent.Store(true)
				return session, err
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		first, err := r.Session(ctx)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		<-first.Done()
		if took := time.Since(began); took < 5*time.Second || took > 20*time.Second || !tap.IsKind(first.Err(), tap.Unavailable) {
			t.Errorf("left after %s: %v", took, first.Err())
		}
		second, err := r.Session(ctx)
		if err != nil || second == first || fmt.Sprint(f.dials) != "[a b]" {
			t.Errorf("dialled %v, %v", f.dials, err)
		}
		<-time.After(time.Minute) // an idle node that answers pings is kept
		if second.Err() != nil {
			t.Errorf("an idle session: %v", second.Err())
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// muteConn swallows what its owner says once it is silent.
type muteConn struct {
	net.Conn
	silent atomic.Bool
}

func (c *muteConn) Write(p []byte) (int, error) {
	if c.silent.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// A wrong server at one address is passed over; at all of them it is the end.
func TestReconnectorAmongImpostors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wrong := tap.E("test", tap.Unauthenticated, "wrong").WithCode(client.CodeCertificate)
		f := newFleet(t, "b")
		f.down["a"] = wrong
		r, end := f.run("a", "b")
		if _, err := r.Session(t.Context()); err != nil {
			t.Error(err)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
		f.down["b"] = wrong
		r, end = f.run("a", "b")
		if _, err := r.Session(t.Context()); tap.AsError(err).Code != client.CodeCertificate {
			t.Errorf("all wrong: %v", err)
		}
		if err := end(); tap.AsError(err).Code != client.CodeCertificate {
			t.Errorf("ended with %v", err)
		}
		if _, err := client.Dial(t.Context(), client.SessionConfig{}); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("no address: %v", err)
		}
	})
}
