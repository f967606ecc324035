package keyring

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tamv.internal/tamv/tap"
)

// site is members that exchange keys over pipes.
type site struct {
	t       testing.TB
	mu      sync.Mutex
	names   []string
	nodes   map[string]*node
	down    map[string]bool
	mute    map[string]bool // accepts and never answers
	dials   atomic.Int64
	changed chan struct{}
}

type node struct {
	*Exchange
	ring *Ring
	dir  string
}

func newSite(t testing.TB, names ...string) *site {
	s := &site{t: t, nodes: map[string]*node{}, down: map[string]bool{}, mute: map[string]bool{}, changed: make(chan struct{})}
	for _, name := range names {
		s.join(name)
	}
	return s
}

func (s *site) join(name string) *node {
	s.t.Helper()
	dir := s.t.TempDir()
	r := openRingOn(s.t, dir, &faults{lazy: true})
	n := &node{ring: r, dir: dir}
	n.Exchange = NewExchange(ExchangeConfig{
		Ring: r, Self: name, Members: s.members, Changed: s.change,
		Dial: func(ctx context.Context, member string) (net.Conn, error) { return s.dial(ctx, name, member) },
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names, s.nodes[name] = append(s.names, name), n
	close(s.changed)
	s.changed = make(chan struct{})
	return n
}

func (s *site) members() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.names...)
}

func (s *site) change() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *site) set(m map[string]bool, name string, value bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m[name] = value
}

func (s *site) dial(ctx context.Context, from, to string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials.Add(1)
	if s.down[to] || s.down[from] || ctx.Err() != nil {
		return nil, errors.New("no route")
	}
	near, far := net.Pipe()
	if s.mute[to] {
		s.t.Cleanup(func() { far.Close() })
		return near, nil
	}
	go s.nodes[to].Serve(far)
	return near, nil
}

func TestAKeyIsSafeWithAMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1", "n2", "n3")
		first, second := subjectKey("ana", 0, 1), subjectKey("eva", 0, 2)
		must(t, s.nodes["n1"].Store(t.Context(), first))
		synctest.Wait()
		for name, n := range s.nodes {
			if !n.ring.Has(first.ID()) {
				t.Errorf("%s lacks it although it can be reached", name)
			}
		}
		s.set(s.down, "n3", true)
		must(t, s.nodes["n1"].Store(t.Context(), second))
		if !s.nodes["n2"].ring.Has(second.ID()) || s.nodes["n3"].ring.Has(second.ID()) {
			t.Error("not exactly a majority has it")
		}
		s.set(s.mute, "n2", true)
		began := time.Now()
		err := s.nodes["n1"].Store(t.Context(), subjectKey("leo", 0, 3))
		wantCode(t, err, tap.Unavailable, "keyring_quorum")
		if d := tap.AsError(err).Details; d["answered"] != 1 || d["needed"] != 2 || time.Since(began) != storeTimeout {
			t.Errorf("%v after %v", d, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := s.nodes["n1"].Store(ctx, first); !tap.IsKind(err, tap.Timeout) {
			t.Errorf("waited longer than its caller: %v", err)
		}
		synctest.Wait()
	})
}

func TestAloneAKeyIsSafeAtOnce(t *testing.T) {
	s := newSite(t, "n1")
	must(t, s.nodes["n1"].Store(t.Context(), subjectKey("ana", 0, 1)))
	if s.dials.Load() != 0 {
		t.Error("asked somebody")
	}
}

// A key of a generation that somebody knows to be over is not safe anywhere.
func TestAPeerThatIsAheadRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1", "n2", "n3")
		s.nodes["n2"].ring.Advance("main", "ana", 1)
		s.set(s.down, "n3", true)
		key := subjectKey("ana", 0, 1)
		wantCode(t, s.nodes["n1"].Store(t.Context(), key), tap.Conflict, "generation_over")
		if s.nodes["n2"].ring.Has(key.ID()) {
			t.Error("it took the key")
		}
		s.nodes["n1"].ring.Advance("main", "ana", 1)
		wantCode(t, s.nodes["n1"].Store(t.Context(), key), tap.Conflict, "generation_over")
	})
}

// What a node lacks comes from the others, in pages; what is equal costs one question.
func TestNodesBecomeEqual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1", "n2")
		var keys []Secret
		for n := range 3 * maxGet {
			keys = append(keys, subjectKey(fmt.Sprint("s", n), 0, byte(n)))
		}
		keys = append(keys, LogSecret(2, string(make([]byte, MaxLogKeys))), LogSecret(3, "keys"))
		must(t, s.nodes["n1"].ring.Put(keys...))
		must(t, s.nodes["n2"].ring.Put(subjectKey("only-n2", 0, 9)))
		s.nodes["n2"].ring.Advance("main", "s1", 1)
		s.nodes["n2"].Sync(t.Context())
		if count, _ := s.nodes["n2"].ring.Digest(); count != len(keys) || s.nodes["n2"].ring.Held("main", "s1") != 0 {
			t.Errorf("%d of %d", count, len(keys))
		}
		s.nodes["n1"].ring.Advance("main", "s1", 1)
		s.nodes["n1"].Sync(t.Context())
		c1, x1 := s.nodes["n1"].ring.Digest()
		if c2, x2 := s.nodes["n2"].ring.Digest(); c1 != c2 || x1 != x2 {
			t.Errorf("%d and %d secrets", c1, c2)
		}
	})
}

func TestRunFollowsTheMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1", "n2")
		key, later := subjectKey("ana", 0, 1), subjectKey("eva", 0, 1)
		must(t, s.nodes["n1"].ring.Put(key))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { s.nodes["n2"].Run(ctx) })
		synctest.Wait()
		if !s.nodes["n2"].ring.Has(key.ID()) {
			t.Fatal("it did not begin with a comparison")
		}
		n3 := s.join("n3")
		synctest.Wait() // the join woke it, before n3 had anything; the next turn finds it
		must(t, n3.ring.Put(later))
		synctest.Wait()
		if s.nodes["n2"].ring.Has(later.ID()) {
			t.Error("the test shows nothing")
		}
		<-time.After(2 * SyncInterval)
		synctest.Wait()
		if !s.nodes["n2"].ring.Has(later.ID()) {
			t.Error("a later key did not come")
		}
		must(t, s.nodes["n1"].ring.Put(subjectKey("leo", 0, 1)))
		s.join("n4")
		synctest.Wait()
		if s.nodes["n2"].ring.Held("main", "leo") != 1 {
			t.Error("a change of the members was not noticed")
		}
		cancel()
		wg.Wait()
		if err := s.nodes["n2"].Store(t.Context(), key); !tap.IsKind(err, tap.Unavailable) {
			t.Errorf("begins something after its end: %v", err)
		}
	})
}

func TestFetching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1", "n2", "n3")
		key := subjectKey("ana", 0, 1)
		must(t, s.nodes["n3"].ring.Put(key))
		got, err := s.nodes["n1"].Fetch(t.Context(), key.ID())
		if err != nil || got.ID() != key.ID() || !s.nodes["n1"].ring.Has(key.ID()) {
			t.Fatal(err)
		}
		// Destroyed here: nobody is asked.
		s.nodes["n1"].ring.Advance("main", "ana", 1)
		synctest.Wait()
		before := s.dials.Load()
		_, err = s.nodes["n1"].Fetch(t.Context(), key.ID())
		wantCode(t, err, tap.NotFound, "erased")
		if s.dials.Load() != before {
			t.Error("asked somebody for what it destroyed")
		}
		// Known to be over, and the others are behind.
		s.nodes["n2"].ring.Advance("main", "ana", 1)
		_, err = s.nodes["n2"].Fetch(t.Context(), key.ID())
		wantCode(t, err, tap.NotFound, "erased")
		if s.nodes["n2"].ring.Has(key.ID()) {
			t.Error("it took the key")
		}
	})
}

// A key is gone when a majority says so; fewer cannot tell.
func TestFetchingWhatNobodyHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1", "n2", "n3")
		s.set(s.mute, "n3", true)
		began := time.Now()
		_, err := s.nodes["n2"].Fetch(t.Context(), ID{1})
		wantCode(t, err, tap.NotFound, "erased")
		if took := time.Since(began); took != fetchGrace {
			t.Errorf("waited for %v for the one that hangs", took)
		}
		s.set(s.down, "n1", true)
		_, err = s.nodes["n2"].Fetch(t.Context(), ID{2})
		wantCode(t, err, tap.Unavailable, "keyring_quorum")

		// What was found out is not asked again and again, and not believed for ever.
		before := s.dials.Load()
		for range 100 {
			_, err = s.nodes["n2"].Fetch(t.Context(), ID{1})
			wantCode(t, err, tap.NotFound, "erased")
			_, err = s.nodes["n2"].Fetch(t.Context(), ID{2})
			wantCode(t, err, tap.Unavailable, "keyring_quorum")
		}
		if s.dials.Load() != before {
			t.Error("asked again")
		}
		s.set(s.mute, "n3", false)
		<-time.After(unknownFor)
		_, err = s.nodes["n2"].Fetch(t.Context(), ID{2})
		wantCode(t, err, tap.NotFound, "erased")
	})
}

func TestOnlySoMuchIsRememberedAsAbsent(t *testing.T) {
	n := newSite(t, "n1").nodes["n1"]
	for k := range maxAbsent + 10 {
		n.absent.remember(ID{byte(k), byte(k >> 8), 9}, errors.New("erased"), erasedFor)
	}
	if kept := len(n.absent.keys); kept > maxAbsent {
		t.Errorf("%d keys are remembered", kept)
	}
}

func TestAMemberThatCannotStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1", "n2")
		must(t, s.nodes["n2"].ring.Close())
		wantCode(t, s.nodes["n1"].Store(t.Context(), subjectKey("ana", 0, 1)), tap.Unavailable, "keyring_quorum")
	})
}

// frame is one message between members.
type frame struct {
	kind byte
	body []byte
}

// answered is n1 whose only other member gives these answers, whatever it is asked.
func answered(t *testing.T, answers ...frame) *Exchange {
	t.Helper()
	return NewExchange(ExchangeConfig{
		Ring: openRing(t, t.TempDir()), Self: "n1", Members: func() []string { return []string{"n1", "n2"} },
		Dial: func(context.Context, string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				defer far.Close()
				for _, a := range answers {
					if _, _, err := readFrame(far); err != nil || writeFrame(far, a.kind, a.body) != nil {
						return
					}
				}
			}()
			return near, nil
		},
	})
}

// A member that answers nonsense, or something else than it was asked, changes nothing.
func TestStrangeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := frame{frameState, appendState(nil, 9, ID{1})}
		one := frame{frameIDs, appendIDs(nil, []ID{{1}})}
		for name, answers := range map[string][]frame{
			"refused":         {{frameRefused, nil}},
			"no state":        {{frameState, []byte{1}}},
			"not ascending":   {state, {frameIDs, appendIDs(nil, []ID{{2}, {1}})}},
			"never ending":    {state, {frameIDs, appendIDs(nil, []ID{{}})}},
			"another secret":  {state, one, {frameSecrets, appendSecrets(nil, []Secret{subjectKey("eva", 0, 1)})}},
			"broken secrets":  {state, one, {frameSecrets, []byte{0}}},
			"too many ids":    {state, {frameIDs, []byte{255, 255}}},
			"another's frame": {{frameStored, []byte{0, 1, 1}}},
		} {
			e := answered(t, answers...)
			if err := e.syncWith(t.Context(), "n2"); err == nil {
				t.Errorf("%s: no error", name)
			}
			if count, _ := e.config.Ring.Digest(); count != 0 {
				t.Errorf("%s: something was stored", name)
			}
		}
	})
}

func TestStrangeReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, receipt := range [][]byte{{}, {0, 1}, {0, 1, 9}, {0, 2, 1}, {1, 1, 1}} {
			err := answered(t, frame{frameStored, receipt}).Store(t.Context(), subjectKey("ana", 0, 1))
			if !tap.IsKind(err, tap.Unavailable) {
				t.Errorf("%v counts as stored: %v", receipt, err)
			}
		}
	})
}

// Members that only follow get secrets, and nothing waits for them.
func TestObserversAreNotNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1", "o1", "o2")
		for _, n := range s.nodes {
			n.config.Voters = func() []string { return []string{"n1"} }
		}
		first, second := subjectKey("ana", 0, 1), subjectKey("eva", 0, 2)
		must(t, s.nodes["n1"].Store(t.Context(), first))
		synctest.Wait()
		if !s.nodes["o1"].ring.Has(first.ID()) || !s.nodes["o2"].ring.Has(first.ID()) {
			t.Error("an observer that can be reached lacks it")
		}
		s.set(s.down, "o1", true)
		s.set(s.mute, "o2", true)
		must(t, s.nodes["n1"].Store(t.Context(), second))
		began := time.Now()
		_, err := s.nodes["n1"].Fetch(t.Context(), subjectKey("leo", 0, 3).ID())
		wantCode(t, err, tap.NotFound, "erased")
		if time.Since(began) > fetchGrace {
			t.Errorf("waited %v for observers", time.Since(began))
		}
		s.set(s.down, "o1", false)
		s.set(s.down, "n1", true)
		wantCode(t, s.nodes["o1"].Store(t.Context(), subjectKey("leo", 0, 4)), tap.Unavailable, "keyring_quorum")
	})
}

// A disk that takes nothing more does not keep anybody from reading; an erasure does.
func TestAFetchedKeyOpensWithoutRoomForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1", "n2")
		first, second := subjectKey("ana", 0, 1), subjectKey("eva", 0, 2)
		must(t, s.nodes["n1"].ring.Put(first, second))
		full := &faults{lazy: true, write: func(string, []byte) (int, error) { return 0, syscall.ENOSPC }}
		ring, err := Open(Config{Dir: s.nodes["n2"].dir, Sealing: sealing, OpenFile: full.open})
		must(t, err)
		t.Cleanup(func() { _ = ring.Close() })
		reader := NewExchange(ExchangeConfig{Ring: ring, Self: "n2", Members: s.members, Dial: s.nodes["n2"].config.Dial})
		if got, err := reader.Fetch(t.Context(), first.ID()); err != nil || got.ID() != first.ID() {
			t.Errorf("%v", err)
		}
		ring.Advance("main", "eva", 1)
		_, err = reader.Fetch(t.Context(), second.ID())
		wantCode(t, err, tap.NotFound, "erased")
	})
}
