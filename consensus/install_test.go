package consensus

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"tamv.internal/tamv/consensus/snapshot"
)

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
