package consensus

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// benchCluster is three members in this process, over loopback and with three logs on one disk.
func benchCluster(b *testing.B) (leader *Node, followers []*Node) {
	var nodes []*Node
	for i := range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		cfg := testConfig(b, b.TempDir())
		cfg.ID, cfg.Stream, cfg.Joining = fmt.Sprint("n", i+1), tcpStream{l}, i > 0
		if i == 0 {
			nodes = append(nodes, openLeader(b, cfg, noop{}))
			continue
		}
		m := member{Node: openNode(b, cfg, noop{}), cfg: cfg}
		mustJoin(b, member{Node: nodes[0]}, m)
		nodes = append(nodes, m.Node)
	}
	return nodes[0], nodes[1:]
}

// spread runs writers goroutines that call act until b.N calls were made.
func spread(b *testing.B, writers int, act func(writer int) error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	begin := time.Now()
	for i := range writers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := act(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "ops/s")
}

// BenchmarkCluster commits commands of 512 bytes with a state machine that does nothing, and reads.
func BenchmarkCluster(b *testing.B) {
	syncs := fdatasyncRate(b)
	leader, followers := benchCluster(b)
	command := make([]byte, 512)
	rand.Read(command)
	propose := func(n *Node) error {
		_, err := n.Propose(context.Background(), command)
		return err
	}
	from := map[string]func(writer int) *Node{
		"leader":    func(int) *Node { return leader },
		"follower":  func(int) *Node { return followers[0] },
		"followers": func(i int) *Node { return followers[i%2] },
	}
	for _, where := range []string{"leader", "follower", "followers"} {
		for _, writers := range []int{1, 64, 1024} {
			b.Run(fmt.Sprintf("propose=%s/writers=%d", where, writers), func(b *testing.B) {
				spread(b, writers, func(i int) error { return propose(from[where](i)) })
				b.ReportMetric(syncs, "fdatasyncs/s")
			})
		}
	}
	for _, where := range []string{"leader", "follower"} {
		for _, readers := range []int{1, 64, 1024} {
			b.Run(fmt.Sprintf("read=%s/readers=%d", where, readers), func(b *testing.B) {
				spread(b, readers, func(i int) error { return from[where](i).Read(context.Background(), Linearizable) })
			})
		}
	}
}

// BenchmarkIdleCluster measures the processor time of three members that have nothing to do, for one second each round.
func BenchmarkIdleCluster(b *testing.B) {
	benchCluster(b)
	begin := processorTime(b)
	b.ResetTimer()
	for range b.N {
		<-time.After(time.Second)
	}
	used := processorTime(b) - begin
	b.ReportMetric(100*used.Seconds()/(3*float64(b.N)), "%CPU/member")
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
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
