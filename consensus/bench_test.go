package consensus

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// noop is a state machine that does nothing.
type noop struct{}

var noOutcomes [2048]any

func (noop) Applied() uint64 { return 0 }
func (noop) Clock() int64    { return 0 }
func (noop) Apply(_ uint64, _ int64, commands [][]byte) ([]any, error) {
	return noOutcomes[:len(commands)], nil
}
func (noop) Snapshot() (Snapshot, error)     { return noop{}, nil }
func (noop) Restore(string) error            { return nil }
func (noop) Part([32]byte) (*os.File, error) { return nil, ErrNoPart }
func (noop) WriteTo(string) ([]File, error)  { return nil, nil }
func (noop) Release()                        {}

// BenchmarkPropose commits commands of 512 bytes on disk with a state machine that does nothing. Beside the rate it
// reports the machine's own: fdatasyncs of 64 KiB a second in the same folder, measured just before.
func BenchmarkPropose(b *testing.B) {
	for _, writers := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			syncs := fdatasyncRate(b)
			cfg := testConfig(b, b.TempDir())
			n := openLeader(b, cfg, noop{})
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.ResetTimer()
			begin := time.Now()
			for range writers {
				wg.Go(func() {
					command := make([]byte, 512) // noise: nothing is gained by compression
					rand.Read(command)
					for left.Add(-1) >= 0 {
						if _, err := n.Propose(context.Background(), command); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			took := time.Since(begin).Seconds()
			c := n.Counters()
			b.ReportMetric(float64(b.N)/took, "commands/s")
			b.ReportMetric(float64(c.Commands)/float64(c.Packs), "commands/pack")
			b.ReportMetric(syncs, "fdatasyncs/s")
		})
	}
}

// BenchmarkLinearizableRead measures reads that share rounds.
func BenchmarkLinearizableRead(b *testing.B) {
	n := openLeader(b, testConfig(b, b.TempDir()), noop{})
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := n.Read(context.Background(), Linearizable); err != nil {
				b.Error(err)
			}
		}
	})
}

// fdatasyncRate overwrites and syncs 64 KiB of a written file for a quarter of a second.
func fdatasyncRate(b *testing.B) float64 {
	f, err := os.Create(filepath.Join(b.TempDir(), "probe"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	count, begin := 0, time.Now()
	for time.Since(begin) < 250*time.Millisecond {
		if _, err := f.WriteAt(block, 0); err != nil {
			b.Fatal(err)
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
		count++
	}
	return float64(count) / time.Since(begin).Seconds()
}
