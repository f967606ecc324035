// Package hub keeps TAP sessions and rooms. It authenticates a connection,
// serves its requests through the same [tap.Handler] as HTTPS, and fans out
// what is published to a room. It knows no transport, no pod and no store: the
// transports hand it a [tap.Conn], the rest comes in through the interfaces of
// [Config].
//
// # Sessions
//
// A session goes hello, challenge, auth, ready (see [tap.Handshake]); before
// ready everything else is refused, frames are at most [tap.HandshakeLimit]
// bytes, the whole takes at most Limits.Handshake, and the number of pending
// handshakes is capped, per address and over all, as is that of an identity's
// sessions. Afterwards every frame carries an id, a sequence and a MAC; a wrong
// sequence or MAC ends the session. A client's checkpoint, its signature over
// the chain of its frames, goes to the [Recorder]; a client that owes one for
// too long is disconnected.
//
// Every frame that reaches a ready session is answered by exactly one frame
// with its id: ack, error, busy or pong. Answers may come out of order.
//
// # Rooms
//
// A room is an epoch, an ordered ring of encoded frames and the latest value
// per key. A subscriber is a cursor into the ring, so publishing costs the same
// for one subscriber and for a thousand and never waits for any of them: each
// session's writer collects what its cursors have not seen and sends it in one
// write.
//
//   - state: a subscriber that is behind gets the latest value per key.
//     Values of a publisher that leaves are withdrawn with an empty one. What
//     a room keeps for newcomers is bounded in keys and in bytes.
//   - event: ordered. A subscriber that fell out of the ring gets a gap frame
//     that names what it lost, then a snapshot, then the stream.
//   - durable: committed by [Rooms] in batches, then fanned out in the order of
//     their durable sequence.
//
// A subscription registers its cursor first and takes the snapshot second;
// durable frames that the snapshot contains are left out. So nothing is lost
// between snapshot and stream and nothing arrives twice.
package hub
