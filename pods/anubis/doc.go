// Package anubis is the gate that every request passes, and the pod that
// enrols and revokes identities.
//
// # The gate
//
// [Gate.Admit] answers one question: may this request reach its route? It asks
// the cheap questions first, so that a flood of unsigned requests costs about a
// microsecond each and no cryptography:
//
//  1. has the address used up its rate, or its budget of failures?
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
// run. What holds
// across nodes and restarts are the operations in [pods.Admission]: they create
// the nonce's record and check the version of the identity's record, in the
// same batch as the request's effects. So a signature commits at most once in
// the cluster, and nothing commits for an identity after the commit that
// revoked it, however late a node hears of it. A request that only reads can be
// repeated on another node, or after a restart, until its signature expires.
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
// clean stop loses nothing.
//
// # Errors
//
// Refusals are [tap.Error]: Unauthenticated with code unsigned,
// malformed_signature, unknown_identity, expired, replayed, digest_mismatch,
// bad_signature or revoked; Forbidden with code role; Limited with code
// rate_address or rate_identity; Unavailable with code nonces_full.
package anubis
