// Package wal keeps a Raft log, and the term and vote beside it, on disk.
//
// [Log] implements hashicorp/raft's LogStore, MonotonicLogStore and StableStore. Entries stand one behind the other in segment
// files that are filled with zeros before they are used, so that an append is one write and one fdatasync which changes no
// metadata of the file system. A segment whose entries are no longer needed is zeroed again and used anew.
//
// # Guarantees
//
//   - What StoreLogs, DeleteRange and Set acknowledged is on disk and survives a power loss.
//   - Entries that DeleteRange removed do not come back, nor does anything of a StoreLogs that returned an error.
//   - Every entry is verified when the log is opened and whenever it is read. Damage is a [DamageError], never an answer,
//     and never repaired by guessing. Only the torn end of an append that was not acknowledged is removed silently.
//   - A full disk fails an append with [ErrFull] and changes nothing; the log goes on as soon as there is space. Term and vote
//     are overwritten in place and need no space.
//   - After a failed fdatasync nobody knows what is on disk, since the kernel may have dropped the pages: everything that
//     writes answers [ErrPoisoned] until the log is opened again, which reads what there is.
//
// The disk is assumed to write a sector of 512 bytes wholly or not at all, and to keep what it acknowledged. All integers are
// big-endian, all checksums CRC-32C (Castagnoli).
//
// # Segments
//
// A segment is named after its first entry, 20 decimal digits and ".wal". It is as long as its header says and begins with
// a header of 512 bytes, a sector that no append touches again:
//
//	 0  8  "TAMVWAL1"
//	 8  8  segment id: random, not zero
//	16  8  index of the first entry
//	24  8  id of the segment before, 0 for none
//	32  8  index of the first entry of the segment before
//	40  8  size of the file in bytes
//	48  4  checksum of the bytes before
//	52     zeros
//
// Behind it stand the frames, one per entry, in order, each a multiple of 8 bytes long; behind the last one everything is zero:
//
//	 0  4  checksum of the segment id (8 bytes) and the bytes 4 to 47 of this frame
//	 4  4  checksum of the bytes from 48 to the end of this frame
//	 8  8  index
//	16  8  term
//	24  8  when the leader appended it, nanoseconds since the Unix epoch; 0 if unknown
//	32  4  length of the data
//	36  4  length of the extensions
//	40  4  place of the entry in its append, from 0
//	44  1  type
//	45  3  zeros
//	48     data, extensions, zeros up to a multiple of 8
//
// The segment id in the checksum tells a frame from one that an earlier use of the file left. An append never spans two
// segments: one that does not fit begins the next, which is made larger when need be. The first segment of an empty log is smaller.
//
// # The file meta
//
// It says which part of the segments is the log, so that a segment that is missing is noticed and one left behind by a crash
// is not taken for a part. It holds the same record twice, at 0 and at 4096. A change writes and syncs the first, then the
// second. Whatever one fault does to one of the two, torn or rotten, the other holds everything acknowledged.
//
//	 0  8  "TAMVLOG1"
//	 8  8  sequence: the record with the greater one counts
//	16  8  index of the first entry
//	24  8  removal in progress: entries from this index on are gone; 0 for none
//	32  8  id of the newest segment, 0 for none
//	40  8  index of its first entry
//	48  8  floor: the log reaches at least this index
//	56  4  length of the table
//	60  4  checksum of the bytes before and of the table
//	64     table: per key, in order, length (2), key, length (2), value
//	       zeros up to 4096
//
// # Recovery
//
// The log is followed from the newest segment back to the one that holds the first entry; other files are leftovers and
// removed. A segment that another follows must be whole: frames to the last index before the next, then zeros.
//
// In the newest segment the first frame that does not verify, at offset X with the expected index i, ends the log. An append of
// several frames may reach the disk in any order, sector by sector, so whole frames may stand behind X. They tell what happened,
// since each knows where its append began (index minus place):
//
//   - one that belongs to a later append, one that began behind i, proves that i was acknowledged: an append begins only when the one
//     before is on disk. That is damage.
//   - otherwise X is in the last append. If power was lost, at least one sector of the frame at X was not written and is zero
//     from X, or the sector's beginning, to the sector's end. If there is no such sector, that is damage.
//   - otherwise the append was torn and nobody was told that it succeeded. Everything from X on is zeroed.
//   - in any case it is damage if the log ends below the floor. Close, and every other change of meta, raises the floor to the
//     last entry, so that after a clean stop no entry can be lost unnoticed.
//
// What remains undetected: after a crash, damage in the very last append that also left a sector zero. A removed tail is zeroed in
// the file, too; meta says so first, and a removal that a crash interrupted is completed.
package wal
