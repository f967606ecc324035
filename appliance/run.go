package appliance

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"tamv.internal/tamv/appliance/clock"
	"tamv.internal/tamv/appliance/disk"
	"tamv.internal/tamv/cluster"
	"tamv.internal/tamv/consensus"
	evidence "tamv.internal/tamv/pods/bookpi"
	members "tamv.internal/tamv/pods/cluster"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// drainTimeout is for requests and sessions at the end.
const drainTimeout = 10 * time.Second

// Run starts a node, serves until ctx ends or the node cannot go on, and stops.
// It returns nil after an orderly stop. A node whose state turns out to be
// damaged stops, puts the damaged file aside and starts again: the state comes
// back from a snapshot and the log, its own or another member's.
func Run(ctx context.Context, cfg Config) error {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return err
	}
	if cfg.Existing && !FoundedAt(cfg.Data) {
		return noNode(cfg.Data)
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return tap.Wrap("appliance.run", tap.Unavailable, err, "the data folder %s cannot be made", cfg.Data)
	}
	release, err := Occupy(cfg.Data)
	if err != nil {
		return err
	}
	defer release()
	for attempt := 1; ; attempt++ {
		err := runOnce(ctx, cfg)
		if errors.Is(err, errRestart) && ctx.Err() == nil && attempt <= maxRepairs {
			continue
		}
		if !errors.Is(err, store.ErrDamaged) || ctx.Err() != nil || attempt > maxRepairs {
			return err
		}
		aside, moveErr := quarantine(cfg.Data)
		if moveErr != nil {
			return errors.Join(err, moveErr)
		}
		cfg.Logger.Error("the state is damaged; it is put aside and brought back from a snapshot and the log", "error", err, "aside", aside)
	}
}

func runOnce(ctx context.Context, cfg Config) (err error) {
	n := &node{cfg: cfg, began: time.Now(), failed: make(chan error, 4), scrubbed: scrubbed{met: make(chan struct{}, 1)}}
	defer func() { err = errors.Join(err, n.stop()) }()
	if err := n.start(ctx); err != nil {
		return err
	}
	if err := n.serve(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // stopped before it served
		}
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-n.consensus.Halted():
		return n.consensus.Err()
	case err := <-n.failed:
		return err
	}
}

// node is a running appliance: its parts in the order in which they start.
type node struct {
	cfg          Config
	began        time.Time
	settings     cluster.Settings
	tcp          net.Listener
	udp          net.PacketConn
	clock        *clock.Clock
	authority    *cluster.Authority
	certificates *cluster.Certificates
	ledgerKeys   bookpi.LogKeys
	secrets      secrets
	engines      engines
	store        *store.Store
	disk         *disk.Watch
	hosts        *memberHosts
	link         *cluster.Link
	consensus    *consensus.Node
	replica      atomic.Pointer[consensus.Node] // the same, for who may ask before it is open
	writer       *store.Writer
	notary       *evidence.Notary
	refusals     *members.Refusals
	health       atomic.Pointer[health] // set when everything is assembled
	diskSpace    atomic.Uint32          // of the site: a diskSpace
	scrubbed     scrubbed
	parts        *parts
	serving      atomic.Bool // caught up: requests are answered
	failed       chan error  // something that ended by itself

	work       context.Context // of the background loops
	background sync.WaitGroup
	closers    []func() error // run in reverse
}

// onStop adds a step to the stop, which runs in reverse order.
func (n *node) onStop(step func() error) { n.closers = append(n.closers, step) }

func (n *node) stop() error {
	var errs []error
	for i := len(n.closers) - 1; i >= 0; i-- {
		errs = append(errs, n.closers[i]())
	}
	return errors.Join(errs...)
}

// inBackground runs fn until the stop, which waits for it.
func (n *node) inBackground(fn func(context.Context)) {
	n.background.Go(func() { fn(n.work) })
}

// start brings every part up, down to the port; nobody is answered yet.
func (n *node) start(ctx context.Context) error {
	if err := n.identify(); err != nil {
		return err
	}
	if err := n.openState(); err != nil {
		return err
	}
	// The folder is this node's now. Whoever waits for the context file must
	// not read the last run's.
	if err := os.Remove(n.cfg.path(contextFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return tap.Wrap("appliance.run", tap.Unavailable, err, "the context file of the last run cannot be removed")
	}
	if err := n.openLog(ctx); err != nil {
		return err
	}
	// The loops outlive the listeners: what they flush last is what the last
	// requests left.
	var cancel context.CancelFunc
	n.work, cancel = context.WithCancel(context.WithoutCancel(ctx))
	n.onStop(func() error { cancel(); n.background.Wait(); return nil })
	var err error
	if n.parts, err = n.assemble(); err != nil {
		return err
	}
	for _, loop := range []func(context.Context){
		n.certificates.Run, n.parts.gate.Run, n.secrets.exchange.Run, n.notary.Run, n.maintain, n.expire, n.reconcile, n.compareClocks, n.disk.Run, n.watchDisks, n.scrub, n.refusals.Run, n.health.Load().run,
	} {
		n.inBackground(loop)
	}
	n.serveTCP()
	return nil
}

// identify binds the port and finds out, or decides, who this node is.
func (n *node) identify() error {
	listen, err := listenAddress(n.cfg)
	if err != nil {
		return err
	}
	if n.tcp, n.udp, err = openPort(listen); err != nil {
		return err
	}
	n.onStop(func() error { return errors.Join(ignoreClosed(n.tcp.Close()), ignoreClosed(n.udp.Close())) })
	if n.settings, err = settle(n.cfg, boundAddress(listen, n.tcp)); err != nil {
		return err
	}
	n.clock = clock.New(clock.Config{Wall: n.cfg.Now})
	folder := n.cfg.path(certificateFolder)
	if absent(n.cfg.path(certificateFolder, cluster.AuthorityFile)) && absent(n.cfg.path(certificateFolder, cluster.AuthorityKeyFile)) {
		// A new authority would be a stranger to every client and member.
		return tap.E("appliance.run", tap.Unavailable, "the certificate authority in %s is gone; put back the copy you kept, or that of another member", folder)
	}
	if n.authority, err = cluster.OpenAuthority(folder, n.clock.Now()); err != nil {
		return err
	}
	if n.ledgerKeys, err = openLedgerKey(n.cfg.path(logKeyFile), ledgerOrigin(n.settings.Site), n.cfg.NewLedgerKey); err != nil {
		return err
	}
	n.certificates, err = cluster.OpenCertificates(cluster.CertificateConfig{
		Authority: n.authority, Dir: folder, Node: n.settings.Node, Now: n.clock.Now, Log: n.cfg.Logger,
		Names: cluster.ServerNames(cluster.Host(n.settings.Listen), cluster.Host(n.settings.Advertise)),
	})
	return err
}

// openState opens the state machine and what follows it in memory.
func (n *node) openState() error {
	if err := n.openKeyring(); err != nil {
		return err
	}
	var err error
	if n.engines, err = loadEngines(n.cfg, n.secrets.ring); err != nil {
		return err
	}
	n.shareKeyring()
	if n.store, err = store.Open(n.cfg.Data, n.engines.observers()); err != nil {
		return err
	}
	n.onStop(n.store.Close)
	n.onStop(n.engines.memory.Close)
	return n.engines.load(n.store)
}

// openLog connects this node with the other members and opens the replicated
// log.
func (n *node) openLog(ctx context.Context) error {
	n.disk = disk.New(disk.Config{
		Dir: n.cfg.Data, MinFree: n.cfg.DiskLow, Reserve: max(n.cfg.DiskReserve, 1), Logger: n.cfg.Logger,
	})
	// It counts connections that come before there is anything to write with.
	n.refusals = members.NewRefusals(n.cfg.Tenant, n.settings.Node, late{&n.writer}, n.clock.Now, n.cfg.Logger)
	n.hosts = n.followMembers(ctx)
	n.link = cluster.NewLink(cluster.LinkConfig{
		Authority: n.authority, Certificates: n.certificates, Roster: n.engines.members.ForLinks(n.counts, n.settled), Address: n.settings.Advertise,
		From: specificIP(n.tcp.Addr()), Member: n.hosts.has, Now: n.clock.Now, Refused: n.refused,
	})
	n.tcp = n.link.Split(n.limit(n.tcp, n.hosts.has), n.tlsConfig())
	c := consensus.DefaultConfig()
	c.ID, c.Dir, c.Logger, c.Clock, c.Wall = n.settings.Node, n.cfg.path("raft"), n.cfg.Logger, n.clock.Now, n.clock.Local
	c.Stream, c.Joining, c.Report, c.Purposes = n.link, n.settings.Joined, n.report, n.purposes()
	c.MaxPackBytes = 2 * store.MaxBatchBytes // any batch fits, with its framing
	if n.cfg.SnapshotBytes > 0 {
		c.SnapshotBytes = n.cfg.SnapshotBytes
	}
	var err error
	n.consensus, err = consensus.Open(c, replicated{n.store})
	if errors.Is(err, consensus.ErrDamaged) {
		n.cfg.Logger.Error("the log is damaged; this node takes no part until the other members have brought it back", "error", err)
		if err = consensus.Repair(ctx, c, replicated{n.store}); err == nil {
			n.consensus, err = consensus.Open(c, replicated{n.store})
		}
	}
	if err != nil {
		return errors.Join(logError(c.Dir, err), n.link.Close())
	}
	n.replica.Store(n.consensus)
	n.onStop(n.consensus.Close)
	n.onStop(func() error { n.store.StopWaiting(); return nil })
	n.writer = store.NewWriter(proposer{n.consensus, n.refuseFull}, n.store).Sealing(n.secrets.sealer)
	n.notary = n.newNotary()
	return nil
}

// serve waits until this node has what the others have, and answers then.
func (n *node) serve(ctx context.Context) error {
	if err := n.catchUp(ctx); err != nil {
		return err
	}
	if err := n.afterRecovery(ctx); err != nil {
		return err
	}
	n.learnTime(ctx)
	if err := n.introduce(ctx); err != nil {
		return err
	}
	n.raiseVersion(ctx) // a site of this node alone need not wait for the reconciler
	n.serving.Store(true)
	n.serveUDP()
	if err := n.writeContext(); err != nil {
		return err
	}
	if n.cfg.Ready != nil {
		n.cfg.Ready(Running{n.settings.Node, n.cfg.Data, n.settings.Advertise, n.cfg.path(contextFile), !n.settings.Joined, time.Since(n.began)})
	}
	return nil
}

// catchUpTurn is how long one try to catch up lasts before the log says so.
const catchUpTurn = 10 * time.Second

// catchUp waits until a leader is known and what it had applied is applied
// here. A node that was added to nothing yet, or whose site has no majority,
// waits for as long as it takes.
func (n *node) catchUp(ctx context.Context) error {
	pause := backoff.ExponentialBackOff{InitialInterval: shortestPause, Multiplier: 2, RandomizationFactor: 0.5, MaxInterval: 2 * longestPause}
	pause.Reset()
	move, told := newRequestID(), time.Now()
	for {
		turn, cancel := context.WithTimeout(ctx, catchUpTurn)
		n.background.Go(func() { n.announceMove(turn, move) })
		err := n.consensus.WaitLeader(turn)
		if err == nil {
			err = n.consensus.Read(turn, consensus.Leader)
		}
		if err != nil && ctx.Err() == nil { // a leader that is known may not be reached
			sleep(turn, pause.NextBackOff())
		}
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err() // stopped before it began to serve
		case n.consensus.Err() != nil:
			return n.consensus.Err()
		case errors.Is(err, consensus.ErrClosed):
			return replicationError(err)
		}
		if time.Since(told) >= catchUpTurn {
			told = time.Now()
			n.cfg.Logger.Warn("waiting for the other members: no majority answers this node yet. Start those that are off; when they are lost for good, see tamvd recover", "error", err)
		}
	}
}

// sleep waits for a while, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
