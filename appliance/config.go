package appliance

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"tamv.internal/tamv/tap"
)

// Config says how a node runs. Every field but Data has a default. What a node
// is (Site, Node, and where it listens and is reached) is settled when it is
// made and kept in its folder; Listen and Advertise may be given anew.
type Config struct {
	// Data is the folder that holds everything; it is created with mode 0700.
	Data string
	// Site names the site, and with it the ledger that auditors know. Empty =
	// the name of its first node.
	Site string
	// Node names this machine in the site, for ever. Empty = "n1" for the
	// first node, the host's name for others.
	Node string
	// Listen is the address of the one port; port 0 takes any free one. Empty =
	// the last one, DefaultListen at first.
	Listen string
	// Advertise is the HOST:PORT at which other nodes reach this one. Empty =
	// the address it listens on.
	Advertise string
	// Existing refuses a folder without a node. Without it the folder of no
	// node becomes the first one of a site of its own.
	Existing bool
	// Tenant is the tenant of the first operator. Empty = tap.DefaultTenant.
	Tenant string
	// MemoryTier is what memory keeps of vectors in main memory: "full" (codes, and
	// the vectors themselves for comparing the best), "codes" (a byte a dimension),
	// or "bits" (a bit; from 768 dimensions on). All members should have the same.
	// Empty = "full".
	MemoryTier string
	// OpenLog lets anybody read the whole transparency log under /log/, entries
	// and payloads too. For development.
	OpenLog bool
	// NewLedgerKey makes a new ledger key when the old one is lost. Auditors
	// must be told: checkpoints before and after carry different keys.
	NewLedgerKey bool
	// SnapshotBytes of log call for a snapshot. Zero = 32 MiB.
	SnapshotBytes int64
	// DiskLow is how many bytes must be free for this node to take writes.
	// Zero = 5 % of the disk, at most 1 GiB.
	DiskLow uint64
	// DiskReserve is the size of a file that is given up when the disk is full.
	// Zero = none.
	DiskReserve uint64
	// ScrubInterval is the time between two readings of everything stored.
	// Zero = six hours.
	ScrubInterval time.Duration
	// Logger receives the node's log. nil = slog.Default().
	Logger *slog.Logger
	// Now is the wall clock. nil = time.Now.
	Now func() time.Time
	// Ready is called once the node serves.
	Ready func(Running)
}

// DefaultListen is where tamvd listens unless told otherwise.
const DefaultListen = "127.0.0.1:7443"

// Running is what a started node is reached by.
type Running struct {
	Node     string
	Data     string
	Address  string        // host:port
	Context  string        // path of context.json
	Operator bool          // the first operator's key is here
	Took     time.Duration // from Run to ready
}

func (c Config) withDefaults() Config {
	if c.Tenant == "" {
		c.Tenant = tap.DefaultTenant
	}
	if c.ScrubInterval == 0 {
		c.ScrubInterval = scrubInterval
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (c Config) validate() error {
	if c.Data == "" {
		return tap.E("appliance.config", tap.Invalid, "a data folder is needed")
	}
	info, err := os.Stat(c.Data)
	switch {
	case err == nil && !info.IsDir():
		return tap.E("appliance.config", tap.Invalid, "the data folder %s is a file", c.Data)
	case errors.Is(err, syscall.ENOTDIR):
		return tap.E("appliance.config", tap.Invalid, "the data folder %s cannot be: a part of the path is a file", c.Data)
	}
	for _, address := range []string{c.Listen, c.Advertise} {
		if _, port, err := net.SplitHostPort(address); address != "" && (err != nil || !isPort(port)) {
			return tap.E("appliance.config", tap.Invalid, "the address %q is not HOST:PORT with a port from 0 to 65535", address)
		}
	}
	for _, name := range []string{c.Site, c.Node, c.Tenant} {
		if name != "" && !tap.ValidName(name) {
			return tap.E("appliance.config", tap.Invalid, "%q is no name for a site, node or tenant: they are 1 to 64 of a-z, 0-9, '-', '_' and '.'", name)
		}
	}
	_, err = memoryTier(c.MemoryTier)
	return err
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

func (c Config) path(parts ...string) string {
	return filepath.Join(append([]string{c.Data}, parts...)...)
}
