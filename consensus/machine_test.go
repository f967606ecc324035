package consensus

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// chain is a small real state machine: a hash chain over commands, indexes and stamps, with a disk that keeps what was
// last flushed. The outcome of a command is its position and itself.
type chain struct {
	disk *chainDisk

	mu       sync.Mutex
	state    chainState
	commands []string // since this process began
	stamps   []int64
	indexes  []uint64

	snapshotErr error // returned by Snapshot
	restoreErr  error // returned by Restore
	short       bool  // Apply forgets an outcome
}

// chainState is what is durable: 56 bytes.
type chainState struct {
	Applied uint64
	Clock   int64
	Count   uint64
	Head    [32]byte
}

type chainDisk struct {
	mu       sync.Mutex
	state    chainState
	restores int
}

var errPoison = errors.New("poisoned")

// openChain is a process that starts on a disk.
func openChain(d *chainDisk) *chain {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &chain{disk: d, state: d.state}
}

func (c *chain) Applied() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Applied
}

func (c *chain) Clock() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Clock
}

func (c *chain) Apply(index uint64, stamp int64, commands [][]byte) ([]any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if index <= c.state.Applied || stamp <= c.state.Clock {
		return nil, fmt.Errorf("index %d, stamp %d after %d, %d", index, stamp, c.state.Applied, c.state.Clock)
	}
	outcomes := make([]any, 0, len(commands))
	for _, command := range commands {
		if string(command) == "poison" {
			return nil, errPoison
		}
		h := sha256.New()
		h.Write(c.state.Head[:])
		h.Write(binary.BigEndian.AppendUint64(nil, index))
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(stamp)))
		h.Write(command)
		h.Sum(c.state.Head[:0])
		c.state.Count++
		c.commands = append(c.commands, string(command))
		outcomes = append(outcomes, fmt.Sprintf("%d:%s", c.state.Count, command))
	}
	c.stamps = append(c.stamps, stamp)
	c.indexes = append(c.indexes, index)
	c.state.Applied, c.state.Clock = index, stamp
	if c.short && len(outcomes) > 0 {
		outcomes = outcomes[1:]
	}
	return outcomes, nil
}

func (c *chain) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.disk.mu.Lock()
	defer c.disk.mu.Unlock()
	c.disk.state = c.state
}

func (c *chain) read() chainState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

type chainSnapshot struct {
	state chainState
}

func (c *chain) Snapshot() (Snapshot, error) {
	if c.snapshotErr != nil {
		return nil, c.snapshotErr
	}
	c.flush()
	return chainSnapshot{c.read()}, nil
}

func (s chainSnapshot) WriteTo(w io.Writer) (int64, error) {
	return 56, binary.Write(w, binary.BigEndian, s.state)
}

func (s chainSnapshot) Release() {}

func (c *chain) Restore(r io.Reader) error {
	if c.restoreErr != nil {
		return c.restoreErr
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	var state chainState
	if err := binary.Read(bytes.NewReader(data), binary.BigEndian, &state); err != nil {
		return err
	}
	c.mu.Lock()
	c.state = state
	c.mu.Unlock()
	c.disk.mu.Lock()
	c.disk.restores++
	c.disk.mu.Unlock()
	c.flush()
	return nil
}

// cutter is a command log whose snapshots fail while they are written.
type cutter struct {
	*chain
}

func (c cutter) Snapshot() (Snapshot, error) { return cutSnapshot{}, nil }

type cutSnapshot struct{}

func (cutSnapshot) WriteTo(w io.Writer) (int64, error) {
	n, _ := w.Write([]byte("half"))
	return int64(n), errors.New("disk full")
}

func (cutSnapshot) Release() {}
