package appliance

import (
	"context"
	"encoding/hex"
	"net"
	"os"
	"strings"

	"tamv.internal/tamv/cluster"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

const (
	defaultNode  = "n1" // of a site's first node
	recoveryFile = "recovery.pem"
)

// Founded is a new site, as its operator has to know it.
type Founded struct {
	Site, Node   string
	Fingerprint  string // of the certificate authority: SHA-256 in hex
	VerifierKey  string // what auditors verify the ledger with
	RecoveryFile string // the site's keys, sealed
	RecoveryCode string // opens it; kept nowhere
}

// Init makes the folder of a site's first node: its keys, its certificate
// authority and the sealed copy of both. It starts nothing. The error is
// Conflict when the folder is a node's already.
func Init(cfg Config) (Founded, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return Founded{}, err
	}
	if err := vacant(cfg.Data); err != nil {
		return Founded{}, err
	}
	address := cfg.Advertise
	if address == "" {
		address = cfg.Listen
	}
	if address == "" {
		address = DefaultListen
	}
	settings, key, err := found(cfg, advertised(address))
	if err != nil {
		return Founded{}, err
	}
	authority, err := cluster.OpenAuthority(cfg.path(certificateFolder), cfg.Now())
	if err != nil {
		return Founded{}, err
	}
	code, err := sealRecovery(cfg, authority, key)
	if err != nil {
		return Founded{}, err
	}
	fingerprint := authority.Fingerprint()
	return Founded{
		Site: settings.Site, Node: settings.Node, Fingerprint: hex.EncodeToString(fingerprint[:]), VerifierKey: key.Verifiers()[0],
		RecoveryFile: cfg.path(recoveryFile), RecoveryCode: code.Reveal(),
	}, settings.Write(cfg.Data)
}

// InitFrom is Init for a site whose machines are lost: it takes the keys of the
// certificate authority and of the ledger from a recovery file, opened by the
// code that was shown when the site was founded. Clients trust the site as
// before and auditors know its key; its ledger is a new one.
func InitFrom(cfg Config, file []byte, code string) (Founded, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return Founded{}, err
	}
	if err := vacant(cfg.Data); err != nil {
		return Founded{}, err
	}
	opener, err := cluster.ParseCode(code)
	if err != nil {
		return Founded{}, err
	}
	keys, err := cluster.OpenRecovery(file, opener)
	if err != nil {
		return Founded{}, err
	}
	if _, err := cluster.InstallAuthority(cfg.path(certificateFolder), keys.Authority, keys.AuthorityKey); err != nil {
		return Founded{}, err
	}
	if err := cluster.WritePrivate(cfg.path(logKeyFile), keys.LedgerKey); err != nil {
		return Founded{}, err
	}
	key, err := readLedgerKey(cfg.path(logKeyFile))
	if err != nil {
		return Founded{}, err
	}
	if cfg.Site == "" { // the one that auditors know
		cfg.Site = strings.TrimPrefix(key.Origin(), ledgerOrigin(""))
	}
	return Init(cfg)
}

// found makes what a first node's folder holds, but for the settings, which
// come last: a start that is cut off begins again.
func found(cfg Config, address string) (cluster.Settings, bookpi.LogKeys, error) {
	settings := cluster.Settings{Site: cfg.Site, Node: cfg.Node, Listen: cfg.Listen, Advertise: address}
	if settings.Node == "" {
		settings.Node = defaultNode
	}
	if settings.Site == "" {
		settings.Site = settings.Node
	}
	if settings.Listen == "" {
		settings.Listen = DefaultListen
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return settings, bookpi.LogKeys{}, tap.Wrap("appliance.init", tap.Unavailable, err, "the data folder %s cannot be made", cfg.Data)
	}
	if _, err := cluster.OpenAuthority(cfg.path(certificateFolder), cfg.Now()); err != nil {
		return settings, bookpi.LogKeys{}, err
	}
	key, err := makeLedgerKey(cfg.path(logKeyFile), ledgerOrigin(settings.Site))
	return settings, key, err
}

// ledgerOrigin is how auditors call a site's ledger.
func ledgerOrigin(site string) string { return "tamv/" + site }

// sealRecovery writes what the site cannot make again, sealed under a code that
// is stored nowhere.
func sealRecovery(cfg Config, a *cluster.Authority, ledger bookpi.LogKeys) (cluster.Code, error) {
	certificate, key := a.Keys()
	file, code, err := cluster.Recovery{Authority: certificate, AuthorityKey: key, LedgerKey: []byte(ledger.Text())}.Seal()
	if err != nil {
		return code, err
	}
	return code, cluster.WritePrivate(cfg.path(recoveryFile), file)
}

// FoundedAt says whether a folder is a node's.
func FoundedAt(folder string) bool {
	_, err := cluster.ReadSettings(folder)
	return !tap.IsKind(err, tap.NotFound)
}

// vacant refuses a folder that is a node's, or of which that cannot be told.
func vacant(folder string) error {
	_, err := cluster.ReadSettings(folder)
	switch {
	case err == nil:
		return tap.E("appliance.found", tap.Conflict, "the folder %s belongs to a node already; tamvd run starts it", folder)
	case tap.IsKind(err, tap.NotFound):
		return nil
	}
	return err
}

// Join makes the folder of another node of a site, with the token of an
// invitation: it asks the members that the token names and keeps what they
// answer. It starts nothing. Presented again by the same folder, the same token
// is the same request.
func Join(ctx context.Context, cfg Config, token string) error {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return err
	}
	if err := vacant(cfg.Data); err != nil {
		return err
	}
	parsed, err := cluster.ParseToken(token)
	if err != nil {
		return err
	}
	settings, err := joining(cfg)
	if err != nil {
		return err
	}
	key, err := cluster.NodeKey(cfg.path(certificateFolder))
	if err != nil {
		return err
	}
	joined, err := cluster.Join(ctx, parsed, cluster.JoinRequest{
		Node: settings.Node, Address: settings.Advertise, Release: tap.Release, Version: store.Version, Key: key, Now: cfg.Now,
	})
	if err != nil {
		return err
	}
	if _, err := joined.Install(cfg.path(certificateFolder)); err != nil {
		return err
	}
	if err := cluster.WritePrivate(cfg.path(logKeyFile), joined.LedgerKey); err != nil {
		return err
	}
	settings.Site, settings.Joined = joined.Site, true
	return settings.Write(cfg.Data)
}

// joining is what a node that joins will be.
func joining(cfg Config) (cluster.Settings, error) {
	s := cluster.Settings{Node: cfg.Node, Listen: cfg.Listen, Advertise: cfg.Advertise}
	if s.Node == "" {
		name, err := os.Hostname()
		if err != nil || !tap.ValidName(strings.ToLower(name)) {
			return s, tap.E("appliance.join", tap.Invalid, "this machine's name cannot be a node's: choose one with --node")
		}
		s.Node = strings.ToLower(name)
	}
	if s.Listen == "" {
		s.Listen = DefaultListen
	}
	if s.Advertise == "" {
		s.Advertise = advertised(s.Listen)
	}
	if _, port, err := net.SplitHostPort(s.Advertise); err != nil || port == "0" {
		return s, tap.E("appliance.join", tap.Invalid, "the other nodes must know where to reach this one: give --listen or --advertise a port")
	}
	return s, nil
}

// advertised is the address by which others reach a listener: the machine's
// name when it listens everywhere.
func advertised(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		if name, err := os.Hostname(); err == nil {
			return net.JoinHostPort(name, port)
		}
		return net.JoinHostPort("localhost", port)
	}
	return listen
}

// settle finds out which node of which site this is and where it is reached,
// and makes the folder when there is none. bound is where it listens now.
func settle(cfg Config, bound string) (cluster.Settings, error) {
	settings, err := cluster.ReadSettings(cfg.Data)
	switch {
	case err == nil:
		return resettle(cfg, settings, bound)
	case !tap.IsKind(err, tap.NotFound):
		return settings, err
	case cfg.Existing:
		return settings, noNode(cfg.Data)
	}
	if cfg.Advertise != "" {
		bound = cfg.Advertise
	}
	if settings, _, err = found(cfg, bound); err != nil {
		return settings, err
	}
	return settings, settings.Write(cfg.Data)
}

// noNode is about a folder that nobody made a node's.
func noNode(folder string) error {
	return tap.E("appliance.run", tap.NotFound, "the folder %s belongs to no node: tamvd init founds a site there, tamvd join makes it a member of one", folder).WithCode("no_node")
}

// resettle takes over where a node listens and is reached now, if that changed.
func resettle(cfg Config, was cluster.Settings, bound string) (cluster.Settings, error) {
	if cfg.Node != "" && cfg.Node != was.Node || cfg.Site != "" && cfg.Site != was.Site {
		return was, tap.E("appliance.run", tap.Conflict, "the folder %s is node %s of site %s", cfg.Data, was.Node, was.Site)
	}
	settings := was
	// Listening where it did, a node is reached where it was, unless the port is
	// another at every start.
	if _, port, err := net.SplitHostPort(cfg.Listen); cfg.Listen != "" && (cfg.Listen != was.Listen || err == nil && port == "0") {
		settings.Listen, settings.Advertise = cfg.Listen, bound
	}
	if cfg.Advertise != "" {
		settings.Advertise = cfg.Advertise
	}
	if settings == was {
		return settings, nil
	}
	return settings, settings.Write(cfg.Data)
}
