package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// state is what a log holds. Its slices are shared and never changed.
type state struct {
	first   uint64 // 0 when empty
	entries []raft.Log
	vote    string
}

func (s state) last() uint64 { return s.first + uint64(len(s.entries)) - 1 }

func (s state) empty() bool { return len(s.entries) == 0 }

func (s state) equal(o state) bool {
	return s.vote == o.vote && slices.EqualFunc(s.entries, o.entries, sameEntry) && (s.empty() || s.first == o.first)
}

func sameEntry(a, b raft.Log) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type && bytes.Equal(a.Data, b.Data) &&
		bytes.Equal(a.Extensions, b.Extensions) && a.AppendedAt.Equal(b.AppendedAt)
}

// appended returns the state with the first n of entries behind it.
func (s state) appended(entries []*raft.Log, n int) state {
	after := state{s.first, slices.Clone(s.entries), s.vote}
	for _, e := range entries[:n] {
		if after.empty() {
			after.first = e.Index
		}
		after.entries = append(after.entries, *e)
	}
	return after
}

// deleted returns the state without the entries from first to last.
func (s state) deleted(first, last uint64) state {
	after := state{s.first, nil, s.vote}
	for _, e := range s.entries {
		if e.Index < first || e.Index > last {
			after.entries = append(after.entries, e)
		}
	}
	if !after.empty() {
		after.first = after.entries[0].Index
	}
	return after
}

// observe reads everything.
func observe(l *Log) (state, error) {
	var s state
	first, err1 := l.FirstIndex()
	last, err2 := l.LastIndex()
	if err := errors.Join(err1, err2); err != nil {
		return s, err
	}
	s.first = first
	for i := first; i <= last && i > 0; i++ {
		var e raft.Log
		if err := l.GetLog(i, &e); err != nil {
			return s, err
		}
		s.entries = append(s.entries, e)
	}
	vote, err := l.Get([]byte("LastVoteCand"))
	if err != nil && !errors.Is(err, ErrKeyNotFound) {
		return s, err
	}
	s.vote = string(vote)
	return s, nil
}

// step is a change of a log and what may be there if it was interrupted: before, after or in between.
type step struct {
	name  string
	do    func(l *Log) error
	after []state // the last one is that of success
}

// randomEntries makes entries of mixed sizes, with zeros in some of them.
func randomEntries(r *rand.Rand, first, term uint64) []*raft.Log {
	entries := make([]*raft.Log, 1+r.IntN(4))
	for i := range entries {
		e := &raft.Log{Index: first + uint64(i), Term: term, Type: raft.LogType(r.IntN(6)), AppendedAt: time.Unix(0, r.Int64()).UTC()}
		e.Data = make([]byte, []int{0, r.IntN(40), r.IntN(700), r.IntN(2000)}[r.IntN(4)])
		if r.IntN(8) == 0 {
			e.Data = make([]byte, 6000) // larger than a segment, and zero
		} else {
			for k := range e.Data {
				e.Data[k] = byte(r.Uint32())
			}
		}
		if r.IntN(4) == 0 {
			e.Extensions = []byte("extension")
		}
		entries[i] = e
	}
	return entries
}

// nextStep draws a change that fits the state.
func nextStep(r *rand.Rand, s state, number int) step {
	remove := func(name string, first, last uint64) step {
		return step{name, func(l *Log) error { return l.DeleteRange(first, last) }, []state{s.deleted(first, last)}}
	}
	kind := r.IntN(16)
	switch {
	case kind < 2:
		next := s
		next.vote = fmt.Sprint("candidate ", number)
		return step{"vote", func(l *Log) error { return l.Set([]byte("LastVoteCand"), []byte(next.vote)) }, []state{next}}
	case kind == 2 && !s.empty():
		return remove("delete all", 1, s.last())
	case kind < 6 && len(s.entries) > 1:
		cut := s.first + 1 + r.Uint64N(uint64(len(s.entries)-1))
		if kind == 3 {
			return remove("delete head", s.first, cut-1)
		}
		return remove("delete tail", cut, s.last()+r.Uint64N(2))
	}
	first := s.last() + 1
	if s.empty() {
		first = 1 + r.Uint64N(1000)
	}
	entries := randomEntries(r, first, uint64(number))
	st := step{"append", func(l *Log) error { return l.StoreLogs(entries) }, nil}
	for n := 1; n <= len(entries); n++ {
		st.after = append(st.after, s.appended(entries, n))
	}
	return st
}

func memOptions(d *memDisk) Options {
	return Options{SegmentSize: minSegmentSize, folder: d, spawn: func(work func()) { work() }}
}

// script runs random changes until one fails. It returns the states that may be found afterwards.
func script(d *memDisk, r *rand.Rand, s state, steps int) (allowed []state, err error) {
	l, err := Open("", memOptions(d))
	if err != nil {
		return []state{s}, err
	}
	for i := range steps {
		if r.IntN(10) == 0 {
			if err := l.Close(); err != nil {
				return []state{s}, err
			}
			if l, err = Open("", memOptions(d)); err != nil {
				return []state{s}, err
			}
		}
		st := nextStep(r, s, i+1)
		if err := st.do(l); err != nil {
			return append([]state{s}, st.after...), err
		}
		s = st.after[len(st.after)-1]
	}
	return []state{s}, l.Close()
}

// fataler is a test or one run of a property.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// mustBeOneOf opens the log, compares, and proves that it goes on.
func mustBeOneOf(t fataler, what string, d *memDisk, allowed []state) state {
	t.Helper()
	l, err := Open("", memOptions(d))
	if err != nil {
		t.Fatalf("%s: open: %v", what, err)
	}
	got, err := observe(l)
	if err != nil {
		t.Fatalf("%s: read: %v", what, err)
	}
	if !slices.ContainsFunc(allowed, got.equal) {
		t.Fatalf("%s: found %d entries from %d, vote %q; possible are %s", what, len(got.entries), got.first, got.vote, describe(allowed))
	}
	if err := l.Close(); err != nil {
		t.Fatalf("%s: close: %v", what, err)
	}
	return got
}

func describe(states []state) string {
	text := ""
	for _, s := range states {
		text += fmt.Sprintf("[%d from %d, vote %q]", len(s.entries), s.first, s.vote)
	}
	return text
}
