package consensus

import (
	"errors"
	"fmt"
	"os"

	"tamv.internal/tamv/consensus/snapshot"
)

// StateMachine is what a Node replicates. Commands are opaque to this package.
//
// Except for Part and the Snapshot value it returns, a StateMachine is called by one goroutine at a time: by Open, then by
// the goroutine that applies. It must be deterministic: the same commands with the same indexes and stamps give the same
// state and the same outcomes on every member, now and on replay.
type StateMachine interface {
	// Applied returns the index of the last log entry that is part of the state, 0 for none. When Open is called
	// this must be durable: the entries up to it are never handed to Apply again.
	Applied() uint64

	// Clock returns the stamp of the last applied pack, in microseconds since the Unix epoch, 0 for none. It is part
	// of the state: it survives restarts and travels in snapshots.
	Clock() int64

	// Apply changes the state by the commands of one pack and returns one outcome per command, in order. index is
	// greater than that of every earlier call, stamp (microseconds since the Unix epoch) too. There may be no
	// commands: then only time passes. A command that is refused is an outcome; an error means that the machine
	// cannot continue and halts the node. The commands share the log entry's memory: they must not be modified, and
	// what is kept should be copied when a small command would otherwise pin a large pack.
	Apply(index uint64, stamp int64, commands [][]byte) ([]any, error)

	// Snapshot captures the state as of the last Apply. It must make that state durable before it returns, because
	// log entries up to it may be removed afterwards. It should be quick: no Apply runs meanwhile.
	Snapshot() (Snapshot, error)

	// Restore replaces the whole state by the files that Snapshot.WriteTo wrote into a folder, perhaps on another member.
	// The files are verified and must not be changed; they may be linked or copied, not moved. The old state is replaced
	// at once: after a crash it is there, or the new one. The new state must be durable when Restore returns.
	Restore(dir string) error

	// Part opens a file of the present state by its SHA-256, if it is one that never changes and that snapshots contain as
	// it is; ErrNoPart for every other hash. It may be called at any time. The file's Name is its path: it may be linked.
	Part(sum [32]byte) (*os.File, error)
}

// flusher is what a StateMachine may be, too: one that can make its state durable while it is applied to. Before a snapshot
// that leaves little to do for Snapshot, which holds every proposal up.
type flusher interface {
	// Flush makes durable what was applied when it was called. It may run at the same time as any other method.
	Flush() error
}

// Snapshot is a captured state. Its methods run concurrently with Apply.
type Snapshot interface {
	// WriteTo writes the captured state into an empty folder, as files that are on disk when it returns, and lists them
	// all. Large files that never change should be hard links. It is called at most once.
	WriteTo(dir string) ([]File, error)
	// Release frees what the capture holds. It is called exactly once, also when WriteTo never was.
	Release()
}

// File is one file of a snapshot. Its name has 1 to 100 of the characters a-z, 0-9, '.', '_' and '-', begins with a letter or
// digit, and is neither "manifest" nor "meta.json".
type File = snapshot.File

// Errors of a Node; match them with errors.Is. Which of them leave a command's outcome unknown is said in the package comment.
var (
	// ErrNotLeader means that another member, or none at present, accepts commands and serves leader reads.
	ErrNotLeader = errors.New("consensus: not the leader")
	// ErrBusy means that Config.QueueLength commands are waiting already.
	ErrBusy = errors.New("consensus: too many commands are waiting")
	// ErrTooLarge means that a command does not fit into a pack of Config.MaxPackBytes.
	ErrTooLarge = errors.New("consensus: command too large")
	// ErrClosed means that the node was closed.
	ErrClosed = errors.New("consensus: node closed")
	// ErrHalted means that the state machine could not continue; see Node.Err.
	ErrHalted = errors.New("consensus: node halted")
	// ErrUncertain means that the leader lost its leadership, or its disk, while it committed the command.
	ErrUncertain = errors.New("consensus: outcome unknown")
	// ErrNoPeer means that there is no other voting member to hand the leadership to.
	ErrNoPeer = errors.New("consensus: no other voting member")
	// ErrLocked means that another process has the log open.
	ErrLocked = errors.New("consensus: log is in use by another process")
	// ErrMismatch means that the state machine, the log and the snapshots do not belong together: a part was lost or replaced.
	ErrMismatch = errors.New("consensus: state and log do not belong together")
	// ErrDamaged means that this member's log, or the snapshots that it needs, cannot be read or are missing. The node must not
	// vote on what is left of them: Repair brings what is missing from the other members.
	ErrDamaged = errors.New("consensus: log or snapshots are damaged")
	// ErrDamagedLog is the ErrDamaged of a running member whose log is damaged; see Node.Scrub.
	ErrDamagedLog = fmt.Errorf("%w: the log", ErrDamaged)
	// ErrNoPart means that no file has that SHA-256.
	ErrNoPart = errors.New("consensus: no such part")
	// ErrPack means that a log entry is not a well-formed pack.
	ErrPack = errors.New("consensus: malformed pack")
)
