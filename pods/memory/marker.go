package memory

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/vmihailenco/msgpack/v5"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/vector"
)

// SpaceIndex is the key space of what the nodes of a site agree on about their
// indexes. [Pod.ObserveIndexes] must be fed from it.
//
// An index grows by what each node was told and when it last started, so those of
// two nodes differ in their links, though not in what they hold. A marker in the
// log says: at this place, every node makes its index anew from the documents that
// are there. Nodes that do so have the same bytes, and one of them records the
// digest of these.
const SpaceIndex = "memory-index"

const (
	partMarker = "marker" // a marker, by model and dimensions
	partDigest = "digest" // a recorded digest, likewise
)

// marker is the newest one of an index, in MessagePack.
type marker struct {
	Number uint64      `msgpack:"n"` // counts from 1
	Seed   []byte      `msgpack:"s"` // of the index, 32 bytes, the same in all markers; it is shown nowhere
	Tier   vector.Tier `msgpack:"t"`
	Own    bool        `msgpack:"o"` // only vectors that came with their documents: the model is not the site's embedder
}

// recorded is the digest that a node has recorded.
type recorded struct {
	Number uint64 `msgpack:"n"` // of the marker
	Digest []byte `msgpack:"d"`
}

const seedSize = len(vector.Config{}.Seed)

func indexKey(part, tenant string, s vectorSpace) store.Key {
	return store.K(tenant, SpaceIndex, part, s.model, strconv.Itoa(s.dim))
}

// parseIndexKey is the part, tenant and space of a key.
func parseIndexKey(k store.Key) (part, tenant string, s vectorSpace, ok bool) {
	fields := strings.Split(string(k), "\x00")
	if len(fields) != 5 {
		return "", "", s, false
	}
	dim, err := strconv.Atoi(fields[4])
	if err != nil || dim < 1 || dim > vector.MaxDim {
		return "", "", s, false
	}
	return fields[2], fields[0], vectorSpace{fields[3], dim}, true
}

// errMarker is a marker that this release does not understand.
var errMarker = errors.New("a marker of an index is not sound")

func decodeMarker(b []byte) (marker, error) {
	var m marker
	err := msgpack.Unmarshal(b, &m)
	if err != nil || m.Number == 0 || len(m.Seed) != seedSize || m.Tier > vector.Bits {
		return marker{}, tap.Wrap("memory.marker", tap.Internal, errors.Join(errMarker, err), "a marker of an index cannot be followed")
	}
	return m, nil
}

// config is how the index of a space is made after the marker, or before there is
// one: with a seed of this process's own.
func (m *marker) config(dim int) vector.Config {
	c := vector.Config{Dim: dim, Metric: vector.Cosine, Tier: m.Tier}
	if m.Number == 0 {
		_, _ = rand.Read(c.Seed[:]) // it does not fail
	} else {
		copy(c.Seed[:], m.Seed)
	}
	return c
}

// readMarker is the newest marker of an index, of number 0 when there is none,
// and the version of its record.
func readMarker(view store.View, tenant string, s vectorSpace) (m marker, version uint64, err error) {
	item, ok, err := view.Get(indexKey(partMarker, tenant, s))
	if err != nil || !ok {
		return m, 0, err
	}
	m, err = decodeMarker(item.Value)
	return m, item.Version, err
}

// readRecorded is the digest that was recorded last, likewise. One that does not
// parse is none.
func readRecorded(view store.View, tenant string, s vectorSpace) (r recorded, version uint64, err error) {
	item, ok, err := view.Get(indexKey(partDigest, tenant, s))
	if err != nil || !ok {
		return r, 0, err
	}
	if msgpack.Unmarshal(item.Value, &r) != nil {
		r = recorded{}
	}
	return r, item.Version, nil
}

const (
	// markFrom is how many vectors an index has before its first marker: a smaller
	// one is made anew in a moment.
	markFrom = 1024
	// changesFrom is how many changes are worth a marker, when they are also half
	// of all; a load under way is let finish unless it multiplies the index.
	changesFrom, patience = 10_000, 4
	// deadFrom is how many dead rows are, when they are also a fifth of all.
	deadFrom = 1024
)

// bitsFrom is from how many dimensions on 1-bit codes tell vectors apart.
const bitsFrom = 768

// tierFor is the tier of an index of so many dimensions.
func (p *Pod) tierFor(dim int) vector.Tier {
	if p.config.Tier == vector.Bits && dim < bitsFrom {
		return vector.Full
	}
	return p.config.Tier
}

// Maintain proposes what the indexes need at this moment: a marker, or the digest
// of what was made at the last one. It is called by the leader every few seconds
// and returns when its one proposal, if any, is committed. There is none while this
// node makes an index, so that nodes never make more than one at a time.
func (p *Pod) Maintain(ctx context.Context, c store.Committer) error {
	if p.config.Dir == "" || p.view == nil || p.jobs.Load() > 0 {
		return nil
	}
	var failed error // of some indexes: the others go on
	for _, one := range p.indexes.spaces() {
		b, err := p.proposal(one.tenant, one.space)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if b == nil {
			continue
		}
		_, err = c.Commit(ctx, *b)
		var overtaken *store.ConflictError
		if errors.As(err, &overtaken) {
			err = nil // another leader was quicker
		}
		return errors.Join(failed, err)
	}
	return failed
}

// proposal is what an index needs, nil for nothing.
func (p *Pod) proposal(tenant string, s vectorSpace) (*store.Batch, error) {
	m, version, err := readMarker(p.view, tenant, s)
	if err != nil {
		return nil, err
	}
	r, recordedVersion, err := readRecorded(p.view, tenant, s)
	if err != nil {
		return nil, err
	}
	f := p.indexes.facts(tenant, s)
	if m.Number > r.Number && f.built.of(&m, version) {
		return recordDigest(tenant, s, &f, recordedVersion)
	}
	if !f.wants(&m, &r, p.tierFor(s.dim)) {
		return nil, nil
	}
	m.Number++
	if m.Seed == nil {
		m.Seed = make([]byte, seedSize)
		if _, err := rand.Read(m.Seed); err != nil {
			return nil, err
		}
	}
	m.Tier, m.Own = p.tierFor(s.dim), s.model != p.indexes.embedder.model
	value, err := msgpack.Marshal(&m)
	if err != nil {
		return nil, err
	}
	key := indexKey(partMarker, tenant, s)
	return indexBatch(tenant, "memory.consolidated", indexEvidence{
		Model: s.model, Dimensions: s.dim, Marker: m.Number, Tier: m.Tier.String(),
		Documents: f.live, Changes: f.changed, Dead: f.dead,
	}, store.Check(key, version), store.Put(key, value))
}

// facts is what decides whether an index needs a marker.
type facts struct {
	live, dead int
	changed    int // documents written and removed since the marker
	steady     bool
	lost       uint64 // the marker at which this node failed to make the index
	built      built
}

// of says whether this is what a marker made.
func (b *built) of(m *marker, version uint64) bool {
	return b.number == m.Number && b.version == version
}

// wants says whether the index should be made anew: the first time, because of
// what has changed or been removed, in another tier, or because nobody has recorded
// what it was made of.
func (f *facts) wants(m *marker, r *recorded, tier vector.Tier) bool {
	many := f.changed > max(changesFrom, f.live/2)
	switch {
	case m.Number == 0:
		return f.live >= markFrom && (f.steady || many)
	case f.lost == m.Number:
		return f.steady && many
	case m.Number > r.Number, m.Tier != tier:
		return true
	case f.dead >= deadFrom && 5*f.dead > f.live+f.dead:
		return f.steady
	}
	return many && (f.steady || f.changed > patience*max(changesFrom, f.live-f.changed))
}

// facts returns those of an index. It is steady when nothing has changed since it
// was last asked.
func (x *indexes) facts(tenant string, s vectorSpace) (f facts) {
	t := x.tenant(tenant)
	if t == nil {
		return f
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.vectors[s]
	if v == nil {
		return f
	}
	f = facts{v.index.Len(), v.dead, v.changed, v.changed == v.asked, v.lost, v.built}
	v.asked = v.changed
	return f
}

func recordDigest(tenant string, s vectorSpace, f *facts, version uint64) (*store.Batch, error) {
	value, err := msgpack.Marshal(&recorded{f.built.number, f.built.digest[:]})
	if err != nil {
		return nil, err
	}
	key := indexKey(partDigest, tenant, s)
	return indexBatch(tenant, "memory.snapshot", indexEvidence{
		Model: s.model, Dimensions: s.dim, Marker: f.built.number, Documents: f.built.documents, SHA256: hex.EncodeToString(f.built.digest[:]),
	}, store.Check(key, version), store.Put(key, value))
}

// indexEvidence is what the ledger says about an index.
type indexEvidence struct {
	Model      string `json:"model"`
	Dimensions int    `json:"dimensions"`
	Marker     uint64 `json:"marker"`
	Tier       string `json:"tier,omitempty"`
	Documents  int    `json:"documents"`
	Changes    int    `json:"changes,omitempty"` // since the marker before, about
	Dead       int    `json:"dead,omitempty"`    // rows that are cleared away
	SHA256     string `json:"sha256,omitempty"`  // of the snapshot
}

func indexBatch(tenant, action string, e indexEvidence, ops ...store.Op) (*store.Batch, error) {
	payload, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	return &store.Batch{
		RequestID: uuid.New(), Tenant: tenant, Ops: ops,
		Evidence: []store.Evidence{{Actor: "system", Action: action, Outcome: "ok", Payload: payload}},
	}, nil
}

// ObserveIndexes follows markers and recorded digests. It is the store's observer
// of the space [SpaceIndex], called from within Apply, behind [Pod.ObserveChanges]
// of the same log entry. It waits for the view given to [Pod.Load] to begin a
// scan, so the state must not be locked meanwhile. A reset is that observer's
// matter.
func (p *Pod) ObserveIndexes(changes []store.Change, reset bool) {
	if reset || p.view == nil {
		return
	}
	for i := range changes {
		part, tenant, s, ok := parseIndexKey(changes[i].Key)
		if !ok || changes[i].Value == nil {
			continue
		}
		switch part {
		case partMarker:
			m, err := decodeMarker(changes[i].Value)
			switch {
			case err != nil:
				p.config.Log.Warn("a marker of an index of memory is passed over", "tenant", tenant, "model", s.model, "dimensions", s.dim, "error", err)
			case p.config.Dir != "":
				p.begin(tenant, s, m, changes[i].Version)
			}
		case partDigest:
			var r recorded
			if msgpack.Unmarshal(changes[i].Value, &r) == nil {
				p.compare(tenant, s, &r)
			}
		}
	}
}

// compare holds the digest of this node's index against the recorded one.
func (p *Pod) compare(tenant string, s vectorSpace, r *recorded) {
	t := p.indexes.tenant(tenant)
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.vectors[s]
	if v == nil || r.Number == 0 || v.built.number != r.Number {
		return
	}
	if v.differs = !bytes.Equal(v.built.digest[:], r.Digest); v.differs {
		p.config.Log.Error("an index of memory is not the one that the site has recorded",
			"tenant", tenant, "model", s.model, "dimensions", s.dim, "marker", r.Number,
			"here", hex.EncodeToString(v.built.digest[:]), "recorded", hex.EncodeToString(r.Digest))
	}
}
