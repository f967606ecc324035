package appliance

import (
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"tamv.internal/tamv/tap"
)

// Config says how a node runs. Every field but Data has a default.
type Config struct {
	// Data is the folder that holds everything; it is created with mode 0700.
	Data string
	// Listen is the address of the one port; port 0 takes any free one.
	// Empty = DefaultListen.
	Listen string
	// Node names this machine in the cluster. Empty = "n1".
	Node string
	// Tenant is the tenant of the first operator. Empty = tap.DefaultTenant.
	Tenant string
	// NewLedgerKey makes a new ledger key when the old one is lost. Auditors
	// must be told: checkpoints before and after carry different keys.
	NewLedgerKey bool
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
	Node    string
	Data    string
	Address string        // host:port
	Context string        // path of context.json
	Took    time.Duration // from Run to ready
}

func (c Config) withDefaults() Config {
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	if c.Node == "" {
		c.Node = "n1"
	}
	if c.Tenant == "" {
		c.Tenant = tap.DefaultTenant
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
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return tap.Wrap("appliance.config", tap.Invalid, err, "the listen address %q is not HOST:PORT", c.Listen)
	}
	if !tap.ValidName(c.Node) || !tap.ValidName(c.Tenant) {
		return tap.E("appliance.config", tap.Invalid, "node and tenant names are 1 to 64 of a-z, 0-9, '-', '_' and '.'")
	}
	return nil
}

// host is the host part of the listen address.
func (c Config) host() string {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return "" // validate refuses such an address
	}
	return host
}

func (c Config) path(parts ...string) string {
	return filepath.Join(append([]string{c.Data}, parts...)...)
}
