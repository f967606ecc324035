// Package consensus replicates a deterministic state machine with Raft.
//
// A [Node] owns a durable log. [Node.Propose], on any member, appends an opaque command to it and returns what the
// [StateMachine] answered, once a majority of the members holds the command on disk and this node has applied it in memory.
// A node alone is a cluster of one member; growing to three or five changes the membership, not the data or the code path.
// The algorithm is that of Ongaro and Ousterhout ("In Search of an Understandable Consensus Algorithm", 2014) with
// pre-vote, as implemented by github.com/hashicorp/raft; this package adds what stands around it.
//
// # A command's way
//
// Waiting commands are put together into a pack: everything that waits, at most [Config.MaxPackCommands] commands or
// [Config.MaxPackBytes] bytes, with no timer, one pack in flight. A pack is one entry of the Raft log and so costs one
// fsync however many commands it carries; under load packs grow by themselves and alone a command waits for nobody.
//
// Another member than the leader does the same with what waits there, but for the log: it sends one frame to the leader,
// at most four at a time, and the leader puts the frame's commands into one pack and answers with their place in the log.
// The member then waits until its own Apply has reached that place and takes the outcomes from it. So what was
// acknowledged on a member can be read on that member, and outcomes need no encoding.
//
// # Guarantees
//
//   - An acknowledged command is in the log of a majority and is never lost while a majority of disks survives.
//   - Commands are applied in log order, the same on every member, each exactly once per state: on replay the entries
//     up to [StateMachine.Applied] are skipped.
//   - Time is data. The leader stamps each pack with max(wall clock, previous stamp + 1), in microseconds since the
//     Unix epoch, and replicas raise a stamp that is not after the machine's clock to clock + 1. Stamps are therefore
//     strictly increasing in log order, whatever the wall clocks do. The unit is the microsecond because the rule
//     advances by at least one unit per pack: with milliseconds more than 1,000 packs a second would run ahead of the
//     wall. If a wall clock jumps forward and back, stamps creep by one microsecond per pack until the wall catches up.
//   - An error of [StateMachine.Apply], or an entry that cannot be read, halts the node: nothing is applied after it,
//     [Node.Halted] is closed and the node leaves its leadership to others. It never continues on a state it cannot vouch for.
//   - Entries are removed from the log only after [StateMachine.Snapshot], which must have made the state durable.
//
// # Outcomes
//
// After [ErrNotLeader], [ErrBusy], [ErrTooLarge] and [ErrClosed] a command has not entered the log and may be sent
// again, here or elsewhere. After [ErrUncertain], [ErrHalted] and the errors of a context its outcome is unknown: it
// may have been applied, or may still be. A caller that retries then needs an idempotent command, for example one that
// carries a request id which the state machine remembers. A command that was forwarded is uncertain when the connection to
// the leader breaks, or another member leads, before the answer; and when a snapshot takes the place of its entry here.
//
// # Reads
//
// The state machine is read directly, by its owner. [Node.Read] says when, on every member: [Local] at once and perhaps
// stale; [Leader] when this member has applied what the leader has; [Linearizable] after the leader, besides, confirmed with
// a majority that no other leads (the ReadIndex of section 6.4 of Ongaro's thesis). Each is one round for all reads that
// wait. A round asks the voters for their term, and only answers to questions asked after it began count; a single voter
// asks nobody.
//
// # Members
//
// [Node.Add] makes a node a member that gets the log and has no vote; [Node.Promote] gives it one when it has caught up;
// [Node.Remove] removes it; [Node.Transfer] hands the leadership over. Who should be a member, and whether a majority
// remains, is for the caller to decide. Every member asks every other each second how it is ([Node.Peers]).
//
// # Between members
//
// All connections share one [StreamLayer], which encrypts and authenticates them. Their first byte is their purpose: 'R' for
// Raft's messages, 'C' for the calls of this package, 'F' for files of snapshots, or one of [Config.Purposes], which the
// node's owner serves. A member has one connection for its calls to each peer, with many in flight (see frame and calls for
// the format); it is pinged each second while something waits, and given up after three seconds of silence.
//
// # Files
//
// Dir holds wal/ (log, term and vote: package consensus/wal), snapshots/ (one folder per snapshot: package
// consensus/snapshot) and members.json (the last configuration, for a repair).
package consensus
