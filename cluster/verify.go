package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"

	"tamv.internal/tamv/tap"
)

// Roster is what a link knows about the members of the site. Its answers may
// lag behind the commit that changed them; [Link.Recheck] makes up for that.
type Roster interface {
	// Pin is the pinned key of a member; ok is false for a node that is not
	// known (yet).
	Pin(node string) (pin [32]byte, ok bool)
	// NodeAt is the member that lives at an address; ok is false when nobody
	// is known to.
	NodeAt(address string) (node string, ok bool)
	// Removed says whether a node was a member and is none for good. One that
	// still votes must not be reported: if its voice is needed to take it out
	// of the configuration, cutting it off first would stop the site.
	Removed(node string) bool
	// RevokedKey says whether a key was that of a removed node; as Removed.
	RevokedKey(pin [32]byte) bool
	// Expected says whether a node may connect: a member, or one that this
	// node cannot know to be none. The authority's word is not enough, because
	// a member that was removed keeps the authority's key and can sign any name.
	Expected(node string) bool
}

// Reason is why a connection was refused. The set is closed.
type Reason string

// The reasons, in the order in which they are found.
const (
	ReasonNoCertificate Reason = "no_certificate" // the other side showed none
	ReasonForeign       Reason = "foreign"        // not signed by the site's authority
	ReasonExpired       Reason = "expired"        // ended, or not begun, by this node's clock
	ReasonWrongUse      Reason = "wrong_use"      // not meant for this end of a connection
	ReasonWrongName     Reason = "wrong_name"     // names no node, or another than lives at the address
	ReasonRemoved       Reason = "removed"        // of a node that was removed
	ReasonRevokedKey    Reason = "revoked_key"    // of a removed node, under another name
	ReasonWrongKey      Reason = "wrong_key"      // of a member, but not with its pinned key
	ReasonUnknown       Reason = "unknown"        // signed by the authority, and of nobody whom the site took in
)

// Refusal is a connection that did not pass. It is an error.
type Refusal struct {
	Reason  Reason
	Node    string // as the certificate names it, "" if it names none; not proven when the reason is foreign
	Address string // HOST:PORT of the other side: dialed, or as the connection came
	Dialed  bool   // this node was the one that connected
}

func (r *Refusal) Error() string {
	return "cluster: the peer at " + r.Address + " was refused: " + string(r.Reason)
}

// forbidden is the refusal for callers.
func (r *Refusal) forbidden() error {
	return tap.Wrap("cluster.link", tap.Forbidden, r, "the node at %s was refused: %s", r.Address, r.Reason).
		WithCode(codeRefused).WithDetail("reason", string(r.Reason)).WithDetail("node", r.Node)
}

const codeRefused = "node_refused"

// peer is the proven other end of a connection.
type peer struct {
	node   string
	pin    Pin
	dialed bool // by this node
}

// verifier answers the questions of the package comment.
type verifier struct {
	authority *Authority
	roster    Roster
	now       func() time.Time
}

// verify checks the other side of a handshake.
func (v *verifier) verify(state *tls.ConnectionState, address string, dialed bool) (peer, *Refusal) {
	refused := func(reason Reason, node string) (peer, *Refusal) {
		return peer{}, &Refusal{Reason: reason, Node: node, Address: address, Dialed: dialed}
	}
	if len(state.PeerCertificates) == 0 {
		return refused(ReasonNoCertificate, "")
	}
	leaf := state.PeerCertificates[0]
	p := peer{nodeOf(leaf), PinOf(leaf), dialed}
	if reason := v.certificate(leaf, dialed); reason != "" {
		return refused(reason, p.node)
	}
	if p.node == "" {
		return refused(ReasonWrongName, "")
	}
	if resident, known := v.roster.NodeAt(address); dialed && known && resident != p.node {
		return refused(ReasonWrongName, p.node)
	}
	if reason := v.standing(p); reason != "" {
		return refused(reason, p.node)
	}
	return p, nil
}

// certificate checks what a certificate says for itself.
func (v *verifier) certificate(leaf *x509.Certificate, dialed bool) Reason {
	use := x509.ExtKeyUsageClientAuth
	if dialed {
		use = x509.ExtKeyUsageServerAuth
	}
	// Asked first, because Verify calls a stranger's old certificate expired.
	if leaf.CheckSignatureFrom(v.authority.certificate) != nil {
		return ReasonForeign
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: v.authority.roots, CurrentTime: v.now(), KeyUsages: []x509.ExtKeyUsage{use}})
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return ReasonExpired
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return ReasonWrongUse
	}
	return ReasonForeign
}

// standing checks what the site says about a node. One that this node dialed
// was chosen by its address, which replication or a member's record gave.
func (v *verifier) standing(p peer) Reason {
	pin, known := v.roster.Pin(p.node)
	switch {
	case v.roster.Removed(p.node):
		return ReasonRemoved
	case v.roster.RevokedKey(p.pin):
		return ReasonRevokedKey
	case known && pin != p.pin:
		return ReasonWrongKey
	case !p.dialed && !v.roster.Expected(p.node):
		return ReasonUnknown
	}
	return ""
}
