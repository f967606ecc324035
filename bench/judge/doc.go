// Package judge lets strangers read the evidence ledger: the client and the checker of
// Tessera, the tiled log of the transparency.dev project, and the cosignature verifier of
// the same people. It is tests only, in this module because the appliance itself needs
// none of them:
//
//	cd bench && go test ./judge
//
// A log written with package store/bookpi is served over HTTP and checked by Tessera's
// fsck, which recomputes every tile from the entries. Its client builds proofs from our
// tiles, and its state tracker follows our checkpoints while the log grows. The other way
// round, Tessera writes a log of our entries, and bookpi.Audit walks it.
package judge
