package hub_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/hub"
)

func TestSessionsOfAnIdentityAreCapped(t *testing.T) {
	n := newNode(t, hub.Limits{SessionsPerIdentity: 2})
	first, served := n.rawDial(t, "ana")
	n.rawDial(t, "ana")
	refuse := func() {
		t.Helper()
		conn, served := n.pipe(t)
		r, proof := n.prove(t, conn, "ana")
		r.refused(proof, tap.Limited, "sessions")
		if err := <-served; !tap.IsKind(err, tap.Limited) {
			t.Errorf("the third session ended with %v", err)
		}
	}
	refuse()
	refuse() // a refused session takes no place and frees none
	if n.Sessions() != 2 || len(n.directory.failures()) > 0 {
		t.Errorf("%d sessions; recorded %v of who proved the key", n.Sessions(), n.directory.failures())
	}
	n.rawDial(t, "beto") // others are not concerned
	_ = first.conn.Close(tap.CloseNormal, "")
	<-served
	n.rawDial(t, "ana")
	refuse()
}

// hasty is a connection whose read deadline cannot be lifted.
type hasty struct{ tap.Conn }

func (c hasty) SetReadDeadline(at time.Time) error {
	if at.IsZero() {
		return errors.New("no deadlines here")
	}
	return c.Conn.SetReadDeadline(at)
}

// Whatever becomes of a connection, Closed is called once for each principal
// that Established returned, and for no other.
func TestEveryPrincipalIsClosedOnce(t *testing.T) {
	hangUp := func(r *raw) { _ = r.conn.Close(tap.CloseNormal, "") }
	for name, end := range map[string]func(n *node, r *raw){
		"the client leaves": func(_ *node, r *raw) {
			r.expect(tap.TypeReady, nil)
			hangUp(r)
		},
		"the client leaves its rooms behind": func(_ *node, r *raw) {
			r.expect(tap.TypeReady, nil)
			r.enter(tap.Subscribe{Room: "plaza"})
			hangUp(r)
		},
		"before ready": func(_ *node, r *raw) { hangUp(r) },
		"a false frame": func(_ *node, r *raw) {
			r.expect(tap.TypeReady, nil)
			r.refused(r.plain(tap.TypeUnsubscribe, &tap.Unsubscribe{Room: "plaza"}), tap.Unauthenticated, "bad_tag")
		},
		"revoked": func(n *node, r *raw) {
			r.expect(tap.TypeReady, nil)
			n.directory.revoke("ana")
			r.refused(r.send(tap.TypePing, nil), tap.Unauthenticated, "revoked")
		},
		"shutdown": func(n *node, r *raw) {
			r.expect(tap.TypeReady, nil)
			if err := n.Shutdown(r.t.Context()); err != nil {
				r.t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, hub.Limits{})
			conn, served := n.pipe(t)
			r, _ := n.prove(t, conn, "ana")
			end(n, r)
			<-served
			closedOnce(t, n, 1)
		})
	}
	t.Run("shutdown during the handshake", func(t *testing.T) {
		n := newNode(t, hub.Limits{})
		over, cancel := context.WithCancel(t.Context())
		cancel()
		n.directory.proven = func() { _ = n.Shutdown(over) } // returns at once
		conn, served := n.pipe(t)
		r, proof := n.prove(t, conn, "ana")
		r.refused(proof, tap.Unavailable, "stopping")
		<-served
		closedOnce(t, n, 1)
	})
	t.Run("one session too many", func(t *testing.T) {
		n := newNode(t, hub.Limits{SessionsPerIdentity: 1})
		first, firstServed := n.rawDial(t, "ana")
		conn, served := n.pipe(t)
		r, proof := n.prove(t, conn, "ana")
		r.refused(proof, tap.Limited, "sessions")
		<-served
		hangUp(first)
		<-firstServed
		closedOnce(t, n, 2)
	})
	t.Run("a deadline that stays", func(t *testing.T) {
		n := newNode(t, hub.Limits{})
		near, far := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- n.ServeConn(t.Context(), hasty{pipeConn(far)}) }()
		r, _ := n.prove(t, pipeConn(near), "ana")
		r.expect(tap.TypeReady, nil)
		r.expect(tap.TypeError, nil)
		<-served
		closedOnce(t, n, 1)
	})
	t.Run("a refusal", func(t *testing.T) {
		n := newNode(t, hub.Limits{})
		n.directory.revoke("caro")
		conn, served := n.pipe(t)
		r, proof := n.prove(t, conn, "caro")
		r.refused(proof, tap.Unauthenticated, "revoked")
		<-served
		closedOnce(t, n, 0)
	})
}

// closedOnce checks that as many sessions began, and that each was closed once.
func closedOnce(t *testing.T, n *node, entered int) {
	t.Helper()
	d := n.directory
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.entered) != entered || len(d.left) != entered || n.Sessions() != 0 {
		t.Errorf("%d principals were established and %d closed, want %d; %d sessions remain", len(d.entered), len(d.left), entered, n.Sessions())
	}
	for i, p := range d.left {
		if !slices.Contains(d.entered, p) || slices.Contains(d.left[:i], p) {
			t.Error("a principal was closed twice, or never established")
		}
	}
}
