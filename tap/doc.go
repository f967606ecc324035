// Package tap is the vocabulary of the TAMV Action Protocol: what a request, a
// response, a principal and an error are, and how a frame looks on the wire.
// Every other package may import it; it imports none of them.
//
// A request reaches the appliance as an HTTP request or as a TAP frame over
// WebSocket or QUIC. The transport decodes it into a [Request] and calls a
// [Handler]; nothing above the transport knows which one it was.
//
// Three things live here because both ends of a connection need the same bytes:
//
//   - the envelope codec ([Envelope]), a MessagePack array of five fields;
//   - HTTP message signatures ([SignRequest], [ParseSignature]), RFC 9421 with
//     Ed25519 and the label id-nvida;
//   - the session handshake ([Handshake]), an X25519 exchange signed by the
//     client and authenticated frame by frame with HMAC-SHA256.
//
// Errors carry a [Kind] from a closed set. One table maps a Kind to the HTTP
// status, the error family, the TAP code, the process exit code and whether a
// retry makes sense. Nobody recognises an error by its text.
package tap
