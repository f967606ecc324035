// Package cluster is who belongs to a site: its certificate authority, the
// certificates of its nodes, the links between them, and how a machine joins.
// It knows nothing of raft or of the state; it hands out connections whose other
// end is proven to be a member.
//
// # Trust
//
// A site has one [Authority], founded by its first node. It signs a certificate
// for every node: ECDSA P-256, 397 days, for servers and clients, with the
// node's name in the URI spiffe://tamv/node/NAME. A certificate is renewed
// thirty days before its end under the same key, so that the key's [Pin], the
// SHA-256 of its SubjectPublicKeyInfo (RFC 7469), names a node for good. Every
// member holds the authority's key: losing a machine never loses the site. The
// price is that a stolen data folder is the whole site's trust; docs/THREAT_MODEL
// says what follows.
//
// # Links
//
// [Link] is a listener and a dialer for node-to-node streams. They share the
// appliance's one TCP port: [Link.Split] takes the connections that negotiate
// [Protocol] by ALPN, and hands all others on to the HTTPS server. A link is TLS
// 1.3, without tickets, with a certificate on both sides, and each side asks, in
// this order:
//
//  1. is there a certificate, and did the site's authority sign it?
//  2. is it within its time, by the clock that the link was given?
//  3. is it meant for this end (client or server authentication)?
//  4. does it name a node; when dialing, the one that lives at this address?
//  5. is that node, or its key, removed or revoked?
//  6. if the node is known, is its key the pinned one?
//  7. if it is not known, was it this node that dialed, or does the [Roster]
//     expect it?
//
// The authority's word alone lets nobody in, because a member that was removed
// keeps the authority's key and can sign itself a fresh name. Only a node that
// knows less than the others takes that word: one that has just joined knows
// nobody, and one that was away does not know who came. What fails is a
// [Refusal] with a [Reason], given to a callback that must record it; the other
// side learns only that it was refused. [Link.Recheck] asks questions 5 to 7
// again of every open connection. Whoever serves a connection must hold what is
// said on it against its Peer: a proven name is no right to speak for others.
// After the handshake the listening side sends one byte, 1; a dialer that does
// not get it was refused.
//
// # Joining
//
// A [Token] carries the addresses of members, the fingerprint of the authority's
// certificate (SHA-256 of its DER), a one-use secret and an end. [Join] connects
// to a server whose chain ends in exactly that authority, sends the secret with
// a PKCS#10 request for a key that never leaves the machine, and checks what it
// gets back. Nothing is sent to a server that fails.
//
//	token  = "tamv-join." base64url(body check)    (RFC 4648 section 5, no padding)
//	body   = version(1) expires(8) fingerprint(32) secret address*
//	secret = length(1: 16-32) bytes;  address = length(1) "HOST:PORT", 1 to 16 of them
//	check  = the first 4 bytes of SHA-256(body)
//
// Integers are big-endian; expires is in seconds since the Unix epoch.
//
// # Recovery
//
// [Recovery] is what a site cannot make again: the authority's key and
// certificate and the ledger's key. Sealed, it is a file that may be copied
// anywhere; the code that opens it (256 bits, printed once) is stored nowhere.
//
//	file    = PEM "TAMV RECOVERY" (magic salt(16) nonce(12) ciphertext tag(16))
//	magic   = "tamv-recovery 1\n", also the additional data
//	key     = HKDF-SHA256(code, salt, "tamv recovery", 32 bytes), for AES-256-GCM
//	payload = three fields, each length(4) bytes: certificate PEM, key PEM, ledger key
//	code    = Crockford base32 of the 32 bytes (52 characters) and the first 20
//	          bits of their SHA-256 (4 characters), in groups of four
//
// # Errors
//
// All are [tap.Error]. Files that cannot be used are Unavailable; tokens, codes
// and requests that do not parse are Invalid; a refusal is Forbidden with code
// node_refused and the reason as a detail. No error, and no String method,
// shows a key or a secret.
package cluster
