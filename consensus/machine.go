package consensus

import (
	"errors"
	"io"
)

// StateMachine is what a Node replicates. Commands are opaque to this package.
//
// Except for the Snapshot value it returns, a StateMachine is called by one goroutine at a time: by Open, then by the
// goroutine that applies. It must be deterministic: the same commands with the same indexes and stamps give the same
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

	// Restore replaces the whole state by one that Snapshot.WriteTo wrote, perhaps on another member. The new state
	// must be durable when it returns.
	Restore(r io.Reader) error
}

// Snapshot is a captured state. Its methods run concurrently with Apply.
type Snapshot interface {
	// WriteTo writes the captured state. It is called at most once.
	WriteTo(w io.Writer) (int64, error)
	// Release frees what the capture holds. It is called exactly once, also when WriteTo never was.
	Release()
}

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
	// ErrPack means that a log entry is not a well-formed pack.
	ErrPack = errors.New("consensus: malformed pack")
)
