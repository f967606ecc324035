package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"tamv.internal/tamv/tap"
)

// The files of a certificate folder.
const (
	AuthorityFile    = "ca.pem"
	AuthorityKeyFile = "ca.key"
	nodeFile         = "node.pem"
	nodeKeyFile      = "node.key"
)

const (
	authorityLife   = 10 * 365 * 24 * time.Hour
	certificateLife = 397 * 24 * time.Hour // the longest that browsers accept
	// clockSlack is how much earlier certificates start: a node whose wall
	// clock is set back a day must not shut out the others, nor itself.
	clockSlack = 48 * time.Hour
)

// Authority is the site's own certificate authority. There is no other: an
// air-gapped site has nobody to ask.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	roots       *x509.CertPool
}

// OpenAuthority loads the authority from a certificate folder, or founds it
// there. Half an authority, or a damaged one, is Unavailable: it is a loss to be
// mended from the copy that was kept, and not a reason to break every member's
// and every client's trust with a new one.
func OpenAuthority(dir string, now time.Time) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, tap.Wrap("cluster.authority", tap.Unavailable, err, "the certificate folder cannot be made")
	}
	certFile, keyFile := filepath.Join(dir, AuthorityFile), filepath.Join(dir, AuthorityKeyFile)
	if absent(certFile) {
		return found(certFile, keyFile, now)
	}
	certificate, err := os.ReadFile(certFile)
	var key []byte
	if err == nil {
		key, err = os.ReadFile(keyFile)
	}
	var a *Authority
	if err == nil {
		a, err = parseAuthority(certificate, key)
	}
	if err != nil {
		return nil, tap.Wrap("cluster.authority", tap.Unavailable, err,
			"the certificate authority in %s is incomplete or damaged; put back the copy you kept, or remove ca.pem and ca.key to found a new one", dir)
	}
	return a, nil
}

// found makes the authority's certificate, last of its two files. A key that is
// there already, because a start was cut off in between or ca.pem was lost, is
// kept: under the same key and name, trust in the old certificate holds.
func found(certFile, keyFile string, now time.Time) (*Authority, error) {
	fresh := absent(keyFile)
	key, err := openKey(keyFile)
	if err != nil && fresh {
		return nil, err // it could not be made, and says why
	}
	if err != nil {
		return nil, tap.Wrap("cluster.authority", tap.Unavailable, err,
			"the certificate authority's key %s is damaged; put back the copy you kept, or remove it to found a new authority", keyFile)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "TAMV site authority"}, NotBefore: now.Add(-clockSlack), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	a := &Authority{certificate: template, key: key}
	if a.certificate, err = a.issue(template, &key.PublicKey); err != nil {
		return nil, err
	}
	a.roots = poolOf(a.certificate)
	return a, WritePrivate(certFile, pemCertificate(a.certificate.Raw))
}

// InstallAuthority puts an authority that came from elsewhere, with a join or
// out of the recovery file, into a certificate folder. A folder that has another
// one is a Conflict.
func InstallAuthority(dir string, certificate, key []byte) (*Authority, error) {
	a, err := parseAuthority(certificate, key)
	if err != nil {
		return nil, tap.Wrap("cluster.authority", tap.Invalid, err, "this is no certificate authority with its key").WithCode("authority")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, tap.Wrap("cluster.authority", tap.Unavailable, err, "the certificate folder cannot be made")
	}
	certFile := filepath.Join(dir, AuthorityFile)
	if raw, err := os.ReadFile(certFile); err == nil {
		if block, _ := pem.Decode(raw); block == nil || string(block.Bytes) != string(a.certificate.Raw) {
			return nil, tap.E("cluster.authority", tap.Conflict, "%s belongs to another site", dir).WithCode("other_site")
		}
	}
	certificate, key = a.Keys()
	if err := WritePrivate(filepath.Join(dir, AuthorityKeyFile), key); err != nil {
		return nil, err
	}
	return a, WritePrivate(certFile, certificate)
}

// parseAuthority reads the two PEM files and holds that they belong together.
func parseAuthority(certificate, key []byte) (*Authority, error) {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	signer, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, errors.New("not an ECDSA authority")
	}
	return &Authority{certificate: pair.Leaf, key: signer, roots: poolOf(pair.Leaf)}, nil
}

// Fingerprint is the SHA-256 of the authority's certificate, in DER: what a join
// token carries and what people compare.
func (a *Authority) Fingerprint() [32]byte { return sha256.Sum256(a.certificate.Raw) }

// Keys is the authority as two PEM files. The key is the site's greatest secret.
func (a *Authority) Keys() (certificate, key []byte) {
	return pemCertificate(a.certificate.Raw), pemKey(a.key)
}

// Secret derives 32 bytes that every member can derive and nobody else: the same
// ones for the same label and id.
func (a *Authority) Secret(label string, id []byte) []byte {
	key, err := a.key.Bytes()
	if err == nil {
		key, err = hkdf.Key(sha256.New, key, id, "tamv "+label, sha256.Size)
	}
	if err != nil {
		panic("cluster: a key that cannot be derived from: " + err.Error()) // P-256 and 32 bytes always can
	}
	return key
}

// Sign checks a PKCS#10 request (DER) and signs a certificate for the node: as
// PEM, the node's certificate followed by the authority's. The request must be
// signed by the key it holds, an ECDSA key on P-256, and name this node or none.
// The certificate is for the node's address (HOST:PORT) and for the loopback
// names; what else the request wishes for is ignored.
func (a *Authority) Sign(request []byte, node, address string, now time.Time) (chain []byte, pin Pin, err error) {
	if err := CheckAddress(address); err != nil {
		return nil, pin, err
	}
	csr, err := x509.ParseCertificateRequest(request)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return nil, pin, tap.Wrap("cluster.sign", tap.Invalid, err, "the certificate request does not parse or does not verify").WithCode("csr")
	}
	key, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, pin, tap.E("cluster.sign", tap.Invalid, "a node's key is an ECDSA key on P-256").WithCode("csr")
	}
	if claimed := csr.Subject.CommonName; claimed != "" && claimed != node || !tap.ValidName(node) {
		return nil, pin, tap.E("cluster.sign", tap.Invalid, "the certificate request is for another node").WithCode("csr")
	}
	leaf, err := a.issue(nodeTemplate(node, ServerNames(Host(address)), now), key)
	if err != nil {
		return nil, pin, err
	}
	return append(pemCertificate(leaf.Raw), pemCertificate(a.certificate.Raw)...), PinOf(leaf), nil
}

// issue signs a certificate for a key.
func (a *Authority) issue(template *x509.Certificate, key *ecdsa.PublicKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, tap.Wrap("cluster.authority", tap.Internal, err, "no randomness")
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key, a.key)
	if err != nil {
		return nil, tap.Wrap("cluster.authority", tap.Internal, err, "the certificate cannot be signed")
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, tap.Wrap("cluster.authority", tap.Internal, err, "the certificate cannot be read back")
	}
	return leaf, nil
}

func poolOf(certificate *x509.Certificate) *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	return roots
}
