// Package faults breaks a cluster on purpose and checks what its clients were
// promised.
//
// # What runs
//
// Three to five nodes, each a process of its own with its own folder, on
// loopback addresses. Node i listens on 127.0.0.(10+i) and advertises
// 127.0.0.(110+i), where a [Network] of the harness listens and passes the bytes
// on. Nodes dial from their listen address, so that the network knows both ends
// of every connection and can delay, hold or cut what travels between any two
// nodes, in one direction or both. Clients reach the listen addresses directly:
// they are not partitioned.
//
// Meanwhile workloads write and read through the signed API of whichever node
// they choose; half of the clients stay at one. An operation ends in one of three ways:
//
//   - acknowledged: a node answered that it is done;
//   - refused: every answer said that it is not done and will not be;
//   - unknown: an answer never came. The operation may have happened once. Half
//     of the clients then repeat it under the same request id at another node
//     until it is acknowledged; the others give up, which leaves it unknown.
//
// # What is checked
//
//   - lost: an acknowledged write that some node does not have at the end, at the
//     position that was promised; money that was booked and is not in the accounts.
//   - doubled: a request id that took effect twice, or took effect although it was
//     refused; money booked more often than it was acknowledged.
//   - reordered: a write that began after another one returned, and has the lower
//     position. Every append returns its position, so that this test is exact and
//     needs no search.
//   - stale: a register whose history has no linearization (Herlihy and Wing 1990),
//     found by porcupine: some read with consistency "linearizable" was out of date,
//     or two writes were given one number.
//   - diverged: two nodes whose ledgers have different roots at the same size.
//
// Each has a pure function that is tested with histories that it must refuse;
// a checker that accepts everything would otherwise go unnoticed.
//
// Times are reported and not judged, but for one: once a fault is such that the
// cluster must serve again, a write must be acknowledged within [MaxRecovery].
package faults
