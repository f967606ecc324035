package appliance

import (
	"context"
	"crypto/tls"
	"log/slog"
	"sync/atomic"
	"time"
)

// renewalInterval is how often a running node looks at its certificate.
const renewalInterval = time.Hour

// certificates keeps the node's certificate valid while it runs.
type certificates struct {
	authority *authority
	folder    string
	names     []string
	now       func() time.Time
	log       *slog.Logger
	current   atomic.Pointer[tls.Certificate]
}

func newCertificates(a *authority, cfg Config) (*certificates, error) {
	c := &certificates{authority: a, folder: cfg.path("ca"), names: serverNames(cfg.host()), now: cfg.Now, log: cfg.Logger}
	return c, c.refresh()
}

// refresh loads the certificate, issued anew when its end is near.
func (c *certificates) refresh() error {
	certificate, err := c.authority.serverCertificate(c.folder, c.names, c.now())
	if err == nil {
		c.current.Store(certificate)
	}
	return err
}

// get hands the certificate to a handshake.
func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// renew refreshes the certificate until ctx ends.
func (c *certificates) renew(ctx context.Context) {
	ticker := time.NewTicker(renewalInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := c.refresh(); err != nil {
			c.log.Error("the certificate cannot be renewed", "error", err)
		}
	}
}
