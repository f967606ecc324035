package wal

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// BenchmarkAppend measures appends of one size in entries of another, with a trim every 64 MiB as snapshots cause it. Beside the
// rate it reports how it compares with the bare write and fdatasync of as many bytes, measured just before and after.
func BenchmarkAppend(b *testing.B) {
	for _, shape := range []struct{ entries, size int }{{1, 512}, {1, 64 << 10}, {16, 4 << 10}} {
		b.Run(fmt.Sprintf("%dx%d", shape.entries, shape.size), func(b *testing.B) {
			total := shape.entries * (shape.size + frameSize)
			bare := bareRate(b, total)
			l := openTest(b, b.TempDir(), Options{})
			entries := make([]*raft.Log, shape.entries)
			for i := range entries {
				entries[i] = &raft.Log{Term: 1, Data: make([]byte, shape.size)}
			}
			last, sinceTrim := uint64(0), 0
			b.ReportAllocs()
			b.SetBytes(int64(total))
			b.ResetTimer()
			begin := time.Now()
			for range b.N {
				for _, e := range entries {
					last++
					e.Index = last
				}
				if err := l.StoreLogs(entries); err != nil {
					b.Fatal(err)
				}
				if sinceTrim += total; sinceTrim > 64<<20 {
					sinceTrim = 0
					if err := l.DeleteRange(1, last-uint64(shape.entries)); err != nil {
						b.Fatal(err)
					}
				}
			}
			rate := float64(b.N) / time.Since(begin).Seconds()
			b.StopTimer()
			bare = (bare + bareRate(b, total)) / 2
			b.ReportMetric(rate*float64(shape.entries), "entries/s")
			b.ReportMetric(bare, "bare-syncs/s")
			b.ReportMetric(rate/bare, "of-bare")
		})
	}
}

// bareRate overwrites and syncs size bytes of a zeroed file, one behind the other, for a quarter of a second.
func bareRate(b *testing.B, size int) float64 {
	d := disk{b.TempDir()}
	f, err := d.open("probe", true)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := zero(f, 0, defaultSegmentSize, func() {}); err != nil {
		b.Fatal(err)
	}
	block := make([]byte, size)
	count, at, begin := 0, int64(0), time.Now()
	for time.Since(begin) < 250*time.Millisecond {
		if at+int64(size) > defaultSegmentSize {
			at = 0
		}
		if _, err := f.WriteAt(block, at); err != nil {
			b.Fatal(err)
		}
		if err := f.sync(); err != nil {
			b.Fatal(err)
		}
		at += int64(size)
		count++
	}
	return float64(count) / time.Since(begin).Seconds()
}

// BenchmarkOpen opens, and so verifies, a log of 64 MiB.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	l := openTest(b, dir, Options{})
	for i := range uint64(1000) {
		if err := l.StoreLog(&raft.Log{Index: i + 1, Data: make([]byte, 64<<10)}); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(1000 * 64 << 10)
	for b.Loop() {
		l, err := Open(dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGetLog reads entries of 4 KiB.
func BenchmarkGetLog(b *testing.B) {
	l := openTest(b, b.TempDir(), Options{})
	const count = 256
	for i := range uint64(count) {
		mustStore(b, l, i+1, 4<<10)
	}
	var e raft.Log
	b.ReportAllocs()
	b.SetBytes(4 << 10)
	for i := uint64(0); b.Loop(); i++ {
		if err := l.GetLog(i%count+1, &e); err != nil {
			b.Fatal(err)
		}
	}
}
