package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"time"

	"github.com/google/uuid"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/tlog"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
)

// prover makes proofs that entries are in a log.
type prover struct {
	system
	// open makes a log of so many entries; its folder is empty.
	open func(ctx context.Context, folder string, entries int) (*openProver, error)
}

// openProver is a log that is ready to prove.
type openProver struct {
	size   uint64
	prove  func(position uint64) error
	verify func(position uint64) error // that what prove makes is a proof
	close  func() error
}

var ourProver = prover{
	system: system{name: "tamv", version: ourVersion, setting: "bookpi.InclusionProof from the store's files and its cache of folded tiles"},
	open:   openOurProver,
}

// openOurProver fills a store as its log would, with entries of 64 to a batch.
func openOurProver(_ context.Context, folder string, entries int) (*openProver, error) {
	s, err := store.Open(folder, nil)
	if err != nil {
		return nil, err
	}
	const perBatch, perPack = 64, 16
	b := store.Batch{Tenant: "plaza"}
	for range perBatch {
		b.Evidence = append(b.Evidence, store.Evidence{Actor: "did:tamv:user:9f3c2a71", Action: "intent.execute", Outcome: "ok"})
	}
	for index := uint64(1); entries > 0; index++ {
		var commands [][]byte
		for ; entries > 0 && len(commands) < perPack; entries -= perBatch {
			b.RequestID = uuid.New()
			command, err := store.EncodeBatch(b)
			if err != nil {
				return nil, errors.Join(err, s.Close())
			}
			commands = append(commands, command)
		}
		if _, err := s.Apply(index, int64(index), commands); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if err := s.Flush(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	size, root := s.Size()
	return &openProver{
		size: size,
		prove: func(position uint64) error {
			_, err := bookpi.InclusionProof(size, position, s)
			return err
		},
		verify: func(position uint64) error {
			r, err := s.Record(position)
			if err != nil {
				return err
			}
			path, err := bookpi.InclusionProof(size, position, s)
			if err != nil {
				return err
			}
			return bookpi.VerifyInclusion(bookpi.LeafHash(r.Entry), position, size, path, root)
		},
		close: s.Close,
	}, nil
}

var tlogProver = prover{
	system: system{name: "tlog", version: moduleVersion("golang.org/x/mod"), setting: "tlog.ProveRecord from all stored hashes in memory"},
	open:   openTlogProver,
}

func openTlogProver(_ context.Context, _ string, entries int) (*openProver, error) {
	m, err := newMirror(entries)
	if err != nil {
		return nil, err
	}
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for i, at := range indexes {
			found[i] = stored[at]
		}
		return found, nil
	})
	for i, leaf := range m.leaves {
		more, err := tlog.StoredHashesForRecordHash(int64(i), tlog.Hash(leaf), reader)
		if err != nil {
			return nil, err
		}
		stored = append(stored, more...)
	}
	size := int64(m.size)
	return &openProver{
		size: m.size,
		prove: func(position uint64) error {
			_, err := tlog.ProveRecord(size, int64(position), reader)
			return err
		},
		verify: func(position uint64) error {
			path, err := tlog.ProveRecord(size, int64(position), reader)
			if err != nil {
				return err
			}
			return tlog.CheckRecord(path, size, tlog.Hash(m.root), int64(position), tlog.Hash(m.leaves[position]))
		},
		close: func() error { return nil },
	}, nil
}

var tesseraProver = prover{
	system: system{name: "tessera", version: moduleVersion(tesseraModule), setting: "client.ProofBuilder from tiles in memory and its own cache"},
	open:   openTesseraProver,
}

func openTesseraProver(ctx context.Context, _ string, entries int) (*openProver, error) {
	m, err := newMirror(entries)
	if err != nil {
		return nil, err
	}
	builder, err := client.NewProofBuilder(ctx, m.size, tesseraFiles{m}.ReadTile)
	if err != nil {
		return nil, err
	}
	return &openProver{
		size: m.size,
		prove: func(position uint64) error {
			_, err := builder.InclusionProof(ctx, position)
			return err
		},
		verify: func(position uint64) error {
			path, err := builder.InclusionProof(ctx, position)
			if err != nil {
				return err
			}
			return proof.VerifyInclusion(rfc6962.DefaultHasher, position, m.size, m.leaves[position][:], path, m.root[:])
		},
		close: func() error { return nil },
	}, nil
}

// someProofs are verified before proofs are counted.
const someProofs = 100

func measureProve(ctx context.Context, p prover, s settings) (r workResult, err error) {
	r = workResult{System: p.name, Setting: p.setting, Entries: uint64(s.entries)}
	if r.Version, err = p.version(); err != nil {
		return r, err
	}
	folder, err := os.MkdirTemp(s.dir, "tamv-ledger-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	l, err := p.open(ctx, folder, s.entries)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	random := rand.New(rand.NewPCG(1, 2)) // the same positions for all
	for range someProofs {
		if err := l.verify(random.Uint64N(l.size)); err != nil {
			return r, err
		}
	}
	for position := uint64(0); position < l.size; position += bookpi.TileWidth { // fill whatever is cached
		if err := l.prove(position); err != nil {
			return r, err
		}
	}
	runtime.GC()
	r.SHA256 = hashRate()
	end := span()
	var made uint64
	for began := time.Now(); made%1024 != 0 || time.Since(began) < s.duration; made++ {
		if err := l.prove(random.Uint64N(l.size)); err != nil {
			return r, err
		}
	}
	end(&r, made)
	return r, ctx.Err()
}
