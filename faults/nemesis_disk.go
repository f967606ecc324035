package faults

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"tamv.internal/tamv/appliance/disk"
	"tamv.internal/tamv/tap"
)

// SmallDisk is how large the small disk of a site is.
const SmallDisk = 768 << 20

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

// SetSmall says that a node's folder is a small disk.
func (s *Site) SetSmall(n *Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.small[n] = true
}

// smallMembers are the members whose folders are small disks.
func (s *Site) smallMembers() []*Node {
	members := s.Members()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(members, func(n *Node) bool { return !s.small[n] })
}

// filler is the file that fills a node's disk.
func (n *Node) filler() string { return filepath.Join(n.Spec.Data, "filler") }

// fullDisk makes a node with a small disk lead, and fills that disk. The others
// must serve meanwhile, and the node must be fit to lead again once there is room,
// without a restart.
func fullDisk(ctx context.Context, t *Trial) error {
	small := t.smallMembers()
	if len(small) == 0 {
		return fmt.Errorf("%w: no node has a small disk", ErrSkipped)
	}
	n := small[t.Rand.IntN(len(small))]
	if err := t.lead(ctx, n); err != nil {
		return err
	}
	t.Fault("fill the disk of %s", n.Name)
	err := Fill(n.filler(), SmallDisk)
	if err == nil {
		err = t.Recovered(ctx, "the full disk of the leader")
	}
	if err == nil {
		err = until(ctx, MaxRecovery, func() error {
			if leader, err := t.Leader(ctx); err != nil || leader == n {
				return errors.Join(fmt.Errorf("%s leads with a full disk", n.Name), err)
			}
			return nil
		})
	}
	t.Wait(ctx, 1)
	if err := errors.Join(err, os.Remove(n.filler())); err != nil {
		return err
	}
	if err := errors.Join(n.Died(), t.awaitFit(ctx, n), t.lead(ctx, n)); err != nil {
		return err
	}
	t.Wait(ctx, 0.5)
	return t.Recovered(ctx, "room on the disk")
}

// awaitFit waits until the others know that a node can lead.
func (t *Trial) awaitFit(ctx context.Context, n *Node) error {
	return until(ctx, MaxRecovery, func() error {
		view, err := t.View(ctx)
		if unfit := view.member(n.Name).Unfit; err == nil && unfit != "" {
			err = fmt.Errorf("%s is unfit: %s", n.Name, unfit)
		}
		return err
	})
}

// fullDisks fills the disks of all members. Writes must be refused for that reason
// while reads are answered, and go on once there is room, without a restart.
func fullDisks(ctx context.Context, t *Trial) error {
	members := t.Members()
	if len(t.smallMembers()) != len(members) {
		return fmt.Errorf("%w: not every node has a small disk", ErrSkipped)
	}
	t.Fault("fill every disk")
	var err error
	for _, n := range members {
		err = errors.Join(err, Fill(n.filler(), SmallDisk))
	}
	if err == nil {
		err = t.readOnly(ctx)
	}
	t.Wait(ctx, 1)
	for _, n := range members {
		err = errors.Join(err, os.Remove(n.filler()), n.Died())
	}
	return errors.Join(err, t.Recovered(ctx, "room on every disk"))
}

// readOnly waits until every member refuses a write because of its disk, and reads
// from each what it has.
func (t *Trial) readOnly(ctx context.Context) error {
	write := map[string]any{"action": fillAction, "outcome": "ok", "data": "is there room?"}
	read := url.Values{"limit": {"1"}, "consistency": {"local"}}
	for _, n := range t.Members() {
		err := until(ctx, MaxRecovery, func() error {
			attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
			defer cancel()
			if _, err := t.Client(auditor, n).Do(attempt, "POST", "/v1/evidence", nil, write); err == nil || tap.AsError(err).Code != disk.CodeFull {
				return fmt.Errorf("%s does not refuse a write on full disks: %w", n.Name, err)
			}
			if _, err := t.Client(auditor, n).Do(attempt, "GET", "/v1/evidence", read, nil); err != nil {
				return fmt.Errorf("%s does not answer a read on a full disk: %w", n.Name, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	caller := Caller{Nodes: t.As(auditor), Journal: NewJournal()}
	return caller.Do(ctx, balancesOf(moneyCurrencies[0]), 0).Err
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
