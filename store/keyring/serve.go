package keyring

import (
	"net"
	"time"

	"tamv.internal/tamv/tap"
)

const (
	// answerTimeout bounds one answer, and the wait for one.
	answerTimeout = 5 * time.Second
	// idleTimeout is how long a connection may wait for its next request.
	idleTimeout = 10 * time.Second
	// maxServed bounds the connections that are served at a time; one more is closed.
	// maxTold is how many of them another member uses to store secrets here.
	maxServed, maxTold = 256, 32
)

// Serve answers what another member asks on a connection, and closes it. Whoever calls
// it knows that the other end is a member.
func (e *Exchange) Serve(conn net.Conn) {
	defer conn.Close()
	select {
	case e.served <- struct{}{}:
		defer func() { <-e.served }()
	default:
		return
	}
	for {
		if conn.SetReadDeadline(time.Now().Add(idleTimeout)) != nil {
			return
		}
		kind, body, err := readFrame(conn)
		if err != nil {
			return
		}
		kind, body = e.answer(kind, body)
		if conn.SetWriteDeadline(time.Now().Add(answerTimeout)) != nil {
			return
		}
		if writeFrame(conn, kind, body) != nil || kind == frameRefused {
			return
		}
	}
}

// answer answers one request.
func (e *Exchange) answer(kind byte, body []byte) (byte, []byte) {
	switch kind {
	case framePut:
		return e.answerPut(body)
	case frameDigest:
		if len(body) == 0 {
			count, xor := e.ring.Digest()
			return frameState, appendState(nil, count, xor)
		}
	case frameList:
		if len(body) == idBytes {
			return frameIDs, appendIDs(nil, e.ring.IDs(ID(body), maxIDs))
		}
	case frameGet:
		ids, err := parseIDs(body, maxGet)
		if err != nil {
			break
		}
		var found []Secret
		for _, id := range ids {
			if s, ok := e.ring.Get(id); ok {
				found = append(found, s)
			}
		}
		return frameSecrets, appendSecrets(nil, found)
	}
	return frameRefused, nil
}

// answerPut stores what another member made, one by one: a generation that is over must
// not keep the others out.
func (e *Exchange) answerPut(body []byte) (byte, []byte) {
	secrets, err := parseSecrets(body)
	if err != nil {
		return frameRefused, nil
	}
	answer := []byte{0, byte(len(secrets))}
	for _, s := range secrets {
		err := e.ring.Put(s)
		switch {
		case err == nil:
			answer = append(answer, storedDisk)
		case tap.IsKind(err, tap.Conflict):
			answer = append(answer, storedOver)
		default:
			e.log.Error("a key of another member could not be stored", "error", err)
			return frameRefused, nil
		}
	}
	return frameStored, answer
}
