package consensus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"tamv.internal/tamv/consensus/snapshot"
)

// damageLog flips a byte of an entry in the middle of a log, behind which others follow.
func damageLog(t testing.TB, dir string) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, logFolder, "*.wal"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("segments %v, error %v", segments, err)
	}
	data, err := os.ReadFile(segments[len(segments)-1])
	if err != nil {
		t.Fatal(err)
	}
	entry := bytes.Index(data, []byte("victim"))
	if entry < 0 {
		t.Fatal("the log does not hold the entry to damage")
	}
	flip(t, segments[len(segments)-1], int64(entry))
}

// stableValues reads the term and the vote beside a log.
func stableValues(t testing.TB, dir string) (term, voteTerm uint64, vote string) {
	t.Helper()
	log, err := openLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	term, err1 := log.GetUint64(keyTerm)
	voteTerm, _ = log.GetUint64([]byte("LastVoteTerm"))
	candidate, _ := log.Get([]byte("LastVoteCand"))
	if err1 != nil {
		t.Fatal(err1)
	}
	return term, voteTerm, string(candidate)
}

// reopenable replaces the stream of a closed member, so that it can be opened again.
func (m member) restarted(w *network) member {
	m.cfg.Stream = w.listen(m.cfg.ID)
	m.chain = openChain(m.chain.disk)
	return m
}

func TestDamagedLogIsRepairedFromTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		members := openClusterOf(t, 3, func(cfg *Config) {
			cfg.Stream, cfg.CompressAbove = w.listen(cfg.ID), 0
		})
		leader, followers := leaderOf(t, members)
		broken, other := followers[0], followers[1]
		for i := range 5 {
			mustPropose(t, leader.Node, fmt.Sprint("victim ", i))
		}
		mustAgree(t, leader, followers...)
		mustClose(t, broken.Node)
		term, voteTerm, vote := stableValues(t, broken.cfg.Dir)
		damageLog(t, broken.cfg.Dir)
		mustPropose(t, leader.Node, "while it is broken")

		broken = broken.restarted(w)
		if _, err := Open(broken.cfg, broken.chain); !errors.Is(err, ErrDamaged) {
			t.Fatalf("a damaged log was opened: %v", err)
		}
		// Without a leader there is nothing to repair from, and nothing is changed.
		w.isolate(broken.cfg.ID, true)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		if err := Repair(ctx, broken.cfg, broken.chain); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("repaired without the others: %v", err)
		}
		cancel()
		w.isolate(broken.cfg.ID, false)

		// While it is repaired it neither votes nor acknowledges: with it alone the leader has no majority.
		w.isolate(other.cfg.ID, true)
		ctx, cancel = context.WithTimeout(t.Context(), 30*time.Second)
		if err := Repair(ctx, broken.cfg, broken.chain); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("repaired by a leader without a majority: %v", err)
		}
		cancel()
		if s := leader.State(); s.Role == RoleLeader {
			t.Errorf("%s leads with nobody but a member that is being repaired", s.ID)
		}
		w.isolate(other.cfg.ID, false)
		leader, _ = leaderOf(t, []member{leader, other})

		last := leader.State().LastIndex
		if err := Repair(t.Context(), broken.cfg, broken.chain); err != nil {
			t.Fatal(err)
		}
		gotTerm, gotVoteTerm, gotVote := stableValues(t, broken.cfg.Dir)
		if gotTerm < term || gotVoteTerm != voteTerm || gotVote != vote {
			t.Errorf("term %d, vote for %q in %d; before %d, %q in %d", gotTerm, gotVote, gotVoteTerm, term, vote, voteTerm)
		}
		snapshots, err := snapshot.OpenStore(broken.cfg.Dir, 2, broken.cfg.Logger)
		if err != nil {
			t.Fatal(err)
		}
		if newest, err := newestSnapshot(snapshots); err != nil || newest.Index < last {
			t.Errorf("repaired up to index %d, error %v; the leader had %d", newest.Index, err, last)
		}
		broken.Node = openNode(t, broken.cfg, broken.chain)
		mustPropose(t, leader.Node, "whole again")
		mustAgree(t, members[0], leader, broken, other)
		// It counts again: with it and without the third there is a majority.
		for _, m := range []member{members[0], members[1], members[2]} {
			if m.cfg.ID != leader.cfg.ID && m.cfg.ID != broken.cfg.ID {
				w.isolate(m.cfg.ID, true)
			}
		}
		mustPropose(t, leader.Node, "by the repaired member's ack")
		mustAgree(t, leader, broken)
	})
}

func TestMemberWithoutUsableSnapshotIsRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		members := openClusterOf(t, 3, func(cfg *Config) {
			cfg.Stream, cfg.TrailingLogs = w.listen(cfg.ID), 1
		})
		leader, followers := leaderOf(t, members)
		broken := followers[0]
		for i := range 30 {
			mustPropose(t, leader.Node, fmt.Sprint(i))
		}
		mustAgree(t, leader, followers...)
		if err := broken.Node.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustClose(t, broken.Node)
		files, err := filepath.Glob(filepath.Join(broken.cfg.Dir, "snapshots", "*", "state"))
		if err != nil || len(files) == 0 {
			t.Fatalf("snapshots %v, error %v", files, err)
		}
		for _, file := range files {
			flip(t, file, 20)
		}
		broken.chain.disk = &chainDisk{} // the state was damaged, too, and moved aside
		broken = broken.restarted(w)
		for range 2 { // the second time it is known from before
			if _, err := Open(broken.cfg, broken.chain); !errors.Is(err, ErrDamaged) {
				t.Fatalf("a member without a state was opened: %v", err)
			}
		}
		if err := Repair(t.Context(), broken.cfg, broken.chain); err != nil {
			t.Fatal(err)
		}
		broken.Node = openNode(t, broken.cfg, broken.chain)
		mustPropose(t, leader.Node, "whole again")
		mustAgree(t, leader, broken)
	})
}

func TestRepairRefusesWhatCannotWork(t *testing.T) {
	alone := openFirst(t, nil, 0, 0)
	mustPropose(t, alone.Node, "victim")
	mustPropose(t, alone.Node, "after it")
	mustClose(t, alone.Node)
	damageLog(t, alone.cfg.Dir)
	if err := Repair(t.Context(), alone.cfg, alone.chain); !errors.Is(err, ErrDamaged) {
		t.Errorf("a cluster of one: %v", err)
	}
	if err := Repair(t.Context(), Config{}, alone.chain); err == nil {
		t.Error("a configuration without anything was accepted")
	}
	// A member of a larger cluster whose vote is lost.
	err := writeMembers(alone.cfg.Dir, 1, raft.Configuration{Servers: []raft.Server{
		{ID: "n1", Address: "n1"}, {ID: "n2", Address: "n2"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(alone.cfg.Dir, logFolder, "meta")); err != nil {
		t.Fatal(err)
	}
	alone.cfg.Stream = newNetwork().listen("n1")
	if err := Repair(t.Context(), alone.cfg, alone.chain); !errors.Is(err, ErrDamaged) || !errors.Is(err, errBeyondRepair) {
		t.Errorf("a lost vote: %v", err)
	}
}

func TestLostSnapshotOfOneIsRecoveredFromItsState(t *testing.T) {
	alone := openFirst(t, nil, 0, 0)
	mustPropose(t, alone.Node, "in the log")
	want := alone.chain.read()
	mustClose(t, alone.Node)
	if err := os.RemoveAll(filepath.Join(alone.cfg.Dir, "snapshots")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(alone.cfg, openChain(alone.chain.disk)); !errors.Is(err, ErrDamaged) {
		t.Fatalf("opened without its snapshot: %v", err)
	}
	if err := Recover(alone.cfg, openChain(&chainDisk{})); !errors.Is(err, ErrDamaged) {
		t.Errorf("recovered without state and snapshot: %v", err)
	}
	if err := Recover(alone.cfg, openChain(alone.chain.disk)); err != nil {
		t.Fatal(err)
	}
	c := openChain(alone.chain.disk)
	n := openLeader(t, alone.cfg, c)
	if got := c.read(); got.Head != want.Head {
		t.Errorf("%d of %d commands", got.Count, want.Count)
	}
	mustPropose(t, n, "goes on")
}

func TestScrubReplacesADamagedSnapshot(t *testing.T) {
	alone := openFirst(t, nil, 2, 5000)
	read := 0
	if err := alone.Scrub(t.Context(), func(n int) error { read += n; return nil }); err != nil || read < 10_000 {
		t.Fatalf("%d bytes, error %v", read, err)
	}
	newest, err := newestSnapshot(alone.installs.snapshots)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, filepath.Join(alone.cfg.Dir, "snapshots", newest.ID, "state"), 3)
	mustPropose(t, alone.Node, "x")
	if err := alone.Scrub(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	list, err := alone.installs.snapshots.List()
	if err != nil || len(list) != 1 || list[0].Index <= newest.Index || alone.installs.snapshots.Lost() != 0 {
		t.Errorf("snapshots %v, error %v", list, err)
	}
	// What the state itself gives is damaged: the snapshot that replaces it cannot be better.
	flip(t, alone.chain.disk.parts[0].path, 3)
	if err := alone.Scrub(t.Context(), nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("a damaged part of the state: %v", err)
	}
	mustClose(t, alone.Node)
	if err := alone.Scrub(t.Context(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestMembersFile(t *testing.T) {
	cfg := testConfig(t, t.TempDir()).withDefaults()
	snapshots, err := snapshot.OpenStore(cfg.Dir, 1, cfg.Logger)
	if err != nil {
		t.Fatal(err)
	}
	if got := otherMembers(cfg, snapshots); len(got) != 0 {
		t.Errorf("members of nothing: %v", got)
	}
	c := raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: "a:1"}, {Suffrage: raft.Nonvoter, ID: "n2", Address: "b:2"}}}
	rememberMembers(cfg)(7, c)
	if got := otherMembers(cfg, snapshots); len(got) != 1 || got[0] != "b:2" {
		t.Errorf("members %v", got)
	}
	// If the file is damaged the newest snapshot tells.
	for _, content := range []string{"", "{", "null", `{"servers":[{"id":"n1","address":"","voter":true}]}`, `{"servers":[]}`} {
		if err := os.WriteFile(filepath.Join(cfg.Dir, membersFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := otherMembers(cfg, snapshots); len(got) != 0 {
			t.Errorf("members of %q: %v", content, got)
		}
	}
	sink, err := snapshots.Create(1, 3, 1, c, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(sink.(*snapshot.Sink).Commit(nil), sink.Close()); err != nil {
		t.Fatal(err)
	}
	if got := otherMembers(cfg, snapshots); len(got) != 1 || got[0] != "b:2" {
		t.Errorf("members by the snapshot: %v", got)
	}
	cfg.Dir = filepath.Join(cfg.Dir, "missing")
	rememberMembers(cfg)(8, c) // is logged, and harmless
}
