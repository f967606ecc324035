package consensus

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"tamv.internal/tamv/consensus/snapshot"
)

const (
	// prepareWait is how long a call to prepare waits for the files before it tells how far they are.
	prepareWait = time.Second
	// prepareSilence is the time without progress after which the leader gives up; Raft tries again later, and goes on
	// where this try ended.
	prepareSilence = 10 * time.Second
	// prepareRetry is the pause after a call that failed.
	prepareRetry = 200 * time.Millisecond
)

// installs brings snapshots to members whose entries the log no longer has, and serves the leader that does it for this
// member. It stands between Raft and its transport: before the message that installs a snapshot, which carries only the
// manifest, the receiver is told to pull the files. Its Raft goes on meanwhile, and the state is applied to and served; the
// installation itself is a quick swap.
type installs struct {
	raftTransport
	id        string
	calls     *calls
	streams   *streams
	snapshots *snapshot.Store
	store     *heldLog
	fsm       *fsm
	log       *slog.Logger
	raft      atomic.Pointer[raft.Raft] // set once it runs

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	job    *pullJob // the last one; guarded by mu
	offers []*offer // guarded by mu
	done   bool     // no job begins any more; guarded by mu
}

// pullJob brings the files of one manifest.
type pullJob struct {
	sum    [32]byte // of the manifest
	cancel context.CancelFunc
	bytes  atomic.Int64
	done   chan struct{} // closed when err is set
	err    error
}

// stale reports whether the files were brought and are gone again.
func (j *pullJob) stale(snapshots *snapshot.Store, m snapshot.Manifest) bool {
	select {
	case <-j.done:
		return j.err == nil && !snapshots.Ready(m)
	default:
		return false
	}
}

// newInstalls serves the other members from now on. The files come from, and go to, snapshots and the fsm's machine.
func newInstalls(cfg Config, trans raftTransport, c *calls, snapshots *snapshot.Store, store *heldLog, f *fsm) *installs {
	t := &installs{
		raftTransport: trans, id: cfg.ID, calls: c, streams: c.streams, snapshots: snapshots, store: store, fsm: f, log: cfg.Logger,
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	files := &fileServer{snapshots: snapshots, machine: f.machine, log: cfg.Logger, turns: make(chan struct{}, maxTransfers), done: t.ctx.Done()}
	c.streams.handle(purposeFiles, files.serve)
	c.handle(callPrepare, t.answerPrepare)
	c.handle(callOffer, t.answerOffer)
	return t
}

// close ends what is under way, here and towards others.
func (t *installs) close() {
	t.mu.Lock()
	t.done = true
	for len(t.offers) > 0 {
		t.withdraw(t.offers[0])
	}
	t.mu.Unlock()
	t.cancel()
	t.work.Wait()
}

// Close implements raft.WithClose.
func (t *installs) Close() error {
	t.close()
	return t.raftTransport.Close()
}

// others returns the addresses of the other members.
func (t *installs) others() []string {
	r := t.raft.Load()
	if r == nil {
		return nil
	}
	var addresses []string
	for _, server := range r.GetConfiguration().Configuration().Servers {
		if server.ID != raft.ServerID(t.id) {
			addresses = append(addresses, string(server.Address))
		}
	}
	return addresses
}

// sources returns the addresses from which a member can pull: this node's own first. The member may be new and not know them.
func (t *installs) sources(member string) []string {
	from := append([]string{string(t.LocalAddr())}, slices.DeleteFunc(t.others(), func(address string) bool { return address == member })...)
	return from[:min(len(from), maxFrom)]
}

// leads reports whether this node still leads in a term.
func (t *installs) leads(term uint64) bool {
	r := t.raft.Load()
	return r != nil && r.State() == raft.Leader && r.CurrentTerm() == term
}

// InstallSnapshot implements raft.Transport: it has the files brought, then installs. Raft calls it from the goroutine that
// replicates to the member; heartbeats go on beside it.
func (t *installs) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest,
	resp *raft.InstallSnapshotResponse, data io.Reader,
) error {
	manifest, err := io.ReadAll(io.LimitReader(data, snapshot.MaxManifest+1))
	if err != nil {
		return fmt.Errorf("consensus: read the manifest: %w", err)
	}
	defer t.store.hold(args.LastLogIndex)()
	request := prepareRequest{index: args.LastLogIndex, term: args.LastLogTerm, from: t.sources(string(target)), manifest: manifest}
	reply, err := t.prepare(string(target), args.Term, request)
	if err != nil {
		return fmt.Errorf("consensus: prepare %s for the snapshot at index %d: %w", id, args.LastLogIndex, err)
	}
	if reply.state == prepareInstalled {
		// An earlier message did arrive, only its answer did not: the member holds all that the snapshot does, durably.
		*resp = raft.InstallSnapshotResponse{RPCHeader: args.RPCHeader, Term: args.Term, Success: true}
		return nil
	}
	return t.raftTransport.InstallSnapshot(id, target, args, resp, bytes.NewReader(manifest))
}

var (
	errNoProgress  = errors.New("consensus: no progress")
	errOldSnapshot = errors.New("consensus: the member has entries beyond the snapshot")
	errBadFile     = errors.New("consensus: a file of the snapshot is damaged")
)

// prepare asks a member to bring the files until it has them.
func (t *installs) prepare(address string, term uint64, request prepareRequest) (prepareReply, error) {
	heard, bytes := time.Now(), int64(-1)
	body := request.encode()
	for {
		ctx, cancel := context.WithTimeout(t.ctx, prepareWait+rpcTimeout)
		data, err := t.calls.call(ctx, address, callPrepare, body)
		cancel()
		var reply prepareReply
		if err == nil {
			reply, err = decodePrepareReply(data)
		}
		switch {
		case t.ctx.Err() != nil:
			return reply, ErrClosed
		case !t.leads(term):
			return reply, ErrNotLeader
		case err == nil:
			switch reply.state {
			case prepareReady, prepareInstalled:
				return reply, nil
			case prepareRestoring:
				heard = time.Now()
			case prepareOld:
				t.outgrow()
				return reply, errOldSnapshot
			case prepareDamaged:
				t.mend(request.manifest)
				return reply, errBadFile
			default:
				if reply.bytes != bytes {
					heard, bytes = time.Now(), reply.bytes
				}
			}
		case errors.Is(err, errUnknownCall):
			return reply, err
		}
		if time.Since(heard) > prepareSilence {
			return reply, errors.Join(errNoProgress, err)
		}
		if err != nil {
			select {
			case <-time.After(prepareRetry):
			case <-t.ctx.Done():
			}
		}
	}
}

// mend replaces the snapshot with this manifest if it is damaged here.
func (t *installs) mend(manifest []byte) {
	_, meta, release, err := t.snapshots.Locate(manifest)
	if err != nil {
		return
	}
	defer release()
	if err := t.snapshots.Verify(t.ctx, meta.ID, nil); errors.Is(err, snapshot.ErrDamaged) {
		t.log.Error("a snapshot is damaged and will be replaced", "snapshot", meta.ID, "error", err)
		t.renew(meta.ID)
	}
}

// outgrow takes a snapshot that is one entry longer than the log is now, for a member whose log ends beyond the last one.
func (t *installs) outgrow() {
	if err := t.raft.Load().Barrier(barrierTimeout).Error(); err != nil {
		t.log.Warn("no new snapshot was taken", "error", err)
		return
	}
	t.renew("")
}

// renew takes a new snapshot, and gives up the one called damaged once there is another.
func (t *installs) renew(damaged string) {
	if err := t.raft.Load().Snapshot().Error(); err != nil {
		t.log.Warn("no new snapshot was taken", "error", err)
		return
	}
	if damaged == "" {
		return
	}
	if err := t.snapshots.Discard(damaged); err != nil && !errors.Is(err, snapshot.ErrNotFound) {
		t.log.Warn("a damaged snapshot was not set aside", "error", err)
	}
}

// answerPrepare begins to pull a snapshot's files, or tells how far that is.
func (t *installs) answerPrepare(ctx context.Context, body []byte) ([]byte, error) {
	request, err := decodePrepareRequest(body)
	if err != nil {
		return nil, err
	}
	if t.raft.Load() == nil {
		return nil, ErrBusy
	}
	if err := t.fsm.err(); err != nil {
		return nil, err
	}
	state, err := t.place(request.index, request.term)
	if err != nil {
		return nil, err
	}
	if state != preparePulling {
		return prepareReply{state: state}.encode(), nil
	}
	job, err := t.begin(request)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(prepareWait)
	defer timer.Stop()
	select {
	case <-job.done:
		if job.err != nil {
			t.log.Warn("the files of a snapshot did not all arrive", "index", request.index, "error", job.err)
			t.forget(job)
			if errors.Is(job.err, snapshot.ErrDamaged) {
				return prepareReply{state: prepareDamaged, bytes: job.bytes.Load()}.encode(), nil
			}
			return nil, job.err
		}
		return prepareReply{state: prepareReady, bytes: job.bytes.Load()}.encode(), nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return prepareReply{state: preparePulling, bytes: job.bytes.Load()}.encode(), nil
}

// place says what a snapshot at (index, term) is to this member: preparePulling if it needs it.
//
// A member whose log goes beyond the snapshot is not given it. Raft would drop those entries from a log without gaps, which this
// is, and go on believing that they are there.
func (t *installs) place(index, term uint64) (prepareState, error) {
	newest, err := newestSnapshot(t.snapshots)
	if err != nil {
		return 0, err
	}
	last, err := t.store.LastIndex()
	if err != nil {
		return 0, err
	}
	if newest.Index == index && newest.Term == term {
		if t.fsm.seen.Load() < index {
			return prepareRestoring, nil
		}
		if last <= index {
			return prepareInstalled, nil
		}
	}
	var entry raft.Log
	err = t.store.GetLog(index, &entry)
	switch {
	case err == nil && entry.Term == term:
		return prepareInstalled, nil
	case err != nil && !errors.Is(err, raft.ErrLogNotFound):
		return 0, err
	case max(last, newest.Index) > index:
		return prepareOld, nil
	}
	return preparePulling, nil
}

// begin returns the job for a manifest. A job for another one is given up.
func (t *installs) begin(request prepareRequest) (*pullJob, error) {
	manifest, err := snapshot.ParseManifest(request.manifest)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCall, err)
	}
	sum := sha256.Sum256(request.manifest)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return nil, ErrClosed
	}
	if t.job != nil && t.job.sum == sum && !t.job.stale(t.snapshots, manifest) {
		return t.job, nil
	}
	if t.job != nil {
		t.job.cancel()
	}
	job := &pullJob{sum: sum, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.ctx)
	job.cancel = cancel
	t.job = job
	t.log.Info("pulling a snapshot", "index", request.index, "files", len(manifest), "bytes", manifest.Size(), "from", request.from[0])
	t.work.Go(func() {
		defer cancel()
		defer close(job.done)
		job.err = pullFiles(ctx, t.streams, t.snapshots, t.fsm.machine, manifest, request.from, func(n int) { job.bytes.Add(int64(n)) })
	})
	return job, nil
}

// forget lets the next call begin a job anew.
func (t *installs) forget(job *pullJob) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.job == job {
		t.job = nil
	}
}

// pullFiles brings the files of a manifest from the members at the addresses, the first one preferred.
func pullFiles(ctx context.Context, s *streams, snapshots *snapshot.Store, machine StateMachine, m snapshot.Manifest,
	addresses []string, progress func(bytes int),
) error {
	var sources []snapshot.Source
	for _, address := range addresses {
		peer := &peerFiles{streams: s, address: address}
		defer peer.close()
		sources = append(sources, peer)
	}
	have := func(sum [32]byte) (string, bool) {
		part, err := machine.Part(sum)
		if err != nil {
			return "", false
		}
		defer part.Close()
		return part.Name(), true
	}
	return snapshots.Pull(ctx, m, sources, have, progress)
}
