package spatial

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

const (
	// MaxObjects is how many objects a room holds.
	MaxObjects = 10_000
	// maxActBytes bounds the values of one batch, history and objects together,
	// well below store.MaxBatchBytes.
	maxActBytes = 900 << 10
	// actOverhead is what an act takes besides its object, twice: keys, history
	// and evidence.
	actOverhead = 1536
)

// codeRepeated is the code of an act that was done already.
const codeRepeated = "repeated"

func isRepeated(err error) bool { return err != nil && tap.AsError(err).Code == codeRepeated }

// Act is one action of one participant.
type Act struct {
	Actor     string // who, as the ledger shall name it
	RequestID uuid.UUID
	Action    string          // Put or Remove
	Object    json.RawMessage // the object, or for Remove at least its id
}

// ParseAct reads the JSON form of an action, {"action", "object"}.
func ParseAct(actor string, id uuid.UUID, data []byte) (Act, error) {
	if err := actSchema.Validate(data); err != nil {
		return Act{}, err
	}
	var in struct {
		Action string          `json:"action"`
		Object json.RawMessage `json:"object"`
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return Act{}, tap.Wrap("spatial.act", tap.Invalid, err, "this is no action")
	}
	return Act{Actor: actor, RequestID: id, Action: in.Action, Object: in.Object}, nil
}

// ActBatch turns the actions of any number of participants on one room into one
// batch, in order, with an evidence entry for each. errs has one element per act,
// nil for those in the batch; the receipt's Appended has their sequence numbers in
// order. When every act failed the batch has no evidence and must not be
// committed; when the room is not there, every error says so.
//
// The batch's request id is the act's own when there is one, and derived from all
// of them when there are several, so that a repeated batch is applied once.
// Acts beyond what one batch holds fail as Limited ("busy"): hand them in again. An
// act whose id its actor used within store.IdempotencyWindow is done already and
// fails as Conflict ("repeated"), whatever batch it was in then.
// now stands in the history; the ledger has the leader's time.
func ActBatch(view store.View, tenant, room string, acts []Act, now time.Time) (b store.Batch, errs []error) {
	errs = make([]error, len(acts))
	w, err := newWork(view, tenant, room, now)
	for i := range acts {
		if errs[i] = err; err == nil {
			errs[i] = w.add(&acts[i])
		}
	}
	if err != nil {
		return store.Batch{}, errs
	}
	return w.batch, errs
}

// work is a batch in the making.
type work struct {
	view    store.View
	tenant  string
	room    string
	now     time.Time
	batch   store.Batch
	marks   map[store.Key]bool
	present map[string]bool // objects that this batch touched: are they there after it?
	objects int             // at most so many are in the room after the batch so far; -1 = not known yet
	counted bool            // objects is exact
	bytes   int             // of the values so far
}

func newWork(view store.View, tenant, room string, now time.Time) (*work, error) {
	if _, err := findRoom(view, tenant, room); err != nil {
		return nil, err
	}
	return &work{
		view: view, tenant: tenant, room: room, now: now, marks: map[store.Key]bool{}, present: map[string]bool{}, objects: -1,
		batch: store.Batch{Tenant: tenant},
	}, nil
}

// add joins an act to the batch, or leaves the batch as it was.
func (w *work) add(a *Act) error {
	id, value, err := a.parse()
	if err != nil {
		return err
	}
	size := 2*len(value) + actOverhead
	if len(w.batch.Evidence) == store.MaxEvidence || w.bytes+size > maxActBytes {
		return tap.E("spatial.act", tap.Limited, "too many actions at once").WithCode("busy").WithRetryAfter(tap.DefaultRetryAfter)
	}
	mark := store.K(w.tenant, spaceActed, a.Actor, a.RequestID.String())
	if err := w.fresh(mark); err != nil {
		return err
	}
	if err := w.allow(id, a.Action); err != nil {
		return err
	}
	w.marks[mark] = true
	key := store.K(w.tenant, spaceObject, w.room, id)
	effect := store.Delete(key)
	if a.Action == Put {
		effect = store.Put(key, value)
	}
	history := encode(entry{a.Actor, pods.Timestamp(w.now), a.Action, value})
	w.batch.Ops = append(w.batch.Ops, effect, store.Append(store.K(w.tenant, SpaceHistory, w.room), history),
		store.Create(mark, nil), store.Expire(mark, w.expiry()))
	w.batch.Evidence = append(w.batch.Evidence, a.evidence(w.room, id, value))
	w.batch.RequestID = joined(w.batch.RequestID, a.RequestID)
	w.present[id] = a.Action == Put
	w.bytes += size
	return nil
}

// expiry is when the marks of this batch go. The machine's clock decides about
// that: it may run ahead of this node's, and stands still while nobody writes.
func (w *work) expiry() int64 {
	return max(w.now.UnixMicro(), w.view.Clock()) + store.IdempotencyWindow.Microseconds()
}

// parse validates the act: the object's id, and its value as stored and as the
// history has it.
func (a *Act) parse() (id string, value []byte, err error) {
	switch a.Action {
	case Put:
		o, err := parseObject(a.Object)
		return o.ID, encode(o), err
	case Remove:
		id, err := parseTarget(a.Object)
		return id, encode(map[string]string{"id": id}), err
	}
	return "", nil, tap.E("spatial.act", tap.Invalid, `an action is "put" or "remove"`).WithCode("action")
}

// fresh refuses an act that was done already.
func (w *work) fresh(mark store.Key) error {
	_, done, err := w.view.Get(mark)
	if err != nil {
		return err
	}
	if done || w.marks[mark] {
		return tap.E("spatial.act", tap.Conflict, "this action was done already").WithCode(codeRepeated)
	}
	return nil
}

// allow refuses to remove what is not there and to fill a room beyond its limit.
func (w *work) allow(id, action string) error {
	exists, touched := w.present[id]
	if !touched {
		var err error
		if _, exists, err = w.view.Get(store.K(w.tenant, spaceObject, w.room, id)); err != nil {
			return err
		}
	}
	switch {
	case action == Remove && !exists:
		return tap.E("spatial.act", tap.NotFound, "no such object in this dreamspace")
	case action == Remove:
		if w.objects > 0 {
			w.objects--
		}
		return nil
	case exists:
		return nil
	}
	full, err := w.full()
	if err != nil {
		return err
	}
	if full {
		return tap.E("spatial.act", tap.Limited, "the dreamspace holds %d objects already", MaxObjects).WithCode("room_full")
	}
	w.objects++
	return nil
}

// full says whether the room has no place for another object. A room cannot hold
// more objects than there were actions in it, so young rooms are never counted.
func (w *work) full() (bool, error) {
	if w.objects < 0 {
		last, err := w.view.SequenceLast(store.K(w.tenant, SpaceHistory, w.room))
		if err != nil {
			return false, err
		}
		w.objects = int(last) + len(w.batch.Evidence)
	}
	if w.objects < MaxObjects || w.counted {
		return w.objects >= MaxObjects, nil
	}
	w.objects, w.counted = 0, true
	for _, there := range w.present {
		if there {
			w.objects++
		}
	}
	err := w.view.Scan(store.K(w.tenant, spaceObject, w.room).Prefix(), "", func(i store.Item) bool {
		if _, touched := w.present[i.Key.Last()]; !touched {
			w.objects++
		}
		return true
	})
	return w.objects >= MaxObjects, err
}

// joined is the request id of a batch of several acts: the first act's own id, or
// a hash over all of them.
func joined(so, next uuid.UUID) uuid.UUID {
	if so == uuid.Nil {
		return next
	}
	return uuid.NewHash(sha256.New(), so, next[:], 8)
}

// evidence says what was done, with the digest of the object as stored.
func (a *Act) evidence(room, id string, value []byte) store.Evidence {
	sum := sha256.Sum256(value)
	return store.Evidence{Actor: a.Actor, Action: "room.act", Outcome: "ok", Payload: encode(struct {
		Room    string `json:"room"`
		Action  string `json:"action"`
		Object  string `json:"object"`
		SHA256  string `json:"sha256"`
		Request string `json:"requestId"`
	}{room, a.Action, id, hex.EncodeToString(sum[:]), a.RequestID.String()})}
}
