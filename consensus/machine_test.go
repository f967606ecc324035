package consensus

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
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
	dir      string // holds the parts that snapshots brought
	parts    []chainPart
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
	parts []chainPart
}

// chainPart is a file that belongs to the state and never changes.
type chainPart struct {
	path string
	size int64
	sum  [32]byte
}

// addParts gives the state so many files of size bytes, different from each other and the same on every machine.
func (d *chainDisk) addParts(dir string, count, size int) error {
	for i := range count {
		data := make([]byte, size)
		rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)}).Read(data)
		part := chainPart{filepath.Join(dir, fmt.Sprintf("part%04d", i)), int64(size), sha256.Sum256(data)}
		if err := os.WriteFile(part.path, data, 0o600); err != nil {
			return err
		}
		d.parts = append(d.parts, part)
	}
	return nil
}

func (c *chain) Snapshot() (Snapshot, error) {
	if c.snapshotErr != nil {
		return nil, c.snapshotErr
	}
	c.flush()
	return chainSnapshot{c.read(), c.disk.readParts()}, nil
}

// WriteTo writes the chain's state, and links its parts.
func (s chainSnapshot) WriteTo(dir string) ([]File, error) {
	data, err := binary.Append(nil, binary.BigEndian, s.state)
	if err != nil {
		return nil, err
	}
	files := []File{{Name: "state", Size: int64(len(data)), Sum: sha256.Sum256(data)}}
	if err := os.WriteFile(filepath.Join(dir, "state"), data, 0o600); err != nil {
		return nil, err
	}
	for i, part := range s.parts {
		name := fmt.Sprintf("part-%04d", i)
		if err := os.Link(part.path, filepath.Join(dir, name)); err != nil {
			return nil, err
		}
		files = append(files, File{Name: name, Size: part.size, Sum: part.sum})
	}
	return files, nil
}

func (s chainSnapshot) Release() {}

// readParts returns the parts of the state.
func (d *chainDisk) readParts() []chainPart {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.parts
}

func (c *chain) Restore(dir string) error {
	if c.restoreErr != nil {
		return c.restoreErr
	}
	data, err := os.ReadFile(filepath.Join(dir, "state"))
	if err != nil {
		return err
	}
	var state chainState
	if err := binary.Read(bytes.NewReader(data), binary.BigEndian, &state); err != nil {
		return err
	}
	parts, err := c.disk.adopt(dir)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.state = state
	c.mu.Unlock()
	c.disk.mu.Lock()
	c.disk.restores++
	c.disk.parts = parts
	c.disk.mu.Unlock()
	c.flush()
	return nil
}

// adopt links the parts of a snapshot into the disk's folder, under the hash of what they hold.
func (d *chainDisk) adopt(dir string) (parts []chainPart, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "part-*"))
	if err != nil {
		return nil, err
	}
	for _, from := range files {
		data, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(data)
		part := chainPart{filepath.Join(d.dir, fmt.Sprintf("%x", sum)), int64(len(data)), sum}
		if err := os.Link(from, part.path); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
		parts = append(parts, part)
	}
	return parts, nil
}

func (c *chain) Part(sum [32]byte) (*os.File, error) {
	for _, part := range c.disk.readParts() {
		if part.sum == sum {
			return os.Open(part.path)
		}
	}
	return nil, ErrNoPart
}

// cutter is a command log whose snapshots fail while they are written.
type cutter struct {
	*chain
}

func (c cutter) Snapshot() (Snapshot, error) { return cutSnapshot{}, nil }

type cutSnapshot struct{}

func (cutSnapshot) WriteTo(dir string) ([]File, error) {
	err := os.WriteFile(filepath.Join(dir, "state"), []byte("half"), 0o600)
	return nil, errors.Join(err, errors.New("disk full"))
}

func (cutSnapshot) Release() {}

func sumOf(data []byte) [32]byte { return sha256.Sum256(data) }
