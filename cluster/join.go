package cluster

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

// JoinPath is where a member takes in another machine.
const JoinPath = "/v1/cluster/join"

const (
	joinTimeout  = 20 * time.Second // for one member, from connecting to its whole answer
	maxJoinReply = 256 << 10        // bytes
)

// JoinRequest is the machine that wants to join.
type JoinRequest struct {
	Node    string // the name it will have
	Address string // HOST:PORT, where the other nodes will reach it
	Release string // what it runs, for people
	Version uint32 // the newest commands that it can apply
	Key     *ecdsa.PrivateKey
	Now     func() time.Time
}

// JoinBody is the body of POST [JoinPath].
type JoinBody struct {
	Secret  []byte `json:"secret"`
	Node    string `json:"node"`
	Address string `json:"address"`
	Release string `json:"release"`
	Version uint32 `json:"version"`
	CSR     []byte `json:"csr"` // PKCS#10, DER
}

// JoinReply is its answer. It holds the site's keys: only a machine that was
// invited gets one.
type JoinReply struct {
	Site         string       `json:"site"`
	Node         string       `json:"node"`
	Observer     bool         `json:"observer"`    // it will not vote
	Certificate  string       `json:"certificate"` // PEM: the node's, then the authority's
	AuthorityKey string       `json:"authorityKey"`
	LedgerKey    string       `json:"ledgerKey"`
	Members      []JoinMember `json:"members"`
}

// JoinMember is a member of the site, as a machine that joins hears of it.
type JoinMember struct {
	Node    string `json:"node"`
	Address string `json:"address"`
}

// Joined is what a machine gets with a join.
type Joined struct {
	Site      string
	Observer  bool
	Members   []JoinMember
	LedgerKey []byte

	authority, authorityKey, certificate []byte // PEM
}

// Install writes the authority and the node's certificate into a certificate
// folder, the one whose [NodeKey] was joined with. The ledger key is the
// caller's to keep.
func (j *Joined) Install(dir string) (*Authority, error) {
	a, err := InstallAuthority(dir, j.authority, j.authorityKey)
	if err != nil {
		return nil, err
	}
	return a, WritePrivate(filepath.Join(dir, nodeFile), j.certificate)
}

// Join presents the token to the members that it names, one after the other,
// until one takes the machine in or refuses it. The same token with the same key
// may be presented again when an answer was lost: it is one request, with one
// id. The error is what the member said, or Unavailable when none could be asked.
func Join(ctx context.Context, token Token, r JoinRequest) (*Joined, error) {
	body, id, err := r.encode(token)
	if err != nil {
		return nil, err
	}
	var last error
	for _, address := range token.Addresses {
		reply, err := ask(ctx, token, r.Now, address, id, body)
		if err == nil {
			return r.check(token, reply)
		}
		last = err
		if e := tap.AsError(err); !e.Kind.Traits().Retryable && e.Code != codeForeignSite || ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

// encode makes the request's body and id. Both depend on nothing but the token,
// the key and the request, so that a repetition is the same request: the
// signature of the PKCS#10 request is deterministic (RFC 6979).
func (r *JoinRequest) encode(token Token) (body []byte, id uuid.UUID, err error) {
	if !tap.ValidName(r.Node) {
		return nil, id, tap.E("cluster.join", tap.Invalid, "a node's name is 1 to 64 of a-z, 0-9, '-', '_' and '.'").WithCode("name")
	}
	if err := CheckAddress(r.Address); err != nil {
		return nil, id, err
	}
	csr, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{Subject: pkix.Name{CommonName: r.Node}}, r.Key)
	if err != nil {
		return nil, id, tap.Wrap("cluster.join", tap.Internal, err, "the certificate request cannot be made")
	}
	body, err = json.Marshal(JoinBody{token.Secret, r.Node, r.Address, r.Release, r.Version, csr})
	if err != nil {
		return nil, id, tap.Wrap("cluster.join", tap.Internal, err, "the request cannot be encoded")
	}
	return body, uuid.NewHash(sha256.New(), uuid.NameSpaceOID, body, 8), nil
}

const codeForeignSite = "foreign_site"

// ask sends the request to one member.
func ask(ctx context.Context, token Token, now func() time.Time, address string, id uuid.UUID, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	client := &http.Client{
		Transport: &http.Transport{TLSClientConfig: pinned(token.Fingerprint, now), DisableKeepAlives: true},
		// Nobody may send the secret elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+JoinPath, bytes.NewReader(body))
	if err != nil {
		return nil, tap.Wrap("cluster.join", tap.Invalid, err, "the address %s cannot be asked", address)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", id.String())
	response, err := client.Do(request)
	if err != nil {
		return nil, unreachable(address, err)
	}
	defer response.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(response.Body, maxJoinReply+1))
	switch {
	case err != nil:
		return nil, tap.Wrap("cluster.join", tap.Timeout, err, "the answer of %s was cut short", address)
	case len(reply) > maxJoinReply:
		return nil, tap.E("cluster.join", tap.Internal, "the answer of %s is longer than %d bytes", address, maxJoinReply)
	case response.StatusCode == http.StatusOK:
		return reply, nil
	}
	if e, _, ok := tap.ParseErrorBody(reply); ok {
		return nil, e
	}
	return nil, tap.E("cluster.join", tap.Unavailable, "the server at %s answered %s", address, response.Status)
}

// errForeign is the cause when a server does not belong to the invitation's site.
var errForeign = errors.New("not of the site that the token names")

// unreachable types a failure of the connection; a certificate that is wrong is
// told apart from a machine that is away.
func unreachable(address string, err error) error {
	var invalid x509.CertificateInvalidError
	switch {
	case errors.Is(err, errForeign):
		return tap.Wrap("cluster.join", tap.Unauthenticated, err, "the server at %s does not belong to the site that the token names", address).
			WithCode(codeForeignSite)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return tap.Wrap("cluster.join", tap.Unauthenticated, err, "the certificate of %s is not valid now; check this machine's clock", address).
			WithCode("clock")
	}
	return tap.Wrap("cluster.join", tap.Unavailable, err, "the member at %s cannot be reached", address)
}

// pinned trusts servers whose chain ends in the authority with the fingerprint,
// by whatever name: any member of the site will do.
func pinned(fingerprint [32]byte, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
		InsecureSkipVerify: true, // VerifyConnection is the whole verification
		VerifyConnection: func(state tls.ConnectionState) error {
			for _, c := range state.PeerCertificates {
				if sha256.Sum256(c.Raw) != fingerprint {
					continue
				}
				leaf := state.PeerCertificates[0]
				if _, err := leaf.Verify(x509.VerifyOptions{Roots: poolOf(c), CurrentTime: now()}); err != nil {
					return err
				}
				if nodeOf(leaf) == "" {
					return errForeign
				}
				return nil
			}
			return errForeign
		},
	}
}

// check holds that the reply is what was asked for: a certificate for this node
// and this key, by the authority that the token names.
func (r *JoinRequest) check(token Token, reply []byte) (*Joined, error) {
	damaged := func(err error) (*Joined, error) {
		return nil, tap.Wrap("cluster.join", tap.Internal, err, "the member's answer is not what was asked for").WithCode("join_reply")
	}
	var in JoinReply
	if err := decodeStrict(reply, &in); err != nil {
		return damaged(err)
	}
	block, rest := pem.Decode([]byte(in.Certificate))
	if block == nil {
		return damaged(errors.New("no certificate"))
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return damaged(err)
	}
	a, err := parseAuthority(rest, []byte(in.AuthorityKey))
	switch {
	case err != nil:
		return damaged(err)
	case a.Fingerprint() != token.Fingerprint:
		return damaged(errForeign)
	case nodeOf(leaf) != r.Node || in.Node != r.Node || !r.Key.PublicKey.Equal(leaf.PublicKey):
		return damaged(errors.New("a certificate for another node or key"))
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: a.roots, CurrentTime: r.Now()}); err != nil {
		return damaged(err)
	}
	if err := in.complete(); err != nil {
		return damaged(err)
	}
	certificate, key := a.Keys()
	return &Joined{
		Site: in.Site, Observer: in.Observer, Members: in.Members, LedgerKey: []byte(in.LedgerKey),
		authority: certificate, authorityKey: key, certificate: pemCertificate(leaf.Raw),
	}, nil
}

// complete holds that nothing is missing beside the certificate.
func (r *JoinReply) complete() error {
	if !tap.ValidName(r.Site) || r.LedgerKey == "" || len(r.Members) == 0 {
		return errors.New("incomplete")
	}
	for _, m := range r.Members {
		if !tap.ValidName(m.Node) || CheckAddress(m.Address) != nil {
			return errors.New("a member without name or address")
		}
	}
	return nil
}

// Host is the host of a HOST:PORT address, for [ServerNames]; "" if it is none.
func Host(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	return host
}
