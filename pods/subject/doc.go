// Package subject is the right to erasure. A subject is a person whom recorded
// payloads concern; these are sealed under the subject's keys (package store,
// Seal), and erasing the subject destroys the keys. The ledger keeps every byte
// and still verifies; what it had sealed nobody reads any more.
//
// # Erasing
//
// An operator, a guardian or the subject asks with a reason. The policy of the
// tenant says how many different identities must want it, from 0 to 5: 0 and 1
// are done at once, 3 is Triple-Sign. Up to then the request waits, a day at
// most, and operators and guardians approve it with requests that they sign. The
// first operator or guardian counts with the request itself; a subject without
// these roles does not, except where one is enough. An identity counts once,
// identities with the same key count as one, and all only while they stand when the
// last one approves.
//
// Who asked, and any operator, can withdraw a request while it waits.
//
// Raising the number holds at once. Lowering it is a request of its own, which
// needs as many approvals as are in force.
//
// # What is destroyed, and when
//
// Erasing raises the subject's generation in the replicated state. Every node
// destroys the keys of the generations before, when it applies that: unusable at
// once, overwritten soon after. A node that was away does it when it is back. A
// batch that was sealed before and comes after is refused by the state machine
// and sealed again, under a key of the new generation.
//
// # What stays
//
// The headers of entries: who acted is written as a name of an identity, which
// is a pseudonym, and so is the subject's name in the entries of this package.
// Payloads recorded without naming the subject. The subject's documents in
// memory, which their own route deletes. What somebody has read or been given.
//
// # Records
//
// JSON; times are microseconds since the Unix epoch.
//
//	erasure, SUBJECT      [Erasure]
//	erasure-request, ID   [Request] that waits, expires after [RequestLife]
//	erasure-done, ID      [Request] that was carried out or withdrawn, expires likewise
//	erasure-policy        [Policy]
//
// # What the ledger knows
//
// subject.erase and subject.policy, with the outcome ok or pending,
// subject.approve and subject.withdraw. A reason is kept with its request, for a
// day; the ledger has its SHA-256.
//
// # Errors
//
// Forbidden with code not_own for somebody else's erasure or request; Conflict with
// code pending when a request for the same subject waits, withdrawn for an approval
// and done for a withdrawal that comes too late; Limited with code too_many when
// [MaxPending] wait; NotFound for a request that is not there any more.
package subject
