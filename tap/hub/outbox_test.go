package hub

import (
	"bytes"
	"context"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

// everyone is an Authenticator to whom every identity stands.
type everyone struct{ Authenticator }

func (everyone) Active(*tap.Principal) bool { return true }

// tape is a connection that keeps what was written to it.
type tape struct {
	tap.Conn
	written []byte
}

func (c *tape) WriteFrames(frames ...[]byte) error {
	c.written = append(c.written, bytes.Join(frames, nil)...)
	return nil
}

// The writer has collected a room's frame when its session leaves the room: the
// frame must not follow the ack.
func TestNothingFollowsTheAckOfAnUnsubscribe(t *testing.T) {
	h := New(Config{Authenticator: everyone{}, Now: time.Now})
	defer func() {
		if err := h.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	conn := &tape{}
	s := newSession(h, conn, &tap.Principal{Tenant: "main", Identity: "ana"}, "main/ana", nil)
	s.out.writing = true // by this test, until all rooms have moved on
	rooms := map[string]*subscription{}
	for _, name := range []string{"plaza", "patio", "jardin"} {
		sub, err := s.register(name)
		if err != nil {
			t.Fatal(err)
		}
		rooms[name] = sub
		r := sub.room
		r.mu.Lock()
		sub.live = true
		r.append(uuid.New(), entry{}, &tap.Event{Class: tap.ClassEvent, Data: []byte("said in " + name)})
		r.mu.Unlock()
	}
	last := rooms["jardin"].room
	last.mu.Lock() // the writer stops here
	s.jobs.Add(1)
	go s.write()
	collected := func(sub *subscription) bool {
		sub.room.mu.Lock()
		defer sub.room.mu.Unlock()
		return sub.cursor == sub.room.next-1
	}
	for !collected(rooms["plaza"]) || !collected(rooms["patio"]) {
		runtime.Gosched()
	}
	s.drop(rooms["plaza"])
	s.ack(uuid.New(), &tap.Ack{Room: "plaza"})
	last.mu.Unlock()
	s.jobs.Wait()

	var got []string
	for rest := conn.written; len(rest) > 0; {
		var frame []byte
		var err error
		if frame, rest, err = tap.CutFrame(rest, tap.DefaultFrameLimit); err != nil {
			t.Fatal(err)
		}
		e, err := tap.DecodeEnvelope(frame)
		if err != nil {
			t.Fatal(err)
		}
		what := e.Type
		if e.Type == tap.TypeXREvent {
			var p tap.Event
			if err := tap.DecodePayload(e.Payload, &p); err != nil {
				t.Fatal(err)
			}
			what = string(p.Data)
		}
		got = append(got, what)
	}
	if want := []string{tap.TypeAck, "said in patio", "said in jardin"}; !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
}
