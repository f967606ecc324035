// Package bookpi is the evidence ledger as pure functions: how an entry is
// written down, how entries are chained, how the chain is summarised in a Merkle
// tree, how the summary is signed, and how anyone can check all of it later with
// nothing but a file and the log's public key. It touches no disk, no clock and
// no goroutine; package store decides where the bytes live.
//
// # One hash
//
// An [Entry] has exactly one encoding. Its [LeafHash], SHA-256 of a zero byte and
// that encoding, does three jobs at once: it is the evidence hash printed on
// receipts, the Previous field of the next entry (the chain), and the leaf of the
// Merkle tree (RFC 6962, section 2.1). Hashes are always taken over bytes as
// stored; nothing is ever re-serialised in order to be checked.
//
//	entry 0            entry 1             entry 2
//	Previous = 0...0   Previous = leaf 0   Previous = leaf 1
//	    |                  |                   |
//	  leaf 0             leaf 1              leaf 2      -> Tree -> Root
//	                                                               |
//	                                          Checkpoint(size, root) + signature
//
// # The tree
//
// [Tree] keeps only the roots of the complete subtrees (at most 63 hashes), so
// appending costs about one [NodeHash] per leaf whatever the size. While appending
// it hands out the hashes that belong into C2SP tlog-tiles of height 8: tile level
// 0 holds leaf hashes, tile level k holds the roots of complete subtrees of 256^k
// leaves, 256 hashes to a tile. From those tiles alone, [InclusionProof],
// [ConsistencyProof] and [RootAt] serve every size the log ever had. The verifiers
// are the algorithms of RFC 9162, sections 2.1.3.2 and 2.1.4.2.
//
// # Checkpoints and keys
//
// A [Checkpoint] is the text of C2SP tlog-checkpoint, signed as a C2SP signed note by
// the [LogKeys]: with Ed25519, so that any note library can read it, and with
// ML-DSA-44 (FIPS 204, C2SP tlog-cosignature), so that it outlives quantum computers.
// [OpenCheckpoint] is stricter than the note format asks: one spelling of the size and
// of each base64 string, at most one signature of each key, no extension lines. When a
// log changes its keys, its [KeyHistory] leads from any key an auditor knows to the
// others.
//
// # Witnesses
//
// A witness outside the site remembers the last checkpoint it saw and cosigns only
// what extends it: [CheckAddCheckpoint] decides, [Cosign] signs (C2SP tlog-witness,
// carried as files). A [Policy] (C2SP tlog-policy) says whose cosignatures count and
// how many are needed, and [VerifyCheckpoint] enforces it. [TLogProof] (C2SP
// tlog-proof) proves one entry to other logs' tools.
//
// # Bundles
//
// A [Bundle] (file extension .tamv) carries a checkpoint and some entries with
// their payloads and inclusion proofs. [VerifyBundle] and [VerifyBundleWithPolicy]
// answer yes, or which entry is broken and in which part. [Audit] does the same for a
// whole ledger.
//
// # What is guaranteed
//
// Every parser here accepts exactly the bytes its encoder writes, so no byte of an
// entry, a checkpoint, a proof, a bundle, a request to a witness or a key history can
// change unnoticed. Two exceptions are inherent. Signatures by keys the verifier does
// not know cannot be checked, only held to canonical form, so a checkpoint may gain,
// lose or change such lines. A policy is written by hand, signed by nobody, and may be
// spelt freely.
// A bundle shows what it holds, not that it holds everything: whoever passes it on may
// leave out entries, or withhold a payload, to whose SHA-256 the entry still commits.
// What hashes cannot show is an entry that was never written. A holder of the log keys
// can sign a second history; a quorum of witnesses that is a majority believes one of
// them at most, and the witness that is offered the other holds the proof.
//
// # Units and errors
//
// Timestamps are microseconds since the Unix epoch, UTC. Positions and sizes count
// entries from zero. Every error wraps one of the Err sentinels of this package or
// is a [*BrokenError]; match with errors.Is and errors.As.
package bookpi
