package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"tamv.internal/tamv/tap"
)

const (
	// RenewBefore is how long before its end a certificate is renewed. One
	// that has less than this left could not be renewed.
	RenewBefore = 30 * 24 * time.Hour
	// renewalInterval is how often a running node looks at its certificate.
	renewalInterval = time.Hour
)

// Pin names a node's key: the SHA-256 of its SubjectPublicKeyInfo.
type Pin [sha256.Size]byte

// PinOf is the pin of a certificate's key.
func PinOf(c *x509.Certificate) Pin { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

func (p Pin) String() string { return hex.EncodeToString(p[:]) }

// nodeScheme and what follows make the URI that names a node in its certificate,
// in the form of a SPIFFE id.
const (
	nodeScheme = "spiffe"
	nodeDomain = "tamv"
	nodePath   = "/node/"
)

// nodeOf is the node that a certificate names, or "".
func nodeOf(c *x509.Certificate) string {
	if len(c.URIs) != 1 {
		return ""
	}
	u := c.URIs[0]
	name, ok := strings.CutPrefix(u.Path, nodePath)
	if !ok || !tap.ValidName(name) || *u != (url.URL{Scheme: nodeScheme, Host: nodeDomain, Path: nodePath + name}) {
		return ""
	}
	return name
}

func nodeTemplate(node string, names []string, now time.Time) *x509.Certificate {
	start := now.Add(-clockSlack)
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: node}, NotBefore: start, NotAfter: start.Add(certificateLife),
		URIs:        []*url.URL{{Scheme: nodeScheme, Host: nodeDomain, Path: nodePath + node}},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return template
}

// ServerNames are the names and addresses by which clients may reach a listener
// on this host: all of the machine's when it listens everywhere ("", "0.0.0.0",
// "::"). More names, such as the advertised one, are added; duplicates are not.
func ServerNames(host string, more ...string) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		names = append(names, host)
	} else {
		names = append(names, machineNames()...)
	}
	for _, name := range more {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// machineNames is best effort: without it the loopback names still work.
func machineNames() []string {
	var names []string
	if name, err := os.Hostname(); err == nil {
		names = append(names, name)
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return names
	}
	for _, a := range addresses {
		if network, ok := a.(*net.IPNet); ok && !network.IP.IsLoopback() {
			names = append(names, network.IP.String())
		}
	}
	return names
}

// CertificateConfig says whose certificate is kept, and where.
type CertificateConfig struct {
	Authority *Authority
	Dir       string   // the certificate folder
	Node      string   // this node's name
	Names     []string // by which clients reach it, see [ServerNames]
	Now       func() time.Time
	Log       *slog.Logger
}

// Certificates keeps a node's certificate valid while it runs.
type Certificates struct {
	config  CertificateConfig
	key     *ecdsa.PrivateKey
	current atomic.Pointer[tls.Certificate]
}

// OpenCertificates loads the node's certificate, or issues one when there is
// none, when it ends soon, or when it does not say what it should. The key, once
// made, stays: other members know the node by it. A damaged key is Unavailable
// and never replaced.
func OpenCertificates(c CertificateConfig) (*Certificates, error) {
	key, err := NodeKey(c.Dir)
	if err != nil {
		return nil, err
	}
	kept := &Certificates{config: c, key: key}
	return kept, kept.Refresh()
}

// Refresh makes sure that the certificate is good for a while. Open connections
// keep the one that they began with.
func (c *Certificates) Refresh() error {
	now, path := c.config.Now(), filepath.Join(c.config.Dir, nodeFile)
	leaf, err := readLeaf(path)
	if err != nil || !c.good(leaf, now) {
		if leaf, err = c.config.Authority.issue(nodeTemplate(c.config.Node, c.config.Names, now), &c.key.PublicKey); err != nil {
			return err
		}
		if err := WritePrivate(path, pemCertificate(leaf.Raw)); err != nil {
			return err
		}
	}
	c.current.Store(&tls.Certificate{
		// The authority's certificate goes along so that a machine that knows
		// only its fingerprint can check the chain.
		Certificate: [][]byte{leaf.Raw, c.config.Authority.certificate.Raw}, PrivateKey: c.key, Leaf: leaf,
	})
	return nil
}

// good says whether a certificate is what this node would be issued now.
func (c *Certificates) good(leaf *x509.Certificate, now time.Time) bool {
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: c.config.Authority.roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err == nil && leaf.NotAfter.After(now.Add(RenewBefore)) && nodeOf(leaf) == c.config.Node && c.key.PublicKey.Equal(leaf.PublicKey) &&
		!slices.ContainsFunc(c.config.Names, func(n string) bool { return leaf.VerifyHostname(n) != nil })
}

func readLeaf(path string) (*x509.Certificate, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, errors.New("not PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// Get hands the certificate to a server's handshake.
func (c *Certificates) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// GetClient hands the certificate to a client's handshake.
func (c *Certificates) GetClient(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// Pin is the pin of this node's key.
func (c *Certificates) Pin() Pin { return PinOf(c.current.Load().Leaf) }

// Expires is the end of the present certificate. Less than RenewBefore ahead
// means that renewing fails.
func (c *Certificates) Expires() time.Time { return c.current.Load().Leaf.NotAfter }

// Run renews the certificate until ctx ends.
func (c *Certificates) Run(ctx context.Context) {
	ticker := time.NewTicker(renewalInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := c.Refresh(); err != nil {
			c.config.Log.Error("the certificate cannot be renewed", "error", err)
		}
	}
}

// NodeKey loads the node's key from a certificate folder, or makes it there.
func NodeKey(dir string) (*ecdsa.PrivateKey, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, tap.Wrap("cluster.key", tap.Unavailable, err, "the certificate folder cannot be made")
	}
	path := filepath.Join(dir, nodeKeyFile)
	key, err := openKey(path)
	if err != nil {
		return nil, tap.Wrap("cluster.key", tap.Unavailable, err,
			"the node's key %s cannot be used; put back the copy you kept. Other members know this node by it: without it, remove the node and join under a new name", path)
	}
	return key, nil
}

// openKey loads an ECDSA key, or makes it durably.
func openKey(path string) (*ecdsa.PrivateKey, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		return key, WritePrivate(path, pemKey(key))
	}
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(raw)
	if block == nil || len(rest) > 0 {
		return nil, errors.New("not one PEM block")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("not a PKCS#8 key")
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("not an ECDSA key on P-256")
	}
	return key, nil
}

func pemKey(key *ecdsa.PrivateKey) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic("cluster: a key that cannot be encoded: " + err.Error()) // P-256 always can
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func pemCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
