package anubis

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// The refusals' codes that package tap does not name already.
const (
	codeOK              = "ok"
	codeUnknownIdentity = "unknown_identity"
	codeReplayed        = "replayed"
	codeRevoked         = "revoked"
	codeRole            = "role"
	codeRateIdentity    = "rate_identity"
	codeRateAddress     = "rate_address"
	codeNoncesFull      = "nonces_full"
	codeHandshake       = "handshake"
	codeBlocked         = "blocked"
)

// Limits bound what one caller may ask and what the gate remembers.
type Limits struct {
	Identity  Rate // requests per identity
	Address   Rate // requests per address, whoever sends them
	Failures  Rate // refused attempts per address; beyond it nothing is verified
	Addresses int  // addresses, and identities, with a bucket at a time
	Nonces    int  // nonces remembered at a time
}

// DefaultLimits are the limits of a site that set none.
func DefaultLimits() Limits {
	return Limits{
		Identity:  Rate{2000, 4000},
		Address:   Rate{50000, 100000},
		Failures:  Rate{50, 200},
		Addresses: 1 << 16,
		Nonces:    1 << 22,
	}
}

// Config is what a Gate joins.
type Config struct {
	Directory *Directory
	View      store.View
	Writer    store.Committer // for attempts and session records
	Now       func() time.Time
	Log       *slog.Logger
	Limits    Limits
	// Fresh returns once this node has applied what any node had acknowledged
	// before; nil where there is only one. Somebody whom this node does not
	// know may have been enrolled at another a moment ago.
	Fresh func(context.Context) error
	// Watchlist has the policy of alerts and the blocked addresses; nil = the
	// gate looks for no patterns and blocks nobody.
	Watchlist *Watchlist
	// Exempt says which addresses, besides loopback, are never blocked: those of
	// the site's members. It is asked without a zone and must be quick; nil = none.
	Exempt func(netip.Addr) bool
}

// Gate decides who speaks. It is a [pods.Gate], and the authenticator of TAP
// sessions. All methods are safe for concurrent use.
type Gate struct {
	directory  *Directory
	view       store.View
	fresh      func(context.Context) error
	now        func() time.Time
	identities *buckets[string]
	addresses  *buckets[netip.Addr]
	failures   *buckets[netip.Addr]
	nonces     *nonces
	sessions   *sessions
	attempts   *attempts
	pleas      *buckets[netip.Addr] // looks at requests from blocked addresses
	sentry     *sentry              // nil = no alerts
	recorder   *recorder
	metrics    *metrics
}

// pleaRate is how often somebody at a blocked address may ask to be let in again.
var pleaRate = Rate{PerSecond: 0.5, Burst: 5}

// New joins the parts. Somebody must run [Gate.Run], which writes what the gate
// counts.
func New(c Config) *Gate {
	g := &Gate{
		directory:  c.Directory,
		view:       c.View,
		fresh:      c.Fresh,
		now:        c.Now,
		identities: newBuckets[string](c.Limits.Identity, c.Limits.Addresses),
		addresses:  newBuckets[netip.Addr](c.Limits.Address, c.Limits.Addresses),
		failures:   newBuckets[netip.Addr](c.Limits.Failures, c.Limits.Addresses),
		nonces:     newNonces(c.Limits.Nonces),
		sessions:   newSessions(),
		attempts:   newAttempts(),
		pleas:      newBuckets[netip.Addr](pleaRate, maxTraces),
	}
	g.recorder = &recorder{writer: c.Writer, log: c.Log}
	g.metrics = newMetrics(g)
	if c.Watchlist != nil {
		g.sentry = newSentry(c.Watchlist, c.Exempt, g.metrics)
		c.Watchlist.onLift(g.sentry.lifted)
		g.metrics.watch(c.Watchlist, c.Now)
	}
	return g
}

// claim is whom an attempt says it comes from, as far as it is known yet.
type claim struct {
	tenant, identity string
	remote           netip.Addr
}

func unclaimed(remote netip.Addr) claim { return claim{tap.DefaultTenant, anonymous, remote} }

// is takes over an identity that is enrolled.
func (c *claim) is(s *standing) { c.tenant, c.identity = s.tenant, s.identity.Name }

// names takes over a well-formed key id of nobody we know. A tenant that does
// not exist is not given a ledger entry of its own, and a name in it must not
// pass for the same name in ours.
func (c *claim) names(keyID string, d *Directory) {
	if tenant, identity, ok := tap.SplitKeyID(keyID); ok && d.knows(tenant) {
		c.tenant, c.identity = tenant, identity
	}
}

// Admit says whether the request may reach the route, and for whom it speaks.
// The error is one of those that the package comment lists.
func (g *Gate) Admit(ctx context.Context, r *tap.Request, row *pods.Row) (*pods.Admission, error) {
	now, c := g.now(), unclaimed(r.Remote)
	admission, err := g.admit(r, row, now, &c)
	if err != nil && g.catchUp(ctx, err) {
		admission, err = g.admit(r, row, now, &c)
	}
	if err != nil {
		return nil, g.refused(c, err, now)
	}
	// A session's attempt was counted when it was established; a route for
	// anyone asks nobody who they are.
	if r.Session == nil && admission.Principal != nil {
		g.note(c, codeOK, now)
	}
	return admission, nil
}

// catchUpTimeout bounds the wait for what other nodes may know.
const catchUpTimeout = 2 * time.Second

// catchUp says whether a refusal may come from an old state and is worth another
// look. It waits until the state is fresh; who fails too often is not waited for,
// see checkAddress.
func (g *Gate) catchUp(ctx context.Context, refusal error) bool {
	code := tap.AsError(refusal).StableCode()
	if g.fresh == nil || code != codeUnknownIdentity && code != codeRole {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	before := g.view.Clock()
	return g.fresh(ctx) == nil && g.view.Clock() != before
}

func (g *Gate) admit(r *tap.Request, row *pods.Row, now time.Time, c *claim) (*pods.Admission, error) {
	if r.Session == nil {
		if err := g.checkBlocked(r.Remote, now); err != nil && !g.mayPlead(r, row, now) {
			return nil, err
		}
	}
	if err := g.checkAddress(r.Remote, now); err != nil {
		return nil, err
	}
	switch {
	case len(row.Roles) == 1 && row.Roles[0] == tap.Anyone:
		return &pods.Admission{}, nil
	case r.Session != nil:
		return g.admitSession(r.Session, row, now, c)
	}
	return g.admitSigned(r, row, now, c)
}

func (g *Gate) checkAddress(remote netip.Addr, now time.Time) error {
	address := network(remote)
	if g.failures.spent(address, now) || !g.addresses.take(address, now) {
		return limited(codeRateAddress, "this address sends too much, or failed too often")
	}
	return nil
}

// admitSigned checks a request that carries its own signature, cheap questions
// first.
func (g *Gate) admitSigned(r *tap.Request, row *pods.Row, now time.Time, c *claim) (*pods.Admission, error) {
	sig, err := tap.ParseSignature(r)
	if err != nil {
		return nil, err
	}
	who, err := g.find(sig.KeyID, now, c)
	if err != nil {
		return nil, err
	}
	if err := sig.CheckTime(now); err != nil {
		return nil, err
	}
	id := idOfNonce(sig.KeyID, sig.Nonce)
	record := store.K(who.tenant, SpaceNonce, who.identity.Name, sig.Nonce)
	if err := g.checkNonce(id, record, sig, now); err != nil {
		return nil, err
	}
	if err := sig.VerifyDigest(r); err != nil {
		return nil, err
	}
	if err := sig.Verify(who.key); err != nil {
		return nil, err
	}
	principal, err := g.authorise(who, narrowed(who.principal, r), row, now)
	if err != nil {
		return nil, err
	}
	if err := nonceError(g.nonces.spend(id, sig.Created, now)); err != nil {
		return nil, err
	}
	ops := append(make([]store.Op, 0, 3),
		store.Create(record, []byte{1}), store.Expire(record, g.keepNonce(sig.Created, now)))
	return &pods.Admission{Principal: principal, Ops: append(ops, g.unchanged(who, row)...)}, nil
}

// keepNonce is until when, by the machine's clock, the cluster remembers a
// nonce: as long as the signature can still pass the window here, and one
// window more because clocks differ. The machine's clock never goes back, so it
// may be far ahead of this node's.
func (g *Gate) keepNonce(created, now time.Time) int64 {
	return max(now.UnixMicro(), g.view.Clock()) + (created.Sub(now) + 2*tap.SignatureWindow).Microseconds()
}

// admitSession checks a request on a session that authenticated itself.
func (g *Gate) admitSession(p *tap.Principal, row *pods.Row, now time.Time, c *claim) (*pods.Admission, error) {
	who, err := g.find(p.KeyID, now, c)
	if err != nil {
		return nil, err
	}
	if p, err = g.authorise(who, p, row, now); err != nil {
		return nil, err
	}
	return &pods.Admission{Principal: p, Ops: g.unchanged(who, row)}, nil
}

// find looks the identity up. That its bucket is empty is asked before anything
// costly; a token is taken only from callers who proved that it is theirs.
func (g *Gate) find(keyID string, now time.Time, c *claim) (*standing, error) {
	who := g.directory.lookup(keyID)
	if who == nil {
		c.names(keyID, g.directory)
		return nil, refusal(codeUnknownIdentity, "no identity with this key id is enrolled")
	}
	c.is(who)
	if g.identities.spent(keyID, now) {
		return nil, limited(codeRateIdentity, "this identity sends too much")
	}
	return who, nil
}

// checkNonce refuses a nonce that this node or the cluster has seen.
func (g *Gate) checkNonce(id nonceID, record store.Key, sig *tap.Signature, now time.Time) error {
	if err := nonceError(g.nonces.look(id, sig.Created, now)); err != nil {
		return err
	}
	_, committed, err := g.view.Get(record)
	if err == nil && committed {
		err = pods.ErrReplayed()
	}
	return err
}

func nonceError(v verdict) error {
	switch v {
	case nonceFresh:
		return nil
	case nonceUsed:
		return pods.ErrReplayed()
	case nonceForgotten:
		return refusal(tap.CodeExpired, "the signature is from before this appliance's clock was set back")
	}
	return tap.E("anubis.nonce", tap.Unavailable, "too many signatures are within their window").
		WithCode(codeNoncesFull).WithRetryAfter(tap.DefaultRetryAfter)
}

// authorise asks the questions that only an authentic caller is asked: whether
// the identity is active, may do this, and is within its rate.
func (g *Gate) authorise(who *standing, p *tap.Principal, row *pods.Row, now time.Time) (*tap.Principal, error) {
	switch {
	case who.identity.State != StateActive:
		return nil, errRevoked()
	case !mayCall(who, p, row):
		return nil, tap.E("anubis.role", tap.Forbidden, "the identity does not hold a role that this route is for").
			WithCode(codeRole).WithDetail("required", row.Roles)
	case !g.identities.take(p.KeyID, now):
		return nil, limited(codeRateIdentity, "this identity sends too much")
	}
	return p, nil
}

// mayCall says whether a role of the route is held by the principal and still
// by its identity. A route without roles is for nobody.
func mayCall(who *standing, p *tap.Principal, row *pods.Row) bool {
	for _, r := range row.Roles {
		if slices.Contains(p.Roles, r) && slices.Contains(who.identity.Roles, r) {
			return true
		}
	}
	return false
}

// narrowed is the principal with only those of its roles that the request asks
// for, when it asks.
func narrowed(p *tap.Principal, r *tap.Request) *tap.Principal {
	field, asked := r.Header[tap.HeaderRoles]
	if !asked {
		return p
	}
	narrow := *p
	narrow.Roles = nil
	for name := range strings.SplitSeq(field, ",") {
		role := tap.Role(strings.Trim(name, " "))
		if slices.Contains(p.Roles, role) && !slices.Contains(narrow.Roles, role) {
			narrow.Roles = append(narrow.Roles, role)
		}
	}
	return &narrow
}

// unchanged is the check that keeps a revoked identity's request from being
// committed, or answered from a newer state. The pod of this package makes its
// own, in front of its changes to the very records that are checked.
func (g *Gate) unchanged(who *standing, row *pods.Row) []store.Op {
	if row.Pod == podName && row.Method != http.MethodGet {
		return nil
	}
	return who.unchanged
}

// refused counts a refusal and returns it. Failures to prove anything, and
// reaching for what one may not do, use up the address's budget; being too fast
// does not, or a busy address would lock itself out.
func (g *Gate) refused(c claim, err error, now time.Time) error {
	e := tap.AsError(err)
	if e.Kind == tap.Unauthenticated || e.Kind == tap.Forbidden {
		g.failures.take(network(c.remote), now)
	}
	if g.sentry != nil {
		g.sentry.failed(c, e.StableCode(), g.directory.lookup(tap.JoinKeyID(c.tenant, c.identity)), now)
	}
	g.note(c, e.StableCode(), now)
	return err
}

func (g *Gate) note(c claim, outcome string, now time.Time) {
	g.attempts.note(c, outcome, now)
	g.metrics.attempt(outcome)
}

func refusal(code, message string) error {
	return tap.E("anubis.gate", tap.Unauthenticated, "%s", message).WithCode(code)
}

func errRevoked() error {
	return refusal(codeRevoked, "this identity was revoked; an operator of this site can enrol a new one")
}

func limited(code, message string) error {
	return tap.E("anubis.rate", tap.Limited, "%s", message).WithCode(code).WithRetryAfter(tap.DefaultRetryAfter)
}
