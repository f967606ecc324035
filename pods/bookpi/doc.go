// Package bookpi is the evidence pod: it lets clients append evidence, read the
// ledger, and take proofs away that verify offline.
//
// # Who sees what
//
// An auditor sees every entry of its own tenant. Everybody else sees the entries
// whose actor is themselves. Nobody sees another tenant's entries by hash or in a
// query. The ledger is one chain for all tenants, so a bundle of a range of
// positions carries foreign entries too, as the links of the chain, but never
// their payloads, and only an auditor may ask for one. Checkpoints, consistency
// proofs and the verifier key are public: they say nothing about anybody.
//
// # Appending
//
// The payload of an appended entry is the bytes of the body's "data" exactly as
// they came. Actions that the appliance itself records (their prefixes are
// reserved) cannot be appended by a client.
//
// # Proofs
//
// Every proof comes with a checkpoint for the same size, signed on demand by
// [Checkpointer], which never signs two histories: each checkpoint is proved
// consistent with the largest one signed before.
//
// # Bounds
//
// A query looks at 50,000 entries at most and then says where to go on ("next"),
// so a page may be short, or empty, without being the last. Pages are cut by
// position from the newest entry downwards; what is appended meanwhile does not
// shift them. A listed entry shows its payload up to 4 KiB.
//
// # Errors
//
// Invalid (codes "action", "query", "too_large"), Forbidden ("not_own"), NotFound,
// Internal ("split_view") when the ledger is not an extension of what was signed.
package bookpi
