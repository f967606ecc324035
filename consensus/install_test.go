package consensus

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"tamv.internal/tamv/consensus/snapshot"
)

// fileMeter is a StreamLayer that counts the bytes a member receives on connections for files, and calls at in between.
type fileMeter struct {
	StreamLayer

	mu    sync.Mutex
	total int64
	at    []meterStop // in order
}

// meterStop is what happens when so many bytes were received: do is called, then the connection is cut if do says so.
type meterStop struct {
	bytes int64
	do    func() (cut bool)
}

func (m *fileMeter) Dial(address string, timeout time.Duration) (net.Conn, error) {
	conn, err := m.StreamLayer.Dial(address, timeout)
	if err != nil {
		return nil, err
	}
	return &meteredConn{Conn: conn, meter: m}, nil
}

func (m *fileMeter) read() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.total
}

type meteredConn struct {
	net.Conn
	meter   *fileMeter
	purpose byte
}

func (c *meteredConn) Write(p []byte) (int, error) {
	if c.purpose == 0 {
		c.purpose = p[0]
	}
	return c.Conn.Write(p)
}

func (c *meteredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.purpose != purposeFiles {
		return n, err
	}
	m := c.meter
	m.mu.Lock()
	m.total += int64(n)
	var stop *meterStop
	if len(m.at) > 0 && m.total >= m.at[0].bytes {
		stop, m.at = &m.at[0], m.at[1:]
	}
	m.mu.Unlock()
	if stop != nil && stop.do() {
		c.Conn.Close()
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

func listenTCP(t testing.TB) StreamLayer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return tcpStream{l}
}

// openFirst founds a cluster whose state has so many parts, and takes a snapshot, so that its log does not begin at its beginning.
func openFirst(t testing.TB, stream StreamLayer, parts, size int) member {
	t.Helper()
	cfg := testConfig(t, t.TempDir())
	cfg.TrailingLogs, cfg.Stream = 1, stream
	m := member{cfg: cfg, chain: openChain(&chainDisk{dir: t.TempDir()})}
	if err := m.chain.disk.addParts(m.chain.disk.dir, parts, size); err != nil {
		t.Fatal(err)
	}
	m.Node = openLeader(t, cfg, m.chain)
	for i := range 20 {
		mustPropose(t, m.Node, fmt.Sprint("before", i))
	}
	if err := m.Node.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m
}

// newMember prepares a member that will join.
func newMember(t testing.TB, id string, stream StreamLayer) member {
	cfg := testConfig(t, t.TempDir())
	cfg.ID, cfg.Joining, cfg.TrailingLogs, cfg.Stream = id, true, 1, stream
	return member{cfg: cfg, chain: openChain(&chainDisk{dir: t.TempDir()})}
}

// mustHaveParts compares the parts of two states.
func mustHaveParts(t testing.TB, want, got *chainDisk) {
	t.Helper()
	has := map[[32]byte]bool{}
	for _, part := range got.readParts() {
		data, err := os.ReadFile(part.path)
		if err != nil || sha256.Sum256(data) != part.sum {
			t.Fatalf("part %s is not what it should be: %v", part.path, err)
		}
		has[part.sum] = true
	}
	for _, part := range want.readParts() {
		if !has[part.sum] {
			t.Fatalf("part %x of %d is missing among %d", part.sum[:4], part.size, len(has))
		}
	}
}

// awaitEntries waits until a member has applied what another has.
func awaitEntries(t testing.TB, leader, m member) {
	t.Helper()
	want := leader.chain.read()
	err := m.await(t.Context(), &m.fsm.moved, func() (bool, error) { return m.chain.read().Applied >= want.Applied, m.Err() })
	if got := m.chain.read(); err != nil || got.Head != want.Head {
		t.Fatalf("%s is at %d, the leader at %d: %v", m.cfg.ID, got.Applied, want.Applied, err)
	}
}

func TestMemberIsBroughtFilesWhileTheLeaderWrites(t *testing.T) {
	const parts, size = 16, 4 << 20
	first := openFirst(t, listenTCP(t), parts, size)
	meter := &fileMeter{StreamLayer: listenTCP(t)}
	second := newMember(t, "n2", meter)
	// Five times on the way the leader goes on and trims its log, and the connection breaks.
	for i := range 5 {
		meter.at = append(meter.at, meterStop{int64(7+10*i) << 20, func() bool {
			for j := range 10 {
				mustPropose(t, first.Node, fmt.Sprint("meanwhile", i, j))
			}
			if err := first.Node.Snapshot(t.Context()); err != nil {
				t.Error(err)
			}
			return true
		}})
	}
	second.Node = openNode(t, second.cfg, second.chain)
	if err := first.Add(t.Context(), "n2", meter.Addr().String()); err != nil {
		t.Fatal(err)
	}
	awaitEntries(t, first, second)
	mustHaveParts(t, first.chain.disk, second.chain.disk)
	if len(meter.at) != 0 {
		t.Errorf("%d connections were not cut", len(meter.at))
	}
	if got := meter.read(); got > parts*size*12/10 {
		t.Errorf("%d bytes were pulled for a state of %d", got, parts*size)
	}
	// The log was kept for it: there was no second snapshot.
	if second.chain.disk.restores != 1 {
		t.Errorf("%d restores", second.chain.disk.restores)
	}
}

func TestReceiverDiesAndGoesOn(t *testing.T) {
	const parts, size = 8, 256 << 10
	first := openFirst(t, listenTCP(t), parts, size)
	meter := &fileMeter{StreamLayer: listenTCP(t)}
	second := newMember(t, "n2", meter)
	address := meter.Addr().String()
	pulled := int64(0)
	for life := range 5 {
		if life == 3 {
			second.chain.restoreErr = errors.New("the process dies here")
		}
		n, err := Open(second.cfg, second.chain)
		if err != nil {
			t.Fatalf("life %d: %v", life, err)
		}
		second.Node = n
		died := make(chan struct{})
		switch {
		case life == 0:
			if err := first.Add(t.Context(), "n2", address); err != nil {
				t.Fatal(err)
			}
			fallthrough
		case life < 3: // in the middle of the files
			meter.mu.Lock()
			meter.at = []meterStop{{meter.total + parts*size/4, func() bool { close(died); return true }}}
			meter.mu.Unlock()
			<-died
		case life == 3: // when the snapshot is there and does not replace the state yet
			<-n.Halted()
		default:
			awaitEntries(t, first, second)
			mustHaveParts(t, first.chain.disk, second.chain.disk)
			if second.chain.disk.restores != 1 {
				t.Errorf("%d restores", second.chain.disk.restores)
			}
		}
		pulled = meter.read()
		mustClose(t, n)
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		meter.StreamLayer = tcpStream{l}
		second.chain = openChain(second.chain.disk)
	}
	meter.StreamLayer.Close()
	if pulled > parts*size*12/10 {
		t.Errorf("%d bytes were pulled for a state of %d", pulled, parts*size)
	}
}

// flip changes one byte of a file in place.
func flip(t testing.TB, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedFileIsNeverInstalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		first := openFirst(t, w.listen("n1"), 3, 10_000)
		part := first.chain.disk.parts[1]
		flip(t, part.path, 5000)

		second := newMember(t, "n2", w.listen("n2"))
		second.Node = openNode(t, second.cfg, second.chain)
		if err := first.Add(t.Context(), "n2", "n2"); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		if got := second.chain.read(); got.Count != 0 || second.chain.disk.restores != 0 {
			t.Fatalf("a state of %d commands was installed", got.Count)
		}
		if err := first.FetchPart(t.Context(), part.sum, io.Discard); !errors.Is(err, ErrNoPart) {
			t.Errorf("a part that nobody has: %v", err)
		}
		// The state's file is replaced, the next snapshot is whole, and the member is brought it.
		flip(t, part.path, 5000)
		awaitEntries(t, first, second)
		mustHaveParts(t, first.chain.disk, second.chain.disk)

		// Now the other member has what the leader may lose.
		flip(t, part.path, 77)
		var got bytes.Buffer
		if err := first.FetchPart(t.Context(), part.sum, &got); err != nil || sha256.Sum256(got.Bytes()) != part.sum {
			t.Errorf("%d bytes, error %v", got.Len(), err)
		}
		// A third member is brought the right file by the one that has it, though the leader's is wrong.
		third := newMember(t, "n3", w.listen("n3"))
		third.Node = openNode(t, third.cfg, third.chain)
		if err := first.Add(t.Context(), "n3", "n3"); err != nil {
			t.Fatal(err)
		}
		awaitEntries(t, first, third)
		mustHaveParts(t, second.chain.disk, third.chain.disk)
	})
}

func TestFilesAreServedInTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		first := openFirst(t, w.listen("n1"), 2, 100_000)
		s := newStreams(w.listen("x"), first.cfg.Logger)
		defer s.close()
		sum := first.chain.disk.parts[0].sum
		// Two that do not read what they asked for take all the turns, for a while.
		for range maxTransfers {
			conn, err := s.dial("n1", time.Second, purposeFiles)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write(append(sum[:], make([]byte, 8)...)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		peer := &peerFiles{streams: s, address: "n1"}
		defer peer.close()
		if err := peer.Fetch(t.Context(), sum, 0, io.Discard); err != nil && !errors.Is(err, ErrBusy) {
			t.Errorf("while others are served: %v", err)
		}
		<-time.After(fileTimeout)
		var got bytes.Buffer
		if err := peer.Fetch(t.Context(), sum, 90_000, &got); err != nil || got.Len() != 10_000 {
			t.Errorf("%d bytes, error %v", got.Len(), err)
		}
		if err := peer.Fetch(t.Context(), sum, 100_001, &got); !errors.Is(err, errNoFile) {
			t.Errorf("beyond the end: %v", err)
		}
		if err := peer.Fetch(t.Context(), [32]byte{1}, 0, &got); !errors.Is(err, errNoFile) {
			t.Errorf("an unknown file: %v", err)
		}
	})
}

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

func TestHeldLog(t *testing.T) {
	log, err := openLog(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l := newHeldLog(log)
	defer l.Close()
	l.bound = 1000
	entries := make([]*raft.Log, 100)
	for i := range entries {
		entries[i] = &raft.Log{Index: uint64(i + 1), Term: 1, Type: raft.LogCommand, Data: make([]byte, 10)}
	}
	if err := l.StoreLogs(entries); err != nil {
		t.Fatal(err)
	}
	first := func(last uint64) uint64 {
		t.Helper()
		from, err1 := l.FirstIndex()
		err2 := l.DeleteRange(from, last)
		got, err3 := l.FirstIndex()
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := first(10); got != 10 {
		t.Errorf("the log begins at %d: one entry more than asked for is kept", got)
	}
	release, also := l.hold(20), l.hold(30)
	if got := first(50); got != 20 {
		t.Errorf("the log begins at %d though it is held at 20", got)
	}
	release()
	if got := first(50); got != 30 {
		t.Errorf("the log begins at %d though it is held at 30", got)
	}
	if got := first(25); got != 30 {
		t.Errorf("the log begins at %d", got)
	}
	for i := range 100 {
		if err := l.StoreLog(&raft.Log{Index: uint64(101 + i), Term: 1, Data: make([]byte, 11)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := first(60); got != 60 {
		t.Errorf("the log begins at %d though more was appended than it is held for", got)
	}
	also()
	defer l.hold(70)()
	if got := first(90); got != 70 {
		t.Errorf("the log begins at %d: a later hold counts anew", got)
	}
	if err := l.DeleteRange(150, 200); err != nil {
		t.Fatal(err)
	}
	if err := l.DeleteRange(70, 149); err != nil {
		t.Fatal(err)
	}
	if last, err := l.LastIndex(); last != 0 || err != nil {
		t.Errorf("entries up to %d are left, error %v: all were to go", last, err)
	}
	if !l.IsMonotonic() {
		t.Error("the log no longer says that it has no gaps")
	}
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

// BenchmarkPull brings 64 MiB in files of 4 MiB to a member over loopback, each verified and on disk when it is done.
func BenchmarkPull(b *testing.B) {
	const parts, size = 16, 4 << 20
	first := openFirst(b, listenTCP(b), parts, size)
	b.SetBytes(parts * size)
	for b.Loop() {
		m := newMember(b, "n2", listenTCP(b))
		m.Node = openNode(b, m.cfg, m.chain)
		manifest, err := first.newestManifest()
		if err != nil {
			b.Fatal(err)
		}
		if err := pullFiles(b.Context(), m.calls.streams, m.installs.snapshots, m.chain, manifest, []string{first.cfg.Stream.Addr().String()}, nil); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		mustClose(b, m.Node)
		b.StartTimer()
	}
}

func (m member) newestManifest() (snapshot.Manifest, error) {
	newest, err := newestSnapshot(m.installs.snapshots)
	if err != nil {
		return nil, err
	}
	_, r, err := m.installs.snapshots.Open(newest.ID)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return snapshot.ParseManifest(data)
}
