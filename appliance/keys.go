package appliance

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"strings"

	"tamv.internal/tamv/pods/anubis"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

const (
	operatorName = "operator"
	logKeyFile   = "log.key"
	contextFile  = "context.json"
)

// ledgerKey is the key pair that signs checkpoints.
type ledgerKey struct {
	signer   bookpi.Signer
	verifier string // what auditors keep
}

// openLedgerKey loads the log key, or makes it for a ledger that nobody has
// seen yet. The file has the signer key and the verifier key, a line each.
func openLedgerKey(path, origin string, fresh bool) (ledgerKey, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !fresh {
		return ledgerKey{}, tap.Wrap("appliance.logkey", tap.Unavailable, err,
			"the ledger key %s is gone; put back the copy you kept. Auditors know this ledger by its key; when it is lost for good, --new-log-key makes another", path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		signer, verifier, err := bookpi.GenerateKey(rand.Reader, origin)
		if err != nil {
			return ledgerKey{}, tap.Wrap("appliance.logkey", tap.Internal, err, "no key for the ledger")
		}
		raw = []byte(signer + "\n" + verifier + "\n")
		if err := writePrivate(path, raw); err != nil {
			return ledgerKey{}, err
		}
	} else if err != nil {
		return ledgerKey{}, tap.Wrap("appliance.logkey", tap.Unavailable, err, "the ledger key %s cannot be read", path)
	}
	lines := strings.Fields(string(raw))
	if len(lines) != 2 {
		return ledgerKey{}, tap.E("appliance.logkey", tap.Unavailable, "the ledger key %s is damaged; put back the copy you kept", path)
	}
	signer, err := bookpi.NewSigner(lines[0])
	if err != nil {
		return ledgerKey{}, tap.Wrap("appliance.logkey", tap.Unavailable, err, "the ledger key %s is damaged; put back the copy you kept", path)
	}
	return ledgerKey{signer, lines[1]}, nil
}

// enrolOperator makes the first identity of a new appliance and writes its
// key. The operator of a development node holds every role; on a site, it
// enrols people with one role each.
func enrolOperator(ctx context.Context, cfg Config, keyFile string, view store.View, writer store.Committer) error {
	known := false
	if err := view.Scan(store.K(cfg.Tenant, anubis.SpaceIdentity).Prefix(), "", func(store.Item) bool { known = true; return false }); err != nil || known {
		return err
	}
	key, err := openOperatorKey(keyFile)
	if err != nil {
		return err
	}
	batch, err := anubis.EnrolBatch(cfg.Tenant, operatorName, key.Public().(ed25519.PublicKey), tap.Roles(), "system", cfg.Now(), newRequestID())
	if err != nil {
		return err
	}
	_, err = writer.Commit(ctx, batch)
	return err
}

// openOperatorKey loads the operator's key when a start was cut off between
// writing and enrolling it, else makes it.
func openOperatorKey(path string) (ed25519.PrivateKey, error) {
	if absent(path) {
		return client.GenerateKeyFile(path)
	}
	key, err := client.ReadKeyFile(path)
	if err != nil {
		return nil, tap.Wrap("appliance.operator", tap.Unavailable, err, "the operator key %s cannot be used; put back the copy you kept", path)
	}
	return key, nil
}

// writeContext tells tamvctl how to reach this node.
func writeContext(cfg Config, address, authorityFile, keyFile string) error {
	c := client.Context{
		Address: "https://" + address, CA: authorityFile, Identity: tap.JoinKeyID(cfg.Tenant, operatorName), Key: keyFile,
	}
	return c.Save(cfg.path(contextFile))
}
