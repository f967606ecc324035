package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"

	"tamv.internal/tamv/cmd/tamvbench/load"
	"tamv.internal/tamv/store/bookpi"
)

// judge verifies whole logs.
type judge struct {
	system
	check func(ctx context.Context, m *mirror) error
}

var ourJudge = judge{
	system: system{
		name: "tamv", version: ourVersion,
		setting: "bookpi.Audit: every entry parsed strictly, chain, tree, every tile and the signed checkpoint",
	},
	check: func(ctx context.Context, m *mirror) error {
		report, err := bookpi.Audit(ctx, m, bookpi.AuditOptions{VerifierKey: m.key, Workers: 1})
		if err == nil && report.Entries != m.size {
			err = fmt.Errorf("%d of %d entries were looked at", report.Entries, m.size)
		}
		return err
	},
}

var tesseraJudge = judge{
	system: system{
		name: "tessera", version: moduleVersion(tesseraModule),
		setting: "fsck of the same files, with our leaf hash: tree, every tile and the signed checkpoint; no chain, entries opaque",
	},
	check: func(ctx context.Context, m *mirror) error {
		verifier, err := note.NewVerifier(m.key)
		if err != nil {
			return err
		}
		return fsck.New(tesseraOrigin, verifier, tesseraFiles{m}, bundleLeaves, fsck.Opts{N: 1}).Check(ctx)
	},
}

var hashJudge = judge{
	system: system{
		name: "sha256", version: func() (string, error) { return runtime.Version() + " " + runtime.GOARCH, nil },
		setting: "no judge: one hash of each entry and one of a node each, what no verification can leave out",
	},
	check: func(_ context.Context, m *mirror) error {
		raw, hash := template.Append(nil), bookpi.Hash{}
		for range m.size {
			hash = bookpi.NodeHash(bookpi.LeafHash(raw), hash)
		}
		if hash == (bookpi.Hash{}) {
			return errors.New("the hashes were not computed")
		}
		return nil
	},
}

// workResult is what `ledger verify` and `ledger prove` print.
type workResult struct {
	System     string  `json:"system"`
	Version    string  `json:"version"`
	Setting    string  `json:"setting"`
	Entries    uint64  `json:"entries"`    // of the log
	Operations uint64  `json:"operations"` // entries verified, or proofs made
	Seconds    float64 `json:"seconds"`
	CPU        float64 `json:"cpu_s"`
	// PerCPU is operations per second of CPU time: what one core does.
	PerCPU float64 `json:"operations_per_cpu_s"`
	SHA256 float64 `json:"sha256_mb_per_s"` // of one core, just before
}

// span measures what happens from now on.
func span() (end func(r *workResult, operations uint64)) {
	began, cpu := time.Now(), load.OwnCPU()
	return func(r *workResult, operations uint64) {
		used := load.OwnCPU() - cpu
		r.Operations, r.Seconds, r.CPU = operations, load.Round(time.Since(began).Seconds()), load.Round(used)
		if used > 0 {
			r.PerCPU = load.Round(float64(operations) / used)
		}
	}
}

func measureVerify(ctx context.Context, j judge, s settings) (r workResult, err error) {
	r = workResult{System: j.name, Setting: j.setting, Entries: uint64(s.entries)}
	if r.Version, err = j.version(); err != nil {
		return r, err
	}
	m, err := newMirror(s.entries)
	if err != nil {
		return r, err
	}
	// One processor, so that nobody's helpers hide behind another.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	runtime.GC()
	r.SHA256 = hashRate()
	end := span()
	var checked uint64
	for began := time.Now(); checked == 0 || time.Since(began) < s.duration; checked += m.size {
		if err := j.check(ctx, m); err != nil {
			return r, err
		}
	}
	end(&r, checked)
	return r, ctx.Err()
}

// hashRate is SHA-256 over blocks of 8 KiB in MB per second of CPU time.
func hashRate() float64 {
	var block [8 << 10]byte
	const blocks = 20_000
	began := load.OwnCPU()
	for range blocks {
		sum := sha256.Sum256(block[:])
		copy(block[:], sum[:])
	}
	return load.Round(blocks * float64(len(block)) / 1e6 / (load.OwnCPU() - began))
}
