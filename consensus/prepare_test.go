package consensus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestPlaceOfASnapshot(t *testing.T) {
	first := openFirst(t, nil, 0, 0)
	for i := range 5 {
		mustPropose(t, first.Node, fmt.Sprint("after", i))
	}
	i := first.installs
	newest, err := newestSnapshot(i.snapshots)
	if err != nil {
		t.Fatal(err)
	}
	last := first.State().LastIndex
	for _, test := range []struct {
		index, term uint64
		want        prepareState
	}{
		{newest.Index, newest.Term, prepareInstalled},
		{last, first.State().Term, prepareInstalled},
		{last, first.State().Term + 1, preparePulling}, // our entry there is another one, and the last
		{last - 1, first.State().Term + 1, prepareOld}, // and there is one behind it
		{1, 1, prepareOld},
		{last + 1, 1, preparePulling},
	} {
		if got, err := i.place(test.index, test.term); got != test.want || err != nil {
			t.Errorf("place(%d, %d) = %v, %v; want %v", test.index, test.term, got, err, test.want)
		}
	}
	i.fsm.seen.Store(newest.Index - 1)
	if got, err := i.place(newest.Index, newest.Term); got != prepareRestoring || err != nil {
		t.Errorf("while it is restored: %v, %v", got, err)
	}
}

func TestPrepareGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		first := openFirst(t, w.listen("n1"), 0, 0)
		term, last := first.State().Term, first.State().LastIndex
		peer := newCalls(newStreams(w.listen("x"), first.cfg.Logger), first.cfg.Logger)
		defer peer.close()
		request := prepareRequest{index: 5, term: 1, from: []string{"n1"}, manifest: []byte("m")}
		answers := func(replies ...prepareReply) callHandler {
			return func(context.Context, []byte) ([]byte, error) {
				r := replies[0]
				if len(replies) > 1 {
					replies = replies[1:]
				}
				<-time.After(prepareWait)
				return r.encode(), nil
			}
		}
		working := make([]prepareReply, 30)
		for i := range working {
			working[i].bytes = int64(i)
		}
		for name, test := range map[string]struct {
			term   uint64
			answer callHandler
			want   error
			within time.Duration
		}{
			"no such call":       {term, nil, errUnknownCall, time.Second},
			"silence":            {term, func(ctx context.Context, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }, errNoProgress, 12 * time.Second},
			"malformed":          {term, func(context.Context, []byte) ([]byte, error) { return []byte{1}, nil }, errCall, 11 * time.Second},
			"refusal":            {term, func(context.Context, []byte) ([]byte, error) { return nil, ErrHalted }, ErrHalted, 11 * time.Second},
			"no progress":        {term, answers(prepareReply{bytes: 7}), errNoProgress, 13 * time.Second},
			"slow but sure":      {term, answers(append(working, prepareReply{state: prepareReady})...), nil, 32 * time.Second},
			"a long restoration": {term, answers(append(make([]prepareReply, 1), prepareReply{state: prepareRestoring}, prepareReply{state: prepareInstalled})...), nil, 5 * time.Second},
			"entries beyond":     {term, answers(prepareReply{state: prepareOld}), errOldSnapshot, 3 * time.Second},
			"damage":             {term, answers(prepareReply{state: prepareDamaged}), errBadFile, 3 * time.Second},
			"another leader":     {term - 1, answers(prepareReply{}), ErrNotLeader, 3 * time.Second},
		} {
			peer.handle(callPrepare, test.answer)
			begin := time.Now()
			if _, err := first.installs.prepare("x", test.term, request); !errors.Is(err, test.want) {
				t.Errorf("%s: error %v", name, err)
			}
			if took := time.Since(begin); took > test.within {
				t.Errorf("%s: took %v", name, took)
			}
		}
		// The member that had entries beyond the snapshot is offered a longer one next.
		if newest, err := newestSnapshot(first.installs.snapshots); err != nil || newest.Index <= last {
			t.Errorf("the newest snapshot is at %d, the log ended at %d: %v", newest.Index, last, err)
		}
		mustClose(t, first.Node)
		if _, err := first.installs.prepare("x", term, request); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func FuzzDecodePrepareRequest(f *testing.F) {
	r := prepareRequest{index: 5, term: 2, from: []string{"10.0.0.1:7", "n2:7"}, manifest: []byte("tamv-snapshot 1\nend 0\n")}
	f.Add(r.encode())
	f.Add([]byte{})
	f.Add(make([]byte, 18))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodePrepareRequest(data)
		if err != nil {
			if !errors.Is(err, errCall) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if !bytes.Equal(r.encode(), data) {
			t.Fatalf("%q was read as %+v", data, r)
		}
	})
}

func FuzzDecodePrepareReply(f *testing.F) {
	f.Add(prepareReply{prepareOld, 77}.encode())
	f.Add([]byte{9})
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodePrepareReply(data)
		if err != nil {
			if !errors.Is(err, errCall) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if !bytes.Equal(r.encode(), data) {
			t.Fatalf("%q was read as %+v", data, r)
		}
	})
}
