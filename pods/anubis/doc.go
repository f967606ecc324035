// Package anubis is the gate that every request passes, and the pod that
// enrols and revokes identities.
//
// # The gate
//
// [Gate.Admit] answers one question: may this request reach its route? It asks
// the cheap questions first, so that a flood of unsigned requests costs about a
// microsecond each and no cryptography:
//
//  1. is the address blocked, has it used up its rate, or its budget of failures?
//  2. does the request carry a well-formed RFC 9421 signature?
//  3. is the key id that of an enrolled identity with rate to spare?
//  4. is the signature at most five minutes from this node's clock?
//  5. is its nonce unused, in this node's memory and in the replicated state?
//  6. is the body the one whose digest was signed?
//  7. did the identity's Ed25519 key make the signature?
//  8. is the identity active, does it hold one of the route's roles, is it
//     within its rate?
//
// Only then is the nonce spent: a stranger cannot burn nonces, and a refused
// request may be sent again once the reason is gone. Roles come from the
// identity's record; a tamv-roles field narrows them and never widens. A route
// without roles admits nobody.
//
// A request on an authenticated TAP session ([tap.Request.Session]) carries no
// signature of its own; the gate still checks that its identity is active,
// holds the role and keeps its rate.
//
// # What holds, and where
//
// The memory of nonces is exact within the window: it never forgets one that
// could still be used, and when it is full it refuses instead of forgetting.
// When the clock is set back, signatures from minutes that this run has already
// served and forgotten are refused as expired. It belongs to one node and one
// run. What holds across nodes and restarts are the operations in
// [pods.Admission]: they create the nonce's record and check the version of the
// identity's record, in the same batch as the request's effects. So a signature
// commits at most once in the cluster, and nothing commits for an identity after
// the commit that revoked it, however late a node hears of it. A request that
// only reads can be repeated on another node, or after a restart, until its
// signature expires.
//
// # Attempts
//
// Every attempt, good or bad, is counted under (tenant, claimed identity,
// address, outcome) and written to the ledger as auth.attempts with the count
// and the first and last time in microseconds. Successes go out every ten
// seconds. Failures go out after one second while there are at most 64 kinds of
// them, else with the successes, and at most 512 kinds are told apart, the rest
// being one row; so an attack from many addresses grows the ledger by no more
// than 64 entries a second. A crash loses at most what was not written yet; a
// clean stop loses nothing. What a blocked address sends goes out with the
// successes.
//
// # Alerts
//
// A gate with a [Watchlist] looks for four patterns in the failures that it sees
// itself: guessing (one identity fails often), spread (one identity fails from
// many addresses), hammering (one address fails often) and spray (one address
// fails under many names); an IPv6 address counts with its /64. The [Policy] says
// how often is often. Counted are bad_signature, digest_mismatch and replayed;
// for addresses also unknown_identity and malformed_signature, for identities also
// revoked. Not counted are expired (a device that lost its clock sends nothing
// else, and a forger has no use for it), unsigned, role, every limit, and broken
// handshakes.
//
// An alert is the evidence security.alert, whose outcome is the pattern and whose
// payload names the subject, the count and the window, and a record in the space
// "alert", one per pattern and subject, that is open until an operator
// acknowledges it. The same alert is raised once per window, and a node raises at
// most 30 a minute about addresses and as many about identities, besides a first
// burst of 30.
//
// Hammering and spray block the address: by a record in the space "blocked" on
// every node, from the moment it is applied, and on the node that saw it at once.
// Each block in a row is twice as long. Blocked is who has yet to prove who they
// are; a session that did goes on. Loopback and exempt addresses are never
// blocked. Nor is any identity: if its failures could block it, anybody could
// shut anybody out. From a blocked address an operator's signed requests to list
// and lift blocks are still checked, one in two seconds.
//
// Bounds: 16,384 addresses and as many identities are watched at a time, each in
// at most 1.2 KiB (0.3 KiB with the default policy); who failed longest ago is
// forgotten first. What a node counted and has not raised is lost when it stops.
//
// # Errors
//
// Refusals are [tap.Error]: Unauthenticated with code unsigned,
// malformed_signature, unknown_identity, expired, replayed, digest_mismatch,
// bad_signature or revoked; Forbidden with code role; Limited with code
// blocked (with the time left), rate_address or rate_identity; Unavailable with
// code nonces_full.
package anubis
