// Package witness is a witness of transparency logs in a folder: somebody outside a
// site who remembers the newest checkpoint seen of each log and cosigns only what
// extends it. It needs no network and no appliance. What is decided is decided by
// bookpi.CheckAddCheckpoint; this package remembers.
//
// # The folder
//
//	keys                     the witness's secret keys, Ed25519 and ML-DSA-44, one a line (mode 0600)
//	verifiers                their verifier keys, one a line, for those who trust it
//	logs                     verifier keys of the logs it knows, one a line
//	records/<log>            the newest checkpoint cosigned of a log, as the log signed it
//	conflicts/<log>-<digest> two checkpoints that no honest log signs, see below
//	lock                     held while a process works here
//
// <log> is SHA-256 of the log's name, 16 hex digits; <digest> the same of the
// checkpoint that was offered.
//
// # Guarantees
//
// A cosignature is handed out only after the record that it promises is on stable
// storage, under a lock. A record that does not parse, is of another log or is not
// signed by a known key of its log stops the witness: it never begins anew by itself.
// Whoever restores the folder from an old copy, or removes a record, makes it forget,
// and it may then cosign a fork: keep one folder, and a backup of "keys" alone.
//
// # Conflicts
//
// When a log signs two roots for one size, both checkpoints are kept:
//
//	tamv-conflict/1
//	known <bytes, decimal>
//	<the checkpoint remembered, verbatim>
//	offered <bytes, decimal>
//	<the checkpoint offered, verbatim>
//
// They convince anybody who has the log's key. A checkpoint that the log signed and
// whose consistency proof fails is kept in the same form; the fault may be the
// courier's, so that file alone convinces nobody.
//
// # Errors
//
// A [*bookpi.RefusedError], [ErrFolder] for a folder that is none or is damaged,
// durable.ErrLocked, or those of package os. None contains a secret.
package witness
