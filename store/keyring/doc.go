// Package keyring keeps the secrets of a site that must never be in its log: the
// keys under which payloads about a person are sealed, and the keys that sign the
// ledger. What is in the log is in every snapshot and backup, for ever; a key that
// shall be destroyed one day must not be.
//
// A [Ring] is one node's secrets on disk. An [Exchange] hands them from member to
// member. A [Sealer] is both, as package store needs it to seal evidence.
//
// # What is guaranteed
//
//   - A payload is proposed only after its key is on the disks of a majority of the
//     voting members ([Exchange.Store]); those that only follow get it when they can.
//   - Destroying a key makes it unusable on this node at once and overwrites its slot
//     soon after ([Ring.Advance]); a failed overwrite is tried again, and
//     [Ring.Status] says what is left.
//   - A key of a generation that is known to be over is not taken, from anybody, and
//     not found. A node that was away destroys it when it applies the erasure.
//
// # What is not
//
// The ring overwrites in place. A file system that copies on write (btrfs, ZFS,
// overlay file systems, snapshots of a volume) keeps the old block until it is reused,
// and so does the wear levelling of a flash disk; memory may have been swapped out.
// What is left there is wrapped by the sealing key, so destroying that key, or the
// disk, is the last resort. A copy of the ring made by other means (an image of the
// machine) keeps what it holds. Losing the rings of all members, or their sealing
// keys, loses what is sealed: nothing else has these keys.
//
// # On disk
//
// Two files, subjects.ring with slots of 512 bytes and logkeys.ring with slots of
// 4096, of one form. Integers are big-endian. Slot 0 is the header:
//
//	offset size
//	     0    8  "TAMVKR", 0 and the version, 1
//	     8    4  bytes of a slot
//	    12   16  file id, random
//	    28   12  nonce, random
//	    40   16  AES-256-GCM tag over bytes 0..27 under the sealing key
//	    56    -  zeroes
//
// Every other slot is zeroes, which is free, or one secret:
//
//	offset size
//	     0   12  nonce, random
//	    12    -  AES-256-GCM ciphertext under the sealing key, with its tag of 16 bytes
//	             at the slot's end; additional data: file id, slot number (8)
//
// of
//
//	1   kind: 1 = a subject's key, 2 = keys of the ledger
//	8   generation of a subject's key; number of keys of the ledger
//	1+n tenant   \ of a subject's key; else empty
//	1+n subject  /
//	2+n value: 32 bytes; else text of at most 3800 bytes
//	-   zeroes up to the end
//
// A slot that does not open, because a write or an overwrite was cut off or the disk
// is damaged, holds no secret; it is overwritten when the ring is opened or as soon as
// the disk takes it, and the secret comes back from the other members. The file grows by 64 slots at a time,
// written with zeroes, so that there is room for a secret before there is one.
//
// # Between members
//
// A connection carries requests and answers in turn, each a frame: length (4 bytes, of
// what follows, at most 64 KiB), type (1), body.
//
//	 1 put     count (2), each a length (2) and a secret as above, without the zeroes
//	 2 digest  -
//	 3 list    the id after which to begin
//	 4 get     count (2), ids
//	65 stored  count (2), for each secret 1 = it is on disk, 2 = its generation is over
//	66 digest  count (8), exclusive or of all ids (16)
//	67 ids     count (2), ids above that of the request, ascending; none = the end
//	68 secrets as in put: those of the ids that this node has
//	127        refused; the connection ends
//
// The id of a secret is made of all that it is (see [Secret.ID]), so what comes is what
// was asked for. The connections are those between members, whose other end is proven.
//
// # Errors
//
// They are *tap.Error: Conflict with code generation_over for a key that an erasure has
// overtaken; NotFound with code erased for a payload whose key is gone; Unavailable with
// code keyring_quorum while too few members answer, keyring_full or keyring_write when the
// disk does not take it, keyring_damaged for a file that is no ring, and keyring_seal for
// a sealing key that is not the ring's.
package keyring
