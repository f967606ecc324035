package appliance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"tamv.internal/tamv/tap"
)

const (
	authorityLife   = 10 * 365 * 24 * time.Hour
	certificateLife = 397 * 24 * time.Hour // the longest that browsers accept
	renewBefore     = 30 * 24 * time.Hour
	clockSlack      = time.Hour // certificates start this much earlier
)

// authority is the site's own certificate authority. There is no other: an
// air-gapped site has nobody to ask.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
	file        string // PEM of the certificate, for clients
}

// openAuthority loads the authority from a folder, or founds it.
func openAuthority(dir string, now time.Time) (*authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, tap.Wrap("appliance.ca", tap.Unavailable, err, "the certificate folder cannot be made")
	}
	a := &authority{file: filepath.Join(dir, "ca.pem")}
	keyFile := filepath.Join(dir, "ca.key")
	if absent(a.file) {
		return a, a.found(keyFile, now)
	}
	// A certificate without its key is a loss to be mended, not a reason to
	// break every client's trust with a new authority.
	pair, err := tls.LoadX509KeyPair(a.file, keyFile)
	if err != nil {
		return nil, tap.Wrap("appliance.ca", tap.Unavailable, err, "the certificate authority in %s is incomplete or damaged; put back the copy you kept, or remove ca.pem and ca.key to found a new one", dir)
	}
	a.certificate, a.key = pair.Leaf, pair.PrivateKey.(crypto.Signer)
	return a, nil
}

// found makes the authority's certificate, last of its two files. A key that is
// there already, because a start was cut off in between or ca.pem was lost, is
// kept: under the same key and name, clients' trust in the old certificate
// holds.
func (a *authority) found(keyFile string, now time.Time) error {
	key, err := openAuthorityKey(keyFile)
	if err != nil {
		return err
	}
	a.key = key
	a.certificate = &x509.Certificate{
		Subject: pkix.Name{CommonName: "TAMV site authority"}, NotBefore: now.Add(-clockSlack), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	issued, err := a.issue(a.certificate, key)
	if err != nil {
		return err
	}
	a.certificate = issued.leaf
	return issued.write(a.file, keyFile)
}

// openAuthorityKey loads the authority's key, or makes one.
func openAuthorityKey(path string) (*ecdsa.PrivateKey, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, tap.Wrap("appliance.ca", tap.Internal, err, "no key for the certificate authority")
		}
		return key, nil
	}
	if err == nil {
		if block, _ := pem.Decode(raw); block != nil {
			if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
				if key, ok := key.(*ecdsa.PrivateKey); ok {
					return key, nil
				}
			}
		}
	}
	return nil, tap.Wrap("appliance.ca", tap.Unavailable, err, "the certificate authority's key %s is damaged; put back the copy you kept, or remove it to found a new authority", path)
}

// issued is a fresh certificate with its key.
type issued struct {
	leaf *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue signs a certificate for a key.
func (a *authority) issue(template *x509.Certificate, key *ecdsa.PrivateKey) (*issued, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, tap.Wrap("appliance.ca", tap.Internal, err, "no randomness")
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		return nil, tap.Wrap("appliance.ca", tap.Internal, err, "the certificate cannot be signed")
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, tap.Wrap("appliance.ca", tap.Internal, err, "the certificate cannot be read back")
	}
	return &issued{leaf, key}, nil
}

func (i *issued) write(certFile, keyFile string) error {
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		return tap.Wrap("appliance.ca", tap.Internal, err, "the key cannot be encoded")
	}
	err = writePrivate(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err == nil {
		err = writePrivate(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.leaf.Raw}))
	}
	return err
}

// serverNames are the names and addresses by which clients may reach a
// listener on this host: all of the machine's when it listens everywhere.
func serverNames(host string) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return append(names, host)
	}
	if name, err := os.Hostname(); err == nil {
		names = append(names, name)
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return names // the names above still work
	}
	for _, a := range addresses {
		if network, ok := a.(*net.IPNet); ok && !network.IP.IsLoopback() {
			names = append(names, network.IP.String())
		}
	}
	return names
}

// named says whether a certificate is good for every one of the names.
func named(c *x509.Certificate, names []string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return c.VerifyHostname(n) != nil })
}

// serverCertificate loads this node's certificate, or issues a new one when
// there is none, when it ends soon, or when it lacks one of the names.
func (a *authority) serverCertificate(dir string, names []string, now time.Time) (*tls.Certificate, error) {
	certFile, keyFile := filepath.Join(dir, "node.pem"), filepath.Join(dir, "node.key")
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err == nil && pair.Leaf.NotAfter.After(now.Add(renewBefore)) && named(pair.Leaf, names) {
		return &pair, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, tap.Wrap("appliance.ca", tap.Internal, err, "no key for the node")
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "tamvd"}, NotBefore: now.Add(-clockSlack), NotAfter: now.Add(certificateLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	fresh, err := a.issue(template, key)
	if err != nil {
		return nil, err
	}
	if err := fresh.write(certFile, keyFile); err != nil {
		return nil, err
	}
	pair, err = tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, tap.Wrap("appliance.ca", tap.Internal, err, "the node's certificate cannot be read back")
	}
	return &pair, nil
}

// absent says whether there is no file at path.
func absent(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// writePrivate writes a file that only its owner may read, whole or not at
// all, durably.
func writePrivate(path string, data []byte) error {
	incoming := path + ".incoming"
	f, err := os.OpenFile(incoming, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err == nil {
		_, err = f.Write(data)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err == nil {
		err = os.Rename(incoming, path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		return tap.Wrap("appliance.write", tap.Unavailable, err, "the file %s cannot be written", path)
	}
	return nil
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
