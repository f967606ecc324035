package consensus

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Config says how a Node works. Start from DefaultConfig; ID and Dir have no default.
type Config struct {
	// ID names this member in the cluster, for ever.
	ID string
	// Dir holds the log and the snapshots; it is created with mode 0700. One process at a time may use it.
	Dir string
	// Joining makes a node with an empty Dir wait until a leader adds it (Node.Add). Otherwise a node with an empty
	// Dir founds a cluster of which it is the only member. Without effect once Dir is in use.
	Joining bool
	// Stream connects to the other members. nil keeps the node in memory, for a cluster of one member. Open takes it over
	// and closes it, also when it fails.
	Stream StreamLayer
	// Purposes serve further kinds of connections between members, by the byte that such a connection begins with; see
	// Node.DialMember. They are served from the begin of Open, before anything is known of the cluster, to the end of Close.
	Purposes map[byte]PurposeHandler
	// Report is called when another member asks how this one is, about once a second for each; it must be quick. nil
	// means the zero Report.
	Report func() Report
	// OpenLog opens the log in Dir; nil means one of package wal. It is the seam for another log and for fault injection.
	OpenLog func(dir string) (LogStore, error)
	// Logger receives the node's messages, which never contain commands; nil discards them.
	Logger *slog.Logger
	// Clock is the wall clock that stamps packs; nil means time.Now. It may jump.
	Clock func() time.Time
	// Wall is the clock that members compare (Peer.ClockOffset); nil means Clock. It differs where Clock is corrected by
	// what the members' clocks say.
	Wall func() time.Time

	// MaxPackCommands bounds the commands of one pack: 1 to 65,536.
	MaxPackCommands int
	// MaxPackBytes bounds the bytes of one pack before compression, and so the size of a command: 1 KiB to 16 MiB.
	MaxPackBytes int
	// CompressAbove is the size in bytes from which a pack is compressed, when that pays; 0 never compresses.
	CompressAbove int
	// QueueLength bounds the commands that wait to be packed; beyond it Propose answers ErrBusy.
	QueueLength int

	// SnapshotInterval is how often, within a factor of two, the need for a snapshot is examined.
	SnapshotInterval time.Duration
	// SnapshotThreshold is the number of log entries since the last snapshot that makes a new one due.
	SnapshotThreshold uint64
	// SnapshotBytes is the size of the log entries since the last snapshot that makes a new one due at once, unless that
	// snapshot was larger: writing snapshots then costs no more than writing the log. At least 64 KiB.
	SnapshotBytes int64
	// TrailingLogs is the number of entries kept behind a snapshot for members that are a little late; fewer if they
	// would take more than a quarter of SnapshotBytes.
	TrailingLogs uint64
	// RetainSnapshots is the number of snapshots kept, at least 1.
	RetainSnapshots int

	// HeartbeatTimeout is the time without a leader's sign of life after which a member stands for election.
	HeartbeatTimeout time.Duration
	// ElectionTimeout bounds one election and one hand-over of leadership; at least HeartbeatTimeout.
	ElectionTimeout time.Duration
	// LeaderLeaseTimeout is the time without a majority's sign of life after which a leader steps down; at most HeartbeatTimeout.
	LeaderLeaseTimeout time.Duration
}

// StreamLayer carries Raft's messages between members: a listener whose address the other members can dial, and the
// way to dial them. Encryption and authentication are its business.
type StreamLayer interface {
	net.Listener
	Dial(address string, timeout time.Duration) (net.Conn, error)
}

// DefaultConfig returns the settings for a cluster on a local network. The timeouts are the same for one member as for
// five; a cluster of one does not wait for them (see Open). Packs of 64 clients are not compressed: it took 5 % of a node's
// CPU, in the one goroutine that all commands wait for, to save bytes of which disk and network have enough.
func DefaultConfig() Config {
	return Config{
		MaxPackCommands:    2048,
		MaxPackBytes:       1 << 20,
		CompressAbove:      64 << 10,
		QueueLength:        16 << 10,
		SnapshotInterval:   time.Minute,
		SnapshotThreshold:  20_000,
		SnapshotBytes:      32 << 20,
		TrailingLogs:       2_000,
		RetainSnapshots:    2,
		HeartbeatTimeout:   time.Second,
		ElectionTimeout:    time.Second,
		LeaderLeaseTimeout: 500 * time.Millisecond,
	}
}

// Validate returns an error that names every setting out of range.
func (c Config) Validate() error {
	var errs []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("consensus: "+format, args...))
		}
	}
	require(c.ID != "", "ID is empty")
	require(len(c.ID) <= maxID, "ID of %d bytes is longer than 255", len(c.ID))
	require(c.Dir != "", "Dir is empty")
	require(c.MaxPackCommands >= 1 && c.MaxPackCommands <= maxCommands,
		"MaxPackCommands %d is not within 1..%d", c.MaxPackCommands, maxCommands)
	require(c.MaxPackBytes >= 1<<10 && c.MaxPackBytes <= maxBody,
		"MaxPackBytes %d is not within 1024..%d", c.MaxPackBytes, maxBody)
	require(c.CompressAbove >= 0, "CompressAbove %d is negative", c.CompressAbove)
	require(c.QueueLength >= 1, "QueueLength %d is not positive", c.QueueLength)
	require(c.SnapshotInterval >= 5*time.Millisecond, "SnapshotInterval %v is below 5ms", c.SnapshotInterval)
	require(c.SnapshotThreshold >= 1, "SnapshotThreshold is 0")
	require(c.SnapshotBytes >= 64<<10, "SnapshotBytes %d is below 64 KiB", c.SnapshotBytes)
	require(c.RetainSnapshots >= 1, "RetainSnapshots %d is not positive", c.RetainSnapshots)
	require(c.LeaderLeaseTimeout >= 5*time.Millisecond, "LeaderLeaseTimeout %v is below 5ms", c.LeaderLeaseTimeout)
	require(c.HeartbeatTimeout >= c.LeaderLeaseTimeout,
		"HeartbeatTimeout %v is below LeaderLeaseTimeout %v", c.HeartbeatTimeout, c.LeaderLeaseTimeout)
	require(c.ElectionTimeout >= c.HeartbeatTimeout,
		"ElectionTimeout %v is below HeartbeatTimeout %v", c.ElectionTimeout, c.HeartbeatTimeout)
	return errors.Join(append(errs, checkPurposes(c.Purposes))...)
}

// withDefaults fills the optional fields.
func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Wall == nil {
		c.Wall = c.Clock
	}
	if c.OpenLog == nil {
		c.OpenLog = openLog
	}
	return c
}
