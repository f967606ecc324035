package appliance

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"tamv.internal/tamv/consensus"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

const (
	leaderTimeout = 30 * time.Second // from opening the log to the first commit
	drainTimeout  = 10 * time.Second // for requests and sessions at the end
)

// Run starts a node, serves until ctx ends or the state machine halts, and
// stops. It returns nil after an orderly stop.
func Run(ctx context.Context, cfg Config) (err error) {
	began := time.Now()
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return tap.Wrap("appliance.run", tap.Unavailable, err, "the data folder %s cannot be made", cfg.Data)
	}
	var n node
	defer func() { err = errors.Join(err, n.stop()) }()
	if err := n.start(ctx, cfg); err != nil {
		return err
	}
	if cfg.Ready != nil {
		cfg.Ready(Running{cfg.Node, cfg.Data, n.address, cfg.path(contextFile), time.Since(began)})
	}
	select {
	case <-ctx.Done():
		return nil
	case <-n.consensus.Halted():
		return replicationError(n.consensus.Err())
	case err := <-n.failed:
		return err
	}
}

// node is a running appliance: its parts in the order in which they start.
type node struct {
	cfg       Config
	engines   engines
	store     *store.Store
	consensus *consensus.Node
	writer    *store.Writer
	parts     *parts
	address   string
	failed    chan error // a listener that ended by itself

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

// goBackground runs fn until the stop; the stop waits for it.
func (n *node) goBackground(ctx context.Context, fn func(context.Context)) {
	n.background.Go(func() { fn(ctx) })
}

func (n *node) start(ctx context.Context, cfg Config) error {
	n.cfg, n.failed = cfg, make(chan error, 2)
	if err := n.openState(ctx); err != nil {
		return err
	}
	// The folder is this node's now. Whoever waits for the context file must
	// not read the last run's.
	if err := os.Remove(cfg.path(contextFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return tap.Wrap("appliance.run", tap.Unavailable, err, "the context file of the last run cannot be removed")
	}
	// The ledger is empty only before the first operator is enrolled.
	size, _ := n.store.Size()
	key, err := openLedgerKey(cfg.path(logKeyFile), "tamv/"+cfg.Node, size == 0 || cfg.NewLedgerKey)
	if err != nil {
		return err
	}
	operatorKey := cfg.path("operator.key")
	if err := enrolOperator(ctx, cfg, operatorKey, n.store, n.writer); err != nil {
		return err
	}
	authority, err := openAuthority(cfg.path("ca"), cfg.Now())
	if err != nil {
		return err
	}
	if n.parts, err = n.assemble(key); err != nil {
		return err
	}
	// The loops outlive the listeners: what they flush last is what the last
	// requests left.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.onStop(func() error { cancel(); n.background.Wait(); return nil })
	n.goBackground(work, n.parts.gate.Run)
	n.goBackground(work, func(ctx context.Context) { expire(ctx, n.consensus, n.store, cfg.Now, cfg.Logger) })
	certificates, err := newCertificates(authority, cfg)
	if err != nil {
		return err
	}
	n.goBackground(work, certificates.renew)
	if err := n.listen(certificates); err != nil {
		return err
	}
	return writeContext(cfg, n.address, authority.file, operatorKey)
}

// openState opens the state machine and the log, and waits until everything
// that was committed is applied.
func (n *node) openState(ctx context.Context) error {
	var err error
	if n.engines, err = loadEngines(); err != nil {
		return err
	}
	if n.store, err = store.Open(n.cfg.Data, n.engines.observers()); err != nil {
		return err
	}
	n.onStop(n.store.Close)
	if err := n.engines.load(n.store); err != nil {
		return err
	}
	c := consensus.DefaultConfig()
	c.ID, c.Dir, c.Logger, c.Clock = n.cfg.Node, n.cfg.path("raft"), n.cfg.Logger, n.cfg.Now
	c.MaxPackBytes = 2 * store.MaxBatchBytes // any batch fits, with its framing
	if n.consensus, err = consensus.Open(c, replicated{n.store}); err != nil {
		return tap.Wrap("appliance.run", tap.Unavailable, err, "the replicated log in %s cannot be opened: %v", c.Dir, err)
	}
	n.onStop(n.consensus.Close)
	n.onStop(func() error { n.store.StopWaiting(); return nil })
	n.writer = store.NewWriter(proposer{n.consensus}, n.store)

	ctx, cancel := context.WithTimeout(ctx, leaderTimeout)
	defer cancel()
	if err := n.consensus.WaitLeader(ctx); err != nil {
		return replicationError(err)
	}
	if err := n.consensus.Read(ctx, consensus.Linearizable); err != nil {
		return replicationError(err)
	}
	return nil
}
