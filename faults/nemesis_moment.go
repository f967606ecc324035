package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// momentPoll is how often a node's files are looked at: a flush takes some
	// milliseconds.
	momentPoll = 200 * time.Microsecond
	// momentTime is how long something is waited for that may be over already.
	momentTime = 2 * time.Second
)

// trace is what can be seen of files from outside; another one means that they
// were written to, made or removed.
func trace(pattern string) (string, error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	var all strings.Builder
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			fmt.Fprintln(&all, file, info.Size(), info.ModTime().UnixNano())
		}
	}
	return all.String(), nil
}

// touched waits until a node writes to files of its folder; false when it does not
// within so long.
func (n *Node) touched(ctx context.Context, pattern string, most time.Duration) (bool, error) {
	pattern = filepath.Join(n.Spec.Data, pattern)
	before, err := trace(pattern)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for pause(ctx, momentPoll) {
		if now, err := trace(pattern); err != nil || now != before {
			return true, err
		}
	}
	return false, nil
}

// killDuring kills nodes in the moment in which they write to files.
func killDuring(pattern string) func(ctx context.Context, t *Trial) error {
	return func(ctx context.Context, t *Trial) error {
		const kills = 3 // a snapshot is due when the log is as large as the last one: each takes twice as long
		for range kills {
			members := t.Members()
			n := members[t.Rand.IntN(len(members))]
			log, stop := context.WithCancel(ctx)
			filled := make(chan struct{})
			go func() { // so that something is written soon
				defer close(filled)
				t.fill(log, fillMost, largeEntry)
			}()
			seen, err := n.touched(ctx, pattern, MaxRecovery)
			stop()
			if err != nil || !seen {
				return errors.Join(fmt.Errorf("%s wrote no %s within %s", n.Name, pattern, MaxRecovery), err)
			}
			pause(ctx, time.Duration(t.Rand.Int64N(int64(2*time.Millisecond))))
			t.Fault("kill -9 %s", n.Name)
			err = n.Kill()
			<-filled
			if err := errors.Join(err, restart(ctx, n), t.Recovered(ctx, "a kill")); err != nil {
				return err
			}
		}
		return nil
	}
}

// killDuringInstall keeps a follower away until the log begins after what it has,
// and kills it while it fetches the snapshot that it needs, again and again.
func killDuringInstall(ctx context.Context, t *Trial) error {
	n, err := t.follower(ctx)
	if err != nil {
		return err
	}
	t.Fault("kill -9 %s", n.Name)
	if err := errors.Join(n.Kill(), t.outrun(ctx)); err != nil {
		return err
	}
	return t.killWhileFetching(ctx, n)
}

// killDuringRepair damages a follower's log, which makes it fetch a snapshot, and
// kills it while it does, again and again.
func killDuringRepair(ctx context.Context, t *Trial) error {
	n, err := t.spoil(ctx, logFiles)
	if err != nil {
		return err
	}
	return t.killWhileFetching(ctx, n)
}

func (t *Trial) killWhileFetching(ctx context.Context, n *Node) error {
	const kills = 3
	for range kills {
		if err := n.Start(Run); err != nil {
			return err
		}
		// It may have all of it already: then the kill meets whatever comes next.
		if _, err := n.touched(ctx, incomingFiles, momentTime); err != nil {
			return err
		}
		pause(ctx, time.Duration(t.Rand.Int64N(int64(20*time.Millisecond))))
		t.Fault("kill -9 %s", n.Name)
		if err := n.Kill(); err != nil {
			return err
		}
	}
	return errors.Join(restart(ctx, n), t.Recovered(ctx, "kills during an install"))
}

// outrun writes until the leader made two more snapshots: its log no longer has
// what was there at the beginning.
func (t *Trial) outrun(ctx context.Context) error {
	leader, err := t.Leader(ctx)
	if err != nil {
		return err
	}
	log, stop := context.WithCancel(ctx)
	defer stop()
	filled := make(chan struct{})
	go func() {
		defer close(filled)
		t.fill(log, fillMost, largeEntry)
	}()
	defer func() { stop(); <-filled }()
	for range 2 {
		pattern := filepath.Join(leader.Spec.Data, snapshotFiles, "meta.json")
		before, err := newest(pattern)
		if err != nil {
			return err
		}
		err = until(ctx, MaxRecovery, func() error {
			if now, err := newest(pattern); err != nil || now == before {
				return errors.Join(fmt.Errorf("%s makes no snapshot", leader.Name), err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// newest is the last snapshot that is complete, "" for none.
func newest(pattern string) (string, error) {
	files, err := filepath.Glob(pattern)
	last, when := "", time.Time{}
	for _, file := range files {
		info, err := os.Stat(file)
		if err == nil && info.ModTime().After(when) && !strings.Contains(file, ".tmp") {
			last, when = file, info.ModTime()
		}
	}
	return last, err
}
