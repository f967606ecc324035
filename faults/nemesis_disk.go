package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// SmallDisk is how large the small disk of a site is.
const SmallDisk = 1 << 30

// MountSmall makes a folder that is a file system of so many bytes, in memory.
// Unmount it when nobody uses it any more. Without root the error wraps ErrSkipped.
func MountSmall(folder string, bytes int64) (unmount func() error, err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+strconv.FormatInt(bytes, 10)+",mode=0700", "tmpfs", folder).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w: no file system can be mounted here: %s", ErrSkipped, out)
	}
	return func() error { return syscall.Unmount(folder, 0) }, nil
}

// Small is the node whose folder is a small disk; nil when none is.
func (s *Site) Small() *Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.small
}

// SetSmall says which node's folder is a small disk.
func (s *Site) SetSmall(n *Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.small = n
}

// fullDisk makes the node with the small disk lead, and fills that disk. The
// others must serve meanwhile, and the node must be able to lead again once there
// is room, without a restart.
func fullDisk(ctx context.Context, t *Trial) error {
	n := t.Small()
	if n == nil {
		return fmt.Errorf("%w: no node has a small disk", ErrSkipped)
	}
	if err := t.lead(ctx, n); err != nil {
		return err
	}
	t.Fault("fill the disk of %s", n.Name)
	filler := filepath.Join(n.Spec.Data, "filler")
	err := Fill(filler, SmallDisk)
	if err == nil {
		err = t.Recovered(ctx, "the full disk of the leader")
	}
	t.Wait(ctx, 1)
	if err := errors.Join(err, os.Remove(filler)); err != nil {
		return err
	}
	if !n.Running() {
		return fmt.Errorf("%s did not survive its full disk:\n%s", n.Name, n.Tail())
	}
	return errors.Join(t.lead(ctx, n), t.Recovered(ctx, "room on the disk"))
}

// lead makes a node the leader.
func (t *Trial) lead(ctx context.Context, n *Node) error {
	return until(ctx, startTime, func() error {
		if leader, err := t.Leader(ctx); err == nil && leader == n {
			return nil
		}
		_, err := t.Ask(ctx, "POST", "/v1/cluster/transfer", map[string]string{"to": n.Name}, nil)
		return errors.Join(fmt.Errorf("%s does not lead", n.Name), err)
	})
}

// Fill writes a file until the file system is full or the file has most bytes.
func Fill(file string, most int64) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	chunk := make([]byte, 1<<20)
	for written := int64(0); written < most && len(chunk) > 0; {
		n, err := f.Write(chunk[:min(int64(len(chunk)), most-written)])
		written += int64(n)
		switch {
		case errors.Is(err, syscall.ENOSPC):
			chunk = chunk[:len(chunk)/2] // to the last byte
		case err != nil:
			return err
		}
	}
	return nil
}
