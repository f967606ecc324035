package bookpi

import (
	"context"
	"encoding/json"
	"math"
	"slices"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

const (
	witnessSpace = "witness"
	// maxWitnesses is how many witnesses a site can have: a checkpoint with two
	// cosignatures of each, one post-quantum, stays within what is read.
	maxWitnesses = 16
)

// witness is the record of somebody outside of the site who cosigns checkpoints.
type witness struct {
	Name string               `json:"name"` // of its keys
	Keys []bookpi.VerifierKey `json:"keys"` // at most one of each algorithm
	Size uint64               `json:"size"` // the largest checkpoint that came back cosigned
	Time int64                `json:"time"` // when it cosigned that, microseconds; 0 = never
}

func (p *Pod) witnessKey(name string) store.Key { return store.K(p.tenant, witnessSpace, name) }

// witnesses lists the records in the order of their names.
func (p *Pod) witnesses(v store.View) ([]witness, error) {
	var all []witness
	var failed error
	err := v.Scan(store.K(p.tenant, witnessSpace).Prefix(), "", func(item store.Item) bool {
		var w witness
		w, failed = parseWitness(item)
		all = append(all, w)
		return failed == nil
	})
	return all, errorOr(failed, err)
}

func parseWitness(item store.Item) (w witness, err error) {
	if json.Unmarshal(item.Value, &w) != nil || w.Name == "" {
		err = tap.E("bookpi.witness", tap.Internal, "the record of a witness is damaged")
	}
	return w, err
}

// witness reads one record and its version, 0 when there is none.
func (p *Pod) witness(v store.View, name string) (witness, uint64, error) {
	item, ok, err := v.Get(p.witnessKey(name))
	if err != nil || !ok {
		return witness{Name: name}, 0, err
	}
	w, err := parseWitness(item)
	return w, item.Version, err
}

// put is the record and the condition that nobody else wrote it.
func (p *Pod) put(w witness, version uint64) ([]store.Op, error) {
	value, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	key := p.witnessKey(w.Name)
	return []store.Op{store.Check(key, version), store.Put(key, value)}, nil
}

// ours refuses callers of another tenant than the site's own: witnesses and keys
// are of the one log that all tenants share.
func (p *Pod) ours(run pods.Func) pods.Func {
	return func(ctx context.Context, c *pods.Call) (*pods.Result, error) {
		if c.Tenant != p.tenant {
			return nil, tap.E("bookpi.tenant", tap.Forbidden, "only the site's own tenant administers the log").WithCode("tenant")
		}
		return run(ctx, c)
	}
}

// addWitness registers a witness's key.
func (p *Pod) addWitness(_ context.Context, c *pods.Call) (*pods.Result, error) {
	var body struct{ Key string }
	if err := json.Unmarshal(c.Body, &body); err != nil {
		return nil, badWitness("no key")
	}
	key, err := bookpi.ParseVerifierKey(body.Key)
	if err != nil {
		return nil, badWitness("this is no verifier key")
	}
	if key.Algorithm() == bookpi.AlgorithmEd25519 {
		return nil, badWitness("this key signs logs; a witness has one of type cosignature/v1 or ml-dsa-44")
	}
	present, ever, err := p.notary.verifiers(math.MaxInt64)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(ever, func(k bookpi.VerifierKey) bool { return k.SharesKey(key) || k.Name() == key.Name() }) {
		return nil, badWitness("the log cannot be its own witness")
	}
	w, version, err := p.witness(c.View, key.Name())
	if err != nil {
		return nil, err
	}
	if slices.Contains(w.Keys, key) {
		return &pods.Result{Body: w.shown(0)}, nil
	}
	if slices.ContainsFunc(w.Keys, func(k bookpi.VerifierKey) bool { return k.Algorithm() == key.Algorithm() }) {
		return nil, tap.E("bookpi.witness", tap.Conflict, "this witness has another key of that type; remove the witness first").WithCode("witness_key")
	}
	known, err := p.witnesses(c.View)
	if err != nil || version == 0 && len(known) >= maxWitnesses {
		return nil, errorOr(err, tap.E("bookpi.witness", tap.Conflict, "a site has at most %d witnesses", maxWitnesses).WithCode("witnesses"))
	}
	w.Keys = append(w.Keys, key)
	// One key under two names would count twice.
	known = append(slices.DeleteFunc(known, func(k witness) bool { return k.Name == w.Name }), w)
	if _, err := p.policy(present, known); err != nil {
		return nil, badWitness("the site's policy cannot have this witness: " + err.Error())
	}
	ops, err := p.put(w, version)
	if err != nil {
		return nil, err
	}
	return &pods.Result{Body: w.shown(0), Ops: ops, Evidence: []store.Evidence{{
		Actor: c.Actor(), Action: "log.witness_added", Outcome: "ok", Payload: c.Body,
	}}}, nil
}

func badWitness(why string) *tap.Error {
	return tap.E("bookpi.witness", tap.Invalid, "%s", why).WithCode("witness_key")
}

// removeWitness forgets a witness. What it cosigned stays, and no longer counts: a
// key that comes later under the same name has not seen it.
func (p *Pod) removeWitness(_ context.Context, c *pods.Call) (*pods.Result, error) {
	w, version, err := p.witness(c.View, c.Params["name"])
	if err != nil {
		return nil, err
	}
	if version == 0 {
		return nil, noWitness()
	}
	payload, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	key := p.witnessKey(w.Name)
	ops, err := p.discount(c.View, w.Name)
	if err != nil {
		return nil, err
	}
	return &pods.Result{
		Body: w.shown(0), Ops: append(ops, store.Check(key, version), store.Delete(key)),
		Evidence: []store.Evidence{{Actor: c.Actor(), Action: "log.witness_removed", Outcome: "ok", Payload: payload}},
	}, nil
}

func noWitness() *tap.Error {
	return tap.E("bookpi.witness", tap.NotFound, "the site knows no such witness").WithCode("witness")
}

// shownWitness is a witness as the API shows it.
type shownWitness struct {
	Name         string               `json:"name"`
	Keys         []bookpi.VerifierKey `json:"keys"`
	Size         uint64               `json:"size"`
	Time         string               `json:"time,omitempty"` // absent = nothing came back yet
	EntriesSince uint64               `json:"entriesSince"`
}

func (w witness) shown(size uint64) shownWitness {
	s := shownWitness{Name: w.Name, Keys: w.Keys, Size: w.Size, EntriesSince: max(size, w.Size) - w.Size}
	if w.Time != 0 {
		s.Time = pods.TimestampMicros(w.Time)
	}
	return s
}
