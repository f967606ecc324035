package bookpi

import (
	"crypto/rand"
	"net/url"
	"strings"
	"testing"
	"time"

	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// lucia and mateo are witnesses of other venues.
var lucia, luciaPQ, mateo, stranger = witnessKey("lucia.example/w1", bookpi.AlgorithmCosignatureEd25519),
	witnessKey("lucia.example/w1", bookpi.AlgorithmMLDSA44),
	witnessKey("mateo.example", bookpi.AlgorithmCosignatureEd25519), witnessKey("stranger.example", bookpi.AlgorithmCosignatureEd25519)

func witnessKey(name string, a bookpi.Algorithm) *bookpi.SigningKey {
	k, err := bookpi.GenerateSigningKey(rand.Reader, name, a)
	if err != nil {
		panic(err)
	}
	return k
}

// cosign is what witnesses answer for the ledger of that size.
func cosign(t testing.TB, state *podtest.State, size uint64, keys ...*bookpi.SigningKey) string {
	t.Helper()
	root, err := state.RootAt(size)
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for _, k := range keys {
		line, err := bookpi.Cosign(bookpi.Checkpoint{Origin: origin, Size: size, Root: root}, k, podtest.Epoch.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(line)
	}
	return lines.String()
}

// anchorKit is a site with witnesses and what tests do to it.
type anchorKit struct {
	t     *testing.T
	state *podtest.State
	h     *podtest.Host
	p     *Pod
}

func newAnchorKit(t *testing.T, quorum int, keys ...*bookpi.SigningKey) *anchorKit {
	state := podtest.NewState()
	p := New(Config{Tenant: "main", Ledger: state, Notary: newNotary(state, newKeyring()), Quorum: quorum})
	begin(t, p)
	k := &anchorKit{t, state, podtest.NewHost(t, state, p), p}
	for _, key := range keys {
		if _, err := k.add(operator, key.Verifier().String()); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func (k *anchorKit) add(who *tap.Principal, key string) (shown shownWitness, err error) {
	_, err = k.h.Do(k.t.Context(), podtest.Request{As: who, Method: "POST", Target: "/v1/evidence/witnesses", Body: map[string]string{"key": key}}, &shown)
	return shown, err
}

func (k *anchorKit) bring(checkpoint, lines string) (reply anchorReply, err error) {
	body := map[string]string{"cosignatures": lines}
	if checkpoint != "" {
		body["checkpoint"] = checkpoint
	}
	_, err = k.h.Do(k.t.Context(), podtest.Request{As: auditor, Method: "POST", Target: "/v1/evidence/anchors", Body: body}, &reply)
	return reply, err
}

func (k *anchorKit) carry(name, query string) (bookpi.AddCheckpointRequest, []byte, error) {
	response, err := get(k.t, k.h, auditor, "/v1/evidence/anchors/"+url.PathEscape(name)+"/request"+query, nil)
	if err != nil {
		return bookpi.AddCheckpointRequest{}, nil, err
	}
	r, err := bookpi.ParseAddCheckpointRequest(response.Body)
	return r, response.Body, err
}

type anchorsReply struct {
	Size, Anchored uint64
	Quorum         int
	Witnesses      []shownWitness
	Anchors        []anchor
}

func (k *anchorKit) list() (r anchorsReply) {
	k.t.Helper()
	if _, err := get(k.t, k.h, operator, "/v1/evidence/anchors", &r); err != nil {
		k.t.Fatal(err)
	}
	return r
}

// A checkpoint goes to two witnesses and comes back: the whole way, with the
// witnesses' own judgement.
func TestACourierRound(t *testing.T) {
	k := newAnchorKit(t, 2, lucia, luciaPQ, mateo)
	entry := appendEvidence(t, k.h, till, "sale.done", `1`)
	_, err := get(t, k.h, till, "/v1/evidence/"+entry.EvidenceHash.String()+"/proof?cosigned=true", nil)
	podtest.WantKind(t, err, tap.NotFound, "not_anchored")

	var have bookpi.WitnessRecord
	visit := func(keys ...*bookpi.SigningKey) (string, bookpi.Checkpoint) {
		t.Helper()
		_, raw, err := k.carry(keys[0].Verifier().Name(), "")
		if err != nil {
			t.Fatal(err)
		}
		next, err := bookpi.CheckAddCheckpoint(firstKeys.VerifierKeys(), have, raw)
		if err != nil {
			t.Fatal(err)
		}
		have = next
		return cosign(t, k.state, next.Size, keys...), bookpi.Checkpoint{Origin: origin, Size: next.Size, Root: next.Root}
	}
	lines, first := visit(lucia, luciaPQ)
	reply, err := k.bring("", lines)
	if err != nil || reply.Size != first.Size || len(reply.Witnesses) != 1 {
		t.Fatalf("%+v, %v", reply, err)
	}
	if l := k.list(); l.Anchored != 0 || l.Quorum != 2 || l.Witnesses[0].Size != first.Size || l.Witnesses[1].Size != 0 {
		t.Errorf("one of two: %+v", l)
	}
	if reply, err := k.bring("", lines); err != nil || !reply.Duplicate {
		t.Errorf("the same again: %+v, %v", reply, err)
	}
	// The other witness is asked for the same checkpoint, though the ledger grew.
	appendEvidence(t, k.h, till, "sale.done", `2`)
	have = bookpi.WitnessRecord{}
	lines, second := visit(mateo)
	if second != first {
		t.Errorf("the second witness got %+v, the first %+v", second, first)
	}
	size, _ := k.state.Size()
	if _, err := k.bring("", lines); err != nil {
		t.Fatal(err)
	}
	l := k.list()
	if l.Anchored != first.Size || l.Witnesses[1].EntriesSince != size+1-first.Size || l.Witnesses[0].Time == "" {
		t.Errorf("two of two: %+v, ledger of %d", l, size)
	}

	// What the site suggests to trust verifies what it hands out.
	served, err := get(t, k.h, nil, "/log/policy", nil)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := bookpi.ParsePolicy(served.Body)
	if err != nil {
		t.Fatalf("%v\n%s", err, served.Body)
	}
	bundle, err := get(t, k.h, till, "/v1/evidence/"+entry.EvidenceHash.String()+"/bundle", nil)
	if err != nil {
		t.Fatal(err)
	}
	if report, err := bookpi.VerifyBundleWithPolicy(bundle.Body, policy); err != nil || report.Size != first.Size {
		t.Errorf("%+v, %v", report, err)
	}
	proof, err := get(t, k.h, till, "/v1/evidence/"+entry.EvidenceHash.String()+"/proof?format=tlog&cosigned=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	if proven, err := bookpi.VerifyTLogProof(proof.Body, nil, policy); err != nil {
		t.Errorf("%+v, %v", proven, err)
	}
	bare, err := get(t, k.h, till, "/v1/evidence/"+entry.EvidenceHash.String()+"/bundle?cosigned=false", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bookpi.VerifyBundleWithPolicy(bare.Body, policy); err == nil {
		t.Error("a bundle without cosignatures satisfies the policy")
	}
	// The next round starts from what the witness saw.
	r, _, err := k.carry(mateo.Verifier().Name(), "")
	if err != nil || r.OldSize != first.Size || r.Claimed.Size <= first.Size {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRefusedAnchors(t *testing.T) {
	k := newAnchorKit(t, 1, lucia)
	for range 3 {
		appendEvidence(t, k.h, till, "a", `1`)
	}
	cp, note, err := k.p.notary.Covering(t.Context(), 5)
	if err != nil {
		t.Fatal(err)
	}
	good := cosign(t, k.state, cp.Size, lucia)
	sign := func(cp bookpi.Checkpoint, keys bookpi.LogKeys) string {
		cp.Origin = keys.Origin()
		n, err := keys.Sign(cp, podtest.Epoch)
		if err != nil {
			t.Fatal(err)
		}
		return string(n)
	}
	root4, _ := k.state.RootAt(4)
	size, _ := k.state.Size()
	for name, c := range map[string]struct {
		checkpoint, lines string
		kind              tap.Kind
		code              string
	}{
		"unknown witness":       {"", cosign(t, k.state, cp.Size, stranger), tap.Invalid, "unknown_witness"},
		"unknown, checkpoint":   {string(note), cosign(t, k.state, cp.Size, stranger), tap.Invalid, "unknown_witness"},
		"of another checkpoint": {string(note), cosign(t, k.state, 4, lucia), tap.Invalid, "cosignature"},
		"of none that is kept":  {"", cosign(t, k.state, 4, lucia), tap.Invalid, "checkpoint_needed"},
		"no lines":              {string(note), "hello", tap.Invalid, "unknown_witness"},
		"no note":               {"hello", good, tap.Invalid, "checkpoint"},
		"another log":           {sign(cp, newKeys("other.test/log")), good, tap.Invalid, "checkpoint"},
		"a forged log":          {sign(cp, newKeys(origin)), good, tap.Invalid, "checkpoint"},
		"a forged root":         {sign(bookpi.Checkpoint{Size: 4, Root: bookpi.Hash{7}}, newKeys(origin)), good, tap.Invalid, "checkpoint"},
		"split view":            {sign(bookpi.Checkpoint{Size: 4, Root: bookpi.Hash{7}}, firstKeys), good, tap.Conflict, "split_view"},
		"beyond the ledger":     {sign(bookpi.Checkpoint{Size: 99, Root: root4}, firstKeys), good, tap.Conflict, "split_view"},
	} {
		_, err := k.bring(c.checkpoint, c.lines)
		if !tap.IsKind(err, c.kind) || tap.AsError(err).Code != c.code {
			t.Errorf("%s: %v, want %s %s", name, err, c.kind, c.code)
		}
	}
	// A signed contradiction, and nothing else of these, is in the ledger.
	var p page
	if _, err := get(t, k.h, auditor, "/v1/evidence?action=log.split_view", &p); err != nil || len(p.Entries) != 2 {
		t.Errorf("%d entries of split views, %v", len(p.Entries), err)
	}
	if grown, _ := k.state.Size(); grown != size+2 || len(k.list().Anchors) != 0 {
		t.Errorf("refused anchors left %d entries, %v", grown-size, k.list().Anchors)
	}
	// A checkpoint that is no longer kept is taken with the log's own signature.
	old := bookpi.Checkpoint{Size: 4, Root: root4}
	if reply, err := k.bring(sign(old, firstKeys)+cosign(t, k.state, 4, stranger), cosign(t, k.state, 4, lucia)); err != nil || reply.Size != 4 {
		t.Errorf("an older checkpoint: %+v, %v", reply, err)
	}
	note, err = k.p.anchorNote(k.state, 4)
	if err != nil || strings.Contains(string(note), "stranger") {
		t.Errorf("a stranger's line is kept: %s, %v", note, err)
	}
	// What comes late does not set a witness back.
	if _, err := k.bring("", good); err != nil {
		t.Fatal(err)
	}
	if reply, err := k.bring(sign(old, firstKeys), cosign(t, k.state, 4, lucia)); err != nil || !reply.Duplicate {
		t.Errorf("%+v, %v", reply, err)
	}
	root3, _ := k.state.RootAt(3)
	if _, err := k.bring(sign(bookpi.Checkpoint{Size: 3, Root: root3}, firstKeys), cosign(t, k.state, 3, lucia)); err != nil {
		t.Error(err)
	}
	if l := k.list(); l.Witnesses[0].Size != cp.Size || l.Anchored != cp.Size || len(l.Anchors) != 3 {
		t.Errorf("set back: %+v", l)
	}
	// A ledger that lost entries still has the root of what is left.
	size, root := k.state.Size()
	_, err = k.bring(sign(bookpi.Checkpoint{Size: size + 9, Root: root}, firstKeys), good)
	podtest.WantKind(t, err, tap.Conflict, "split_view")
}

func TestWitnesses(t *testing.T) {
	k := newAnchorKit(t, 0)
	own, _ := bookpi.GenerateSigningKey(rand.Reader, origin, bookpi.AlgorithmMLDSA44)
	log, _ := bookpi.GenerateSigningKey(rand.Reader, "w.example", bookpi.AlgorithmEd25519)
	other := witnessKey(lucia.Verifier().Name(), bookpi.AlgorithmCosignatureEd25519)
	for range 2 { // the second time changes nothing
		if w, err := k.add(operator, lucia.Verifier().String()); err != nil || w.Name != "lucia.example/w1" {
			t.Fatalf("%+v, %v", w, err)
		}
	}
	for name, c := range map[string]struct {
		key  string
		kind tap.Kind
		code string
	}{
		"no key":      {"hello", tap.Invalid, "witness_key"},
		"a log's key": {log.Verifier().String(), tap.Invalid, "witness_key"},
		"the log":     {own.Verifier().String(), tap.Invalid, "witness_key"},
		"two keys":    {other.Verifier().String(), tap.Conflict, "witness_key"},
		"too long":    {strings.Repeat("x", 5000), tap.Invalid, "schema"},
		"secret key":  {lucia.Text(), tap.Invalid, "witness_key"},
	} {
		_, err := k.add(operator, c.key)
		if !tap.IsKind(err, c.kind) || tap.AsError(err).StableCode() != c.code || strings.Contains(err.Error(), c.key) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := k.add(auditor, mateo.Verifier().String())
	podtest.WantKind(t, err, tap.Forbidden, "role")
	for len(k.list().Witnesses) < maxWitnesses {
		if _, err := k.add(operator, witnessKey("w"+string(rune('a'+len(k.list().Witnesses))), bookpi.AlgorithmCosignatureEd25519).Verifier().String()); err != nil {
			t.Fatal(err)
		}
	}
	_, err = k.add(operator, mateo.Verifier().String())
	podtest.WantKind(t, err, tap.Conflict, "witnesses")
	if _, err := k.add(operator, luciaPQ.Verifier().String()); err != nil {
		t.Errorf("a second key of a known witness: %v", err)
	}
	target := "/v1/evidence/witnesses/" + url.PathEscape(lucia.Verifier().Name())
	if _, err := k.h.Do(t.Context(), podtest.Request{As: operator, Method: "DELETE", Target: target}, nil); err != nil {
		t.Fatal(err)
	}
	_, err = k.h.Do(t.Context(), podtest.Request{As: operator, Method: "DELETE", Target: target}, nil)
	podtest.WantKind(t, err, tap.NotFound, "witness")
	_, _, err = k.carry(lucia.Verifier().Name(), "")
	podtest.WantKind(t, err, tap.NotFound, "witness")
	for query, code := range map[string]string{"?old=99": "query", "?old=x": "query", "?size=x": "query", "?size=99": "checkpoint"} {
		_, _, err := k.carry("wb", query)
		if tap.AsError(err) == nil || tap.AsError(err).Code != code {
			t.Errorf("%s: %v", query, err)
		}
	}
}

func TestOldAnchorsAreLetGo(t *testing.T) {
	k := newAnchorKit(t, 1, lucia)
	for range maxAnchors + 3 {
		size, _ := k.state.Size()
		root, _ := k.state.RootAt(size)
		note, err := firstKeys.Sign(bookpi.Checkpoint{Origin: origin, Size: size, Root: root}, podtest.Epoch)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.bring(string(note), cosign(t, k.state, size, lucia)); err != nil {
			t.Fatal(err)
		}
	}
	l := k.list()
	if len(l.Anchors) != maxAnchors || l.Anchors[0].Size != l.Anchored || l.Witnesses[0].Size != l.Anchored {
		t.Errorf("%d anchors, newest %d", len(l.Anchors), l.Anchors[0].Size)
	}
	for _, a := range []uint64{2, l.Anchors[maxAnchors-1].Size} {
		note, err := k.p.anchorNote(k.state, a)
		if kept := note != nil; err != nil || kept != (a != 2) {
			t.Errorf("the note of size %d: %d bytes, %v", a, len(note), err)
		}
	}
}

// Every witness that the site takes can stand in the policy that it serves: no two
// with one key or with names that collide.
func TestWitnessesMakeAPolicy(t *testing.T) {
	long := strings.Repeat("w", 250)
	seed := strings.Repeat("s", 32)
	twin := func(name string) *bookpi.SigningKey {
		k, err := bookpi.GenerateSigningKey(strings.NewReader(seed), name, bookpi.AlgorithmCosignatureEd25519)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for name, keys := range map[string][]*bookpi.SigningKey{
		"two long ones": {witnessKey(long, bookpi.AlgorithmCosignatureEd25519), witnessKey(long, bookpi.AlgorithmMLDSA44)},
		"another's key": {twin("w1"), twin("w2")},
	} {
		k := newAnchorKit(t, 1, keys[:len(keys)-1]...)
		_, err := k.add(operator, keys[len(keys)-1].Verifier().String())
		if !tap.IsKind(err, tap.Invalid) || tap.AsError(err).StableCode() != "witness_key" {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := get(t, k.h, nil, "/log/policy", nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Names that mean something else in a policy, or that collide there, are names of witnesses
// as good as any.
func TestWitnessesOfAnyName(t *testing.T) {
	k := newAnchorKit(
		t, 1,
		witnessKey("witnesses", bookpi.AlgorithmCosignatureEd25519), witnessKey("none", bookpi.AlgorithmMLDSA44),
		witnessKey("w", bookpi.AlgorithmCosignatureEd25519), witnessKey("w/ml-dsa-44", bookpi.AlgorithmMLDSA44), witnessKey("w", bookpi.AlgorithmMLDSA44),
	)
	reply, err := get(t, k.h, nil, "/log/policy", nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := bookpi.ParsePolicy(reply.Body)
	if err != nil || len(p.Witnesses) != 5 || len(p.Groups) != 2 || len(p.Groups[1].Members) != 4 || p.Quorum != p.Groups[1].Name {
		t.Errorf("%+v, %v", p, err)
	}
}

// A key that comes under the name of a witness that was removed has seen nothing of
// what that one cosigned.
func TestARenewedWitnessHasSeenNothing(t *testing.T) {
	k := newAnchorKit(t, 1, lucia, mateo)
	entry := appendEvidence(t, k.h, till, "sale.done", `1`)
	proof := "/v1/evidence/" + entry.EvidenceHash.String() + "/proof?cosigned=true"
	if _, _, err := k.carry(lucia.Verifier().Name(), ""); err != nil {
		t.Fatal(err)
	}
	cp, _, _ := k.state.Checkpoint()
	if _, err := k.bring("", cosign(t, k.state, cp.Size, lucia)); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, k.h, till, proof, nil); err != nil {
		t.Fatal(err)
	}
	target := "/v1/evidence/witnesses/" + url.PathEscape(lucia.Verifier().Name())
	if _, err := k.h.Do(t.Context(), podtest.Request{As: operator, Method: "DELETE", Target: target}, nil); err != nil {
		t.Fatal(err)
	}
	renewed := witnessKey(lucia.Verifier().Name(), bookpi.AlgorithmCosignatureEd25519)
	if _, err := k.add(operator, renewed.Verifier().String()); err != nil {
		t.Fatal(err)
	}
	_, err := get(t, k.h, till, proof, nil)
	podtest.WantKind(t, err, tap.NotFound, "not_anchored")
	appendEvidence(t, k.h, till, "sale.done", `2`)
	r, _, err := k.carry(renewed.Verifier().Name(), "")
	if err != nil {
		t.Fatal(err)
	}
	if offered, err := bookpi.ParseCheckpoint(r.Checkpoint); err != nil || offered.Size <= cp.Size {
		t.Errorf("a new witness is offered size %d, %v", offered.Size, err)
	}
	if l := k.list(); l.Anchored != 0 || len(l.Anchors) != 1 || len(l.Anchors[0].Witnesses) != 0 {
		t.Errorf("%+v", l)
	}
	if _, err := k.bring("", cosign(t, k.state, cp.Size, renewed)); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, k.h, till, proof, nil); err != nil || k.list().Anchored != cp.Size {
		t.Errorf("cosigned anew: %v, %+v", err, k.list())
	}
}
