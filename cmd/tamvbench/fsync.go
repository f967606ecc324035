package main

import (
	"errors"
	"os"
	"slices"
	"time"

	"tamv.internal/tamv/tap"
)

// fsyncSpan is how long, at most, the disk is measured beside a load.
const fsyncSpan = time.Second

// fsyncRate is how often per second this machine writes and syncs 4 KiB to a
// file of its own in dir, one after the other: the rate at which a single
// writer without batching could acknowledge. p50 is the median of one.
func fsyncRate(dir string, d time.Duration) (perSecond float64, p50 time.Duration, err error) {
	f, err := os.CreateTemp(dir, "tamvbench-fsync-*")
	if err != nil {
		return 0, 0, tap.Wrap("bench.fsync", tap.Invalid, err, "the folder for the fsync measurement cannot be written")
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	page := make([]byte, 4096)
	var took []time.Duration
	began := time.Now()
	for time.Since(began) < d {
		one := time.Now()
		if _, err = f.Write(page); err == nil {
			err = f.Sync()
		}
		if err != nil {
			return 0, 0, tap.Wrap("bench.fsync", tap.Unavailable, err, "the disk cannot be measured")
		}
		took = append(took, time.Since(one))
	}
	elapsed := time.Since(began).Seconds()
	slices.Sort(took)
	return float64(len(took)) / elapsed, took[len(took)/2], nil
}
