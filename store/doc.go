// Package store is the appliance's state machine: a small, frozen interpreter
// of operations over a tenant-prefixed key space, and the evidence ledger that
// grows in the same step.
//
// # One commit
//
// A request becomes at most one [Batch]: the operations of everything it did
// and the evidence of it. A batch is applied whole or not at all, and a batch
// without evidence is refused, so nothing can happen that the ledger does not
// know.
//
// # A frozen interpreter
//
// [Store.Apply] understands eight operations ([Put], [Create], [Delete],
// [Add], [Append], [Post], [Check], [Expire]) and knows no pod. It reads no
// clock, no randomness, no float and no map order: time is the leader's stamp,
// identifiers come with the batch. Add, Append and Post commute, so they need
// no retry; Check turns every other race into a conflict, which
// [Writer.Update] decides again.
//
// # Durability
//
// A batch is acknowledged when consensus has committed it and Apply has put it
// in memory. One flusher writes the changes to bbolt in one fsynced
// transaction every 50 ms or 8 MiB, with the applied index, the ledger head
// and the clock inside the same transaction. After a crash consensus replays
// what is missing; Apply skips entries up to the applied index.
//
// Times are microseconds since the Unix epoch, as stamped by the leader.
package store
