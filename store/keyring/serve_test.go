package keyring

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// raw opens a connection to a member that serves, to say anything on it.
func (s *site) raw(name string) (net.Conn, <-chan struct{}) {
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		s.nodes[name].Serve(far)
		close(done)
	}()
	return near, done
}

func TestServingStrangeRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1")
		for name, request := range map[string]frame{
			"unknown": {9, nil}, "an answer": {frameSecrets, []byte{0, 0}}, "digest with a body": {frameDigest, []byte{1}},
			"list without an id": {frameList, nil}, "get without a count": {frameGet, []byte{0}}, "get cut": {frameGet, []byte{0, 1, 2}},
			"get of too many": {frameGet, appendIDs(nil, make([]ID, maxGet+1))}, "put of nothing": {framePut, []byte{0, 1}},
			"put of no secret": {framePut, []byte{0, 1, 0, 3, 1, 2, 3}}, "put with a rest": {framePut, append(appendSecrets(nil, []Secret{subjectKey("ana", 0, 1)}), 0)},
			"put of a bad name": {framePut, appendSecrets(nil, []Secret{{Kind: SubjectKey, Tenant: "MAIN", Subject: "ana", Value: make([]byte, 32)}})},
		} {
			conn, done := s.raw("n1")
			must(t, writeFrame(conn, request.kind, request.body))
			if kind, _, err := readFrame(conn); err != nil || kind != frameRefused {
				t.Errorf("%s: answered with %d, %v", name, kind, err)
			}
			<-done
		}
		if count, _ := s.nodes["n1"].ring.Digest(); count != 0 {
			t.Error("something was stored")
		}
		for _, header := range [][]byte{{0, 0, 0, 0, 1}, {0, 1, 0, 1, 1}, {255, 255, 255, 255, 1}} {
			conn, done := s.raw("n1")
			_, err := conn.Write(header)
			must(t, err)
			<-done
		}
		// Who says nothing is let go, and so is who says half.
		for _, half := range [][]byte{nil, {0, 0, 0, 17, frameList, 1}} {
			conn, done := s.raw("n1")
			began := time.Now()
			if len(half) > 0 {
				_, err := conn.Write(half)
				must(t, err)
			}
			<-done
			if took := time.Since(began); took != idleTimeout {
				t.Errorf("let go after %v", took)
			}
		}
	})
}

func TestOnlySoManyAreServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1")
		for range maxServed {
			conn, _ := s.raw("n1")
			defer conn.Close()
		}
		synctest.Wait()
		_, done := s.raw("n1")
		<-done
	})
}

func FuzzServe(f *testing.F) {
	s := newSite(f, "n1")
	key := subjectKey("ana", 0, 1)
	must(f, s.nodes["n1"].ring.Put(key))
	id := key.ID()
	f.Add(framePut, appendSecrets(nil, []Secret{key}))
	f.Add(frameGet, appendIDs(nil, []ID{id}))
	f.Add(frameList, id[:])
	f.Add(frameDigest, []byte{})
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		if kind == framePut {
			secrets, err := parseSecrets(body)
			if err != nil {
				return
			}
			if again := appendSecrets(nil, secrets); string(again) != string(body) {
				t.Fatalf("%x was read as %x", body, again)
			}
			return
		}
		answer, reply := s.nodes["n1"].answer(kind, body)
		if answer != frameRefused && answer != kind+64 || len(reply) > maxFrame {
			t.Fatalf("type %d was answered with %d, %d bytes", kind, answer, len(reply))
		}
	})
}
