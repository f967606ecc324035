package anubis

import (
	"bytes"
	"encoding/json"
	"time"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Pattern is the name of a way in which attempts fail.
type Pattern string

// The patterns. The first two are about an identity that is enrolled, the
// others about an address: an IPv4 address, or the /64 of an IPv6 address.
const (
	Guessing  Pattern = "guessing"  // one identity fails often
	Spread    Pattern = "spread"    // one identity fails from many addresses
	Hammering Pattern = "hammering" // one address fails often
	Spray     Pattern = "spray"     // one address fails under many names
)

// ofAddress says whether the pattern is about an address, so that the address
// is blocked.
func (p Pattern) ofAddress() bool { return p == Hammering || p == Spray }

// Threshold is from when on failures are a pattern: Count failures (or different
// addresses, or names) within the window. The window moves in sixteenths of its
// length, so that a failure counts for at least fifteen of them.
type Threshold struct {
	Count         int `json:"count"`
	WindowSeconds int `json:"windowSeconds"`
}

func (t Threshold) window() time.Duration { return time.Duration(t.WindowSeconds) * time.Second }

// Policy says what is an alert and what follows. It is stored as this JSON.
type Policy struct {
	Guessing  Threshold `json:"guessing"`  // Count 3 to 10000
	Hammering Threshold `json:"hammering"` // Count 3 to 10000
	Spray     Threshold `json:"spray"`     // Count 2 to 64
	Spread    Threshold `json:"spread"`    // Count 2 to 64
	// BlockSeconds is how long an address is blocked at first, doubled with each
	// repetition up to LongestBlockSeconds; 0 blocks nobody. 0 to 86400.
	BlockSeconds        int `json:"blockSeconds"`
	LongestBlockSeconds int `json:"longestBlockSeconds"` // BlockSeconds to 86400
	// KeepAlertsSeconds is how long an alert is listed after it last happened;
	// the ledger has it for good. 3600 to 2592000.
	KeepAlertsSeconds int `json:"keepAlertsSeconds"`
}

// DefaultPolicy is the policy of a site that set none.
func DefaultPolicy() Policy {
	return Policy{
		Guessing: Threshold{20, 300}, Hammering: Threshold{50, 300}, Spray: Threshold{8, 600}, Spread: Threshold{8, 600},
		BlockSeconds: 15 * 60, LongestBlockSeconds: 24 * 3600, KeepAlertsSeconds: 24 * 3600,
	}
}

// The ranges of a policy.
const (
	leastFailures, mostFailures = 3, 10_000
	leastOthers, mostOthers     = 2, 64
	leastWindow, mostWindow     = 60, 3600             // seconds
	mostBlock                   = 24 * 3600            // seconds
	leastKept, mostKept         = 3600, 30 * mostBlock // seconds
)

func (p *Policy) of(pattern Pattern) Threshold {
	switch pattern {
	case Guessing:
		return p.Guessing
	case Spread:
		return p.Spread
	case Hammering:
		return p.Hammering
	}
	return p.Spray
}

// check says whether every value is within its range. The error is Invalid.
func (p *Policy) check() error {
	within := func(least, n, most int) bool { return least <= n && n <= most }
	ok := within(leastFailures, p.Guessing.Count, mostFailures) && within(leastFailures, p.Hammering.Count, mostFailures) &&
		within(leastOthers, p.Spray.Count, mostOthers) && within(leastOthers, p.Spread.Count, mostOthers)
	for _, t := range []Threshold{p.Guessing, p.Hammering, p.Spray, p.Spread} {
		ok = ok && within(leastWindow, t.WindowSeconds, mostWindow)
	}
	ok = ok && within(0, p.BlockSeconds, p.LongestBlockSeconds) && p.LongestBlockSeconds <= mostBlock &&
		within(leastKept, p.KeepAlertsSeconds, mostKept)
	if !ok {
		return tap.E("anubis.policy", tap.Invalid,
			"guessing and hammering count %d to %d, spray and spread %d to %d, windows are %d to %d seconds, "+
				"blockSeconds is at most longestBlockSeconds and that at most %d, keepAlertsSeconds is %d to %d",
			leastFailures, mostFailures, leastOthers, mostOthers, leastWindow, mostWindow, mostBlock, leastKept, mostKept).
			WithCode("policy")
	}
	return nil
}

// block is how long an address is blocked for the given time in a row.
func (p *Policy) block(times int) time.Duration {
	length, most := time.Duration(p.BlockSeconds)*time.Second, time.Duration(p.LongestBlockSeconds)*time.Second
	for ; times > 1 && length < most; times-- {
		length *= 2
	}
	return min(length, most)
}

func (p *Policy) kept() time.Duration { return time.Duration(p.KeepAlertsSeconds) * time.Second }

func policyKey(tenant string) store.Key { return store.K(tenant, SpaceSecurity, "policy") }

// parsePolicy reads a stored policy.
func parsePolicy(b []byte) (Policy, error) {
	var p Policy
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	err := d.Decode(&p)
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return Policy{}, tap.Wrap("anubis.policy", tap.Internal, err, "the stored security policy is damaged")
	}
	return p, nil
}

// evidenceOf says what a refusal with this code is evidence of: that somebody
// tries to pass for the identity, that the address tries to get in, both or
// none. None are those that an honest caller earns by the dozen or that a
// forger has no use for:
//
//   - expired: a device that lost its clock sends nothing else, and who forges
//     can write the right time;
//   - unsigned: it claims to be nobody, like a browser that is not signed in;
//   - role, and every limit: the caller proved who it is, or is only too fast;
//   - a handshake that was broken off: a bad radio link does that.
//
// A revoked key speaks about its identity only: a headset that was taken out of
// service keeps knocking, and must not shut out the others behind its address.
func evidenceOf(code string) (identity, address bool) {
	switch code {
	case tap.CodeBadSignature, tap.CodeDigestMismatch, codeReplayed:
		return true, true
	case codeRevoked:
		return true, false
	case codeUnknownIdentity, tap.CodeMalformedSignature:
		return false, true
	}
	return false, false
}
