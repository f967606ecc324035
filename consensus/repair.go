package consensus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"tamv.internal/tamv/consensus/snapshot"
	"tamv.internal/tamv/consensus/wal"
)

const (
	// offerTimeout bounds one request for an offer, during which the leader may take a snapshot.
	offerTimeout = 5 * time.Minute
	// offerRenewal is how often a member asks for its offer to be kept.
	offerRenewal = time.Minute
	// repairPause and maxRepairPause are the pauses between tries.
	repairPause    = 500 * time.Millisecond
	maxRepairPause = 10 * time.Second
	// repairNews is how often the progress of a repair is logged.
	repairNews = 5 * time.Second
)

// logFolder is where openLog keeps the log.
const logFolder = "wal"

// errBeyondRepair means that trying again cannot help.
var errBeyondRepair = errors.New("consensus: beyond repair")

// Repair makes a member whose Open returned ErrDamaged whole again, with the help of the others; Open then succeeds. It
// tries until it succeeds or ctx ends, and reports its progress to cfg.Logger. machine is asked only for the parts that it
// has; Open restores it.
//
// A member that lost entries of its log, or the snapshot before them, must not vote or acknowledge anything on what is left: it
// would help to elect a leader that lacks acknowledged commands. So Raft does not run here until the leader has
// made a snapshot of everything in its log and proved that it leads, and that snapshot is on this disk. Only then the damaged log is
// replaced by an empty one that begins behind it. The term and the vote are kept.
//
// It returns an error that wraps ErrDamaged at once if this cannot work: there are no other members, or the vote is lost.
func Repair(ctx context.Context, cfg Config, machine StateMachine) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg = cfg.withDefaults()
	snapshots, err := snapshot.OpenStore(cfg.Dir, cfg.RetainSnapshots, cfg.Logger)
	if err != nil {
		return fmt.Errorf("consensus: %w", err)
	}
	peers := otherMembers(cfg, snapshots)
	if cfg.Stream == nil || len(peers) == 0 {
		return fmt.Errorf("%w, and there is no other member to repair them from: recover this one from its own state, or restore a backup", ErrDamaged)
	}
	c := newCalls(newStreams(dialer{cfg.Stream, make(chan struct{})}, cfg.Logger), cfg.Logger)
	r := &repair{cfg: cfg, machine: machine, snapshots: snapshots, calls: c, peers: peers, log: cfg.Logger}
	err = r.run(ctx)
	return errors.Join(err, c.close())
}

// dialer is a StreamLayer of which only the dialling side is used, and which stays open when it is closed.
type dialer struct {
	StreamLayer
	closed chan struct{}
}

// Accept implements net.Listener.
func (d dialer) Accept() (net.Conn, error) {
	<-d.closed
	return nil, net.ErrClosed
}

// Close implements net.Listener.
func (d dialer) Close() error {
	close(d.closed)
	return nil
}

// repair is one run of Repair.
type repair struct {
	cfg       Config
	machine   StateMachine
	snapshots *snapshot.Store
	calls     *calls
	peers     []string // addresses
	log       *slog.Logger
}

// run tries until it succeeds.
func (r *repair) run(ctx context.Context) error {
	for wait := repairPause; ; wait = min(2*wait, maxRepairPause) {
		err := r.try(ctx)
		if err == nil || errors.Is(err, errBeyondRepair) {
			return err
		}
		r.log.Warn("the repair will be tried again", "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return errors.Join(contextError(ctx), err)
		}
	}
}

// try goes the whole way once.
func (r *repair) try(ctx context.Context) error {
	damaged, err := r.inspect()
	if err != nil {
		return err
	}
	offered, members, from, err := r.ask(ctx)
	if err != nil {
		return err
	}
	if err := r.pull(ctx, offered, from); err != nil {
		return err
	}
	if err := r.adopt(offered, members); err != nil {
		return err
	}
	if damaged {
		if err := wal.Reset(filepath.Join(r.cfg.Dir, logFolder)); err != nil {
			return fmt.Errorf("consensus: replace the log: %w", err)
		}
	}
	return r.joinLog(offered)
}

// inspect reports whether the log is damaged, and refuses what no other member can give back.
func (r *repair) inspect() (damaged bool, err error) {
	found, err := wal.Inspect(filepath.Join(r.cfg.Dir, logFolder))
	if err != nil {
		return false, fmt.Errorf("consensus: inspect the log: %w", err)
	}
	if found.Damage == nil {
		return false, nil
	}
	r.log.Error("the log is damaged", "error", found.Damage, "last", found.Last)
	if found.Stable == nil {
		return true, fmt.Errorf("%w: %w: this member's vote is lost with its log; remove the member and let it join anew", errBeyondRepair, ErrDamaged)
	}
	return true, nil
}

// ask returns the leader's offer.
func (r *repair) ask(ctx context.Context) (offerReply, raft.Configuration, string, error) {
	request, err := json.Marshal(offerRequest{Member: r.cfg.ID})
	if err != nil {
		return offerReply{}, raft.Configuration{}, "", err
	}
	var failures []error
	for _, address := range r.peers {
		callCtx, cancel := context.WithTimeout(ctx, offerTimeout)
		data, err := r.calls.call(callCtx, address, callOffer, request)
		cancel()
		if err == nil {
			reply, members, err := decodeOfferReply(data)
			if err == nil {
				return reply, members, address, nil
			}
		}
		failures = append(failures, err)
	}
	return offerReply{}, raft.Configuration{}, "", fmt.Errorf("consensus: no member offers a snapshot: %w", errors.Join(failures...))
}

// pull brings the files, and keeps the offer alive meanwhile.
func (r *repair) pull(ctx context.Context, offered offerReply, from string) error {
	manifest, err := snapshot.ParseManifest(offered.Manifest)
	if err != nil {
		return err
	}
	r.log.Info("repairing from a snapshot", "index", offered.Index, "files", len(manifest), "bytes", manifest.Size(), "from", from)
	addresses := []string{from}
	for _, address := range r.peers {
		if address != from {
			addresses = append(addresses, address)
		}
	}
	var pulled atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = pullFiles(ctx, r.calls.streams, r.snapshots, r.machine, manifest, addresses, func(n int) { pulled.Add(int64(n)) })
	}()
	news, renewal := time.NewTicker(repairNews), time.NewTicker(offerRenewal)
	defer news.Stop()
	defer renewal.Stop()
	for {
		select {
		case <-done:
			return err
		case <-news.C:
			r.log.Info("repairing", "bytes", pulled.Load(), "of", manifest.Size())
		case <-renewal.C:
			r.renew(ctx, offered, from)
		}
	}
}

// renew asks for the offer to be kept. If it is not, the pull fails by itself.
func (r *repair) renew(ctx context.Context, offered offerReply, from string) {
	request, err := json.Marshal(offerRequest{Member: r.cfg.ID, Index: offered.Index, Term: offered.Term})
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
		defer cancel()
		_, err = r.calls.call(ctx, from, callOffer, request)
	}
	if err != nil {
		r.log.Warn("the offer of a snapshot was not renewed", "error", err)
	}
}

// adopt makes the pulled files a snapshot of this member.
func (r *repair) adopt(offered offerReply, members raft.Configuration) error {
	sink, err := r.snapshots.Create(raft.SnapshotVersionMax, offered.Index, offered.Term, members, offered.ConfigurationIndex, nil)
	if err != nil {
		return err
	}
	if _, err := sink.Write(offered.Manifest); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// joinLog makes the log fit behind the snapshot, by the rule with which Raft installs one: if it holds the entry at the snapshot's
// index, with its term, it stays; else it is emptied. The term is raised to the leader's, in which this member cannot have voted
// if its own was lower.
func (r *repair) joinLog(offered offerReply) (err error) {
	store, err := r.cfg.OpenLog(r.cfg.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	term, err := currentTerm(store)
	if err != nil {
		return err
	}
	if term < offered.CurrentTerm {
		if err := store.SetUint64(keyTerm, offered.CurrentTerm); err != nil {
			return fmt.Errorf("consensus: raise the term: %w", err)
		}
	}
	var entry raft.Log
	err = store.GetLog(offered.Index, &entry)
	if err == nil && entry.Term == offered.Term {
		return nil
	}
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		return fmt.Errorf("consensus: read the log: %w", err)
	}
	return emptyLog(store)
}

// emptyLog removes all entries.
func emptyLog(store LogStore) error {
	first, err := store.FirstIndex()
	if err != nil {
		return fmt.Errorf("consensus: read the log: %w", err)
	}
	last, err := store.LastIndex()
	if err != nil {
		return fmt.Errorf("consensus: read the log: %w", err)
	}
	if last == 0 {
		return nil
	}
	if err := store.DeleteRange(first, last); err != nil {
		return fmt.Errorf("consensus: trim the log: %w", err)
	}
	return nil
}

// membersFile keeps the last committed configuration beside the log, for when neither log nor snapshots can tell it.
const membersFile = "members.json"

type membersJSON struct {
	Index   uint64       `json:"index"` // of the configuration
	Servers []serverJSON `json:"servers"`
}

// writeMembers replaces the file; after a crash it is the old one or the new one.
func writeMembers(dir string, index uint64, c raft.Configuration) error {
	data, err := json.Marshal(membersJSON{index, serversJSON(c)})
	if err != nil {
		return err
	}
	path := filepath.Join(dir, membersFile)
	file, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// rememberMembers returns what keeps the file up to date. Failing costs no more than a repair that is not possible.
func rememberMembers(cfg Config) func(index uint64, c raft.Configuration) {
	return func(index uint64, c raft.Configuration) {
		if err := writeMembers(cfg.Dir, index, c); err != nil {
			cfg.Logger.Warn("the members were not written down", "file", membersFile, "error", err)
		}
	}
}

// readMembers returns the addresses in the file.
func readMembers(dir string) ([]serverJSON, error) {
	data, err := os.ReadFile(filepath.Join(dir, membersFile))
	if err != nil {
		return nil, err
	}
	var m membersJSON
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, err
	}
	_, err = configuration(m.Servers)
	return m.Servers, err
}

// otherMembers returns the addresses of the other members as far as this one remembers them.
func otherMembers(cfg Config, snapshots *snapshot.Store) []string {
	servers, err := readMembers(cfg.Dir)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			cfg.Logger.Warn("the members are not known from their file", "file", membersFile, "error", err)
		}
		if newest, err := newestSnapshot(snapshots); err == nil {
			servers = serversJSON(newest.Configuration)
		}
	}
	var addresses []string
	for _, s := range servers {
		if s.ID != cfg.ID {
			addresses = append(addresses, s.Address)
		}
	}
	return addresses
}
