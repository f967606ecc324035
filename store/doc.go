// Package store is the appliance's state machine: a small, frozen interpreter
// of operations over a tenant-prefixed key space, and the evidence ledger that
// grows in the same step.
//
// # One commit
//
// A request becomes at most one [Batch]: the operations of everything it did
// and the evidence of it. A batch is applied whole or not at all, and a batch
// without evidence is refused, so nothing can happen that the ledger does not
// know. Only a signed checkpoint of the ledger itself goes without
// ([CheckpointBatch]), and no two of one size can differ.
//
// # A frozen interpreter
//
// [Store.Apply] understands eleven operations ([Put], [Create], [Delete],
// [Add], [Append], [Post], [Check], [Expire], [Raise], [Store.Archive], and the
// recording of a checkpoint) and knows no pod. It
// reads no clock, no randomness, no float and no map order: time is the
// leader's stamp, identifiers come with the batch. Add, Append and Post
// commute, so they need no retry; Check turns every other race into a
// conflict, which [Writer.Update] decides again. An operation of a later
// release waits until Raise has said that every member knows it.
//
// # On disk
//
//	state.db                 records, money, the open end of the ledger (bbolt)
//	ledger/NNNNNNNN.segment  16,384 ledger entries each, never changed again
//	ledger/NNNNNNNN.leaves   what stays of a segment that was archived
//
// A batch is acknowledged when consensus has committed it and Apply has put it
// in memory. One flusher writes the changes to bbolt in one fsynced
// transaction every 50 ms or 8 MiB, with the applied index, the ledger head
// and the clock inside the same transaction. After a crash consensus replays
// what is missing; Apply skips entries up to the applied index. A full segment
// becomes a file before the transaction that removes its entries from
// state.db. It depends on the entries alone, so every replica has the same
// bytes.
//
// # Damage
//
// Everything that is read is checked: values of state.db by a CRC32C over
// bucket, key and value, parts of segments by the CRC32C in their directory,
// which state.db knows. A digest over all records shows what is missing. So
// damage is an error, [ErrDamaged] with the place in a [*Damage], and never an
// answer; that holds for accidents, while the ledger's hashes and signatures
// hold against people. [Open] checks the whole state file, [Store.Scrub]
// everything, beside Apply. A segment is mended by [Store.RepairSegment], a
// state file is replaced by [Store.Restore].
//
// # Snapshots
//
// A snapshot is a folder: state.db in parts of 16 MiB, and the segments as hard
// links. Restoring one checks it first and is atomic.
//
// Times are microseconds since the Unix epoch, as stamped by the leader.
package store
