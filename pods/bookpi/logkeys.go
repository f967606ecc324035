package bookpi

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// A rotation is asked for by one batch and completed by another, because the
// history must say from which size on the new keys sign, and nobody knows the size
// at which a batch will be applied. The first batch writes a request; while it
// stands, nobody signs. Whoever signs reads the ledger's size first and then
// whether a request stands, so what the old keys have signed is smaller than the
// ledger was when the request was applied. The leader sees the request, takes the
// present size, which is larger, as the start of the new keys, and commits the
// longer history on condition that the request still stands. A request that nobody
// completes lapses by itself, and the old keys sign on.

const (
	keySpace = "log-keys"
	codeKeys = "log_keys" // keys are absent or being rotated
	// rotationTime is how long a request for a rotation stands.
	rotationTime = time.Minute
)

func (n *Notary) historyKey() store.Key  { return store.K(n.c.Tenant, keySpace, "history") }
func (n *Notary) rotationKey() store.Key { return store.K(n.c.Tenant, keySpace, "rotation") }

// rotationRequest is the record of a rotation that was asked for.
type rotationRequest struct {
	ID     uuid.UUID `json:"id"`
	Number uint64    `json:"number"` // of the keys to come
	Actor  string    `json:"actor"`  // who asked
}

func errKeys(message string) *tap.Error {
	return tap.E("bookpi.keys", tap.Unavailable, "%s", message).WithCode(codeKeys).WithRetryAfter(time.Second)
}

// history reads the replicated key history; without records before the first
// leader wrote it down.
func (n *Notary) history() (bookpi.KeyHistory, store.Item, error) {
	item, ok, err := n.c.View.Get(n.historyKey())
	if err != nil || !ok {
		return bookpi.KeyHistory{}, item, err
	}
	if read := n.read.Load(); read != nil && bytes.Equal(read.text, item.Value) {
		return read.history, item, nil
	}
	h, err := bookpi.ParseKeyHistory(item.Value)
	if err != nil {
		return h, item, tap.Wrap("bookpi.keys", tap.Internal, err, "the recorded history of the log's keys is damaged")
	}
	n.read.Store(&readHistory{item.Value, h})
	return h, item, nil
}

// readHistory is a history that was read and checked, which takes milliseconds for
// each record: whoever asks for the keys would ask for that again.
type readHistory struct {
	text    []byte
	history bookpi.KeyHistory
}

// rotation reads the request that stands.
func (n *Notary) rotation() (r rotationRequest, item store.Item, ok bool, err error) {
	item, ok, err = n.c.View.Get(n.rotationKey())
	if err == nil && ok && json.Unmarshal(item.Value, &r) != nil {
		err = tap.E("bookpi.keys", tap.Internal, "the recorded request for a rotation is damaged")
	}
	return r, item, ok, err
}

// keysFor are the secrets that sign a size, if this node has them.
func (n *Notary) keysFor(h bookpi.KeyHistory, size uint64) (bookpi.LogKeys, error) {
	if len(h.Records) == 0 {
		if first := n.c.Keys(0); len(first) > 0 {
			return first[0], nil
		}
	}
	for _, r := range slices.Backward(h.Records) {
		if r.From <= size {
			return n.secrets(r)
		}
	}
	return bookpi.LogKeys{}, errKeys("this node does not have the log's keys")
}

func (n *Notary) secrets(r bookpi.KeyRecord) (bookpi.LogKeys, error) {
	for _, k := range n.c.Keys(r.Number) {
		if slices.Equal(k.VerifierKeys(), r.Keys) {
			return k, nil
		}
	}
	return bookpi.LogKeys{}, errKeys("this node does not have the log's present keys yet")
}

// verifiers are the log's keys for a size, and all it ever had.
func (n *Notary) verifiers(size uint64) (present, ever []bookpi.VerifierKey, err error) {
	h, _, err := n.history()
	if err != nil {
		return nil, nil, err
	}
	if len(h.Records) == 0 {
		first, err := n.keysFor(h, size)
		return first.VerifierKeys(), first.VerifierKeys(), err
	}
	for _, r := range h.Records {
		for _, k := range r.Keys {
			if !slices.Contains(ever, k) {
				ever = append(ever, k)
			}
		}
	}
	return h.At(size), ever, nil
}

// beginHistory writes down the keys that the log began with, once.
func (n *Notary) beginHistory(ctx context.Context) error {
	h, item, err := n.history()
	if err != nil {
		return err
	}
	if len(h.Records) > 0 {
		if _, err := n.secrets(h.Records[len(h.Records)-1]); err == nil || !n.c.Anew {
			return nil
		}
	}
	first, err := n.keysFor(bookpi.KeyHistory{}, 0)
	if err != nil {
		return err
	}
	if h, err = bookpi.NewKeyHistory(first); err != nil {
		return tap.Wrap("bookpi.keys", tap.Internal, err, "the log's first keys cannot be written down")
	}
	_, err = n.c.Writer.Commit(ctx, store.Batch{
		RequestID: uuid.New(), Tenant: n.c.Tenant,
		Ops:      []store.Op{store.Check(n.historyKey(), item.Version), store.Put(n.historyKey(), h.Encode())},
		Evidence: []store.Evidence{n.keyEvidence("log.keys_begun", "system", h)},
	})
	if tap.IsKind(err, tap.Conflict) {
		return nil // another leader did
	}
	return err
}

// keyEvidence says which keys the newest record of a history has.
func (n *Notary) keyEvidence(action, actor string, h bookpi.KeyHistory) store.Evidence {
	newest := h.Records[len(h.Records)-1]
	payload, _ := json.Marshal(struct { // of numbers and keys: it cannot fail
		Number uint64               `json:"number"`
		From   uint64               `json:"from"`
		Keys   []bookpi.VerifierKey `json:"keys"`
	}{newest.Number, newest.From, newest.Keys})
	return store.Evidence{Actor: actor, Action: action, Outcome: "ok", Payload: payload}
}

// completeRotation makes the keys that somebody asked for and hands over to them.
func (n *Notary) completeRotation(ctx context.Context) error {
	request, asked, pending, err := n.rotation()
	if err != nil || !pending || n.c.Rotate == nil {
		return err
	}
	size, _ := n.c.Ledger.Size() // after the request was seen
	h, before, err := n.history()
	if err != nil {
		return err
	}
	if len(h.Records) == 0 {
		return errKeys("the log's first keys are not written down yet")
	}
	newest := h.Records[len(h.Records)-1]
	current, err := n.secrets(newest)
	if err != nil {
		return err
	}
	next, err := n.c.Rotate(ctx, newest.Number+1)
	if err != nil {
		return err
	}
	h, err = h.Extend(current, next, size)
	if err != nil {
		return tap.Wrap("bookpi.keys", tap.Internal, err, "the key history cannot be extended")
	}
	_, err = n.c.Writer.Commit(ctx, store.Batch{
		RequestID: uuid.NewSHA1(request.ID, h.Encode()), Tenant: n.c.Tenant,
		Ops: []store.Op{
			store.Check(n.rotationKey(), asked.Version), store.Check(n.historyKey(), before.Version),
			store.Put(n.historyKey(), h.Encode()), store.Delete(n.rotationKey()),
		},
		Evidence: []store.Evidence{n.keyEvidence("log.key_rotated", request.Actor, h)},
	})
	return err
}

// keyReply is what auditors need to verify checkpoints.
type keyReply struct {
	VerifierKey  string   `json:"verifierKey"` // the Ed25519 one
	VerifierKeys []string `json:"verifierKeys"`
	History      string   `json:"history"` // tamv-log-keys/1; empty in the first second of a log
	Rotating     bool     `json:"rotating"`
}

func (p *Pod) key(context.Context, *pods.Call) (*pods.Result, error) {
	size, _ := p.ledger.Size()
	present, _, err := p.notary.verifiers(size)
	if err != nil {
		return nil, err
	}
	h, _, err := p.notary.history()
	if err != nil {
		return nil, err
	}
	reply := keyReply{VerifierKey: present[0].String()}
	for _, k := range present {
		reply.VerifierKeys = append(reply.VerifierKeys, k.String())
	}
	if len(h.Records) > 0 {
		reply.History = string(h.Encode())
	}
	_, _, reply.Rotating, err = p.notary.rotation()
	return &pods.Result{Body: reply}, err
}

type rotationReply struct {
	Number  uint64 `json:"number"`  // of the keys to come
	Expires string `json:"expires"` // when the request lapses
}

// rotate asks for new keys. The leader makes them within a second or two.
func (p *Pod) rotate(_ context.Context, c *pods.Call) (*pods.Result, error) {
	if p.notary.c.Rotate == nil {
		return nil, tap.E("bookpi.rotate", tap.Unavailable, "this site cannot rotate the log's keys")
	}
	h, item, err := p.notary.history()
	if err != nil {
		return nil, err
	}
	if len(h.Records) == 0 {
		return nil, errKeys("the log's first keys are not written down yet")
	}
	if len(h.Records) == bookpi.MaxKeyRecords {
		return nil, tap.E("bookpi.rotate", tap.Conflict, "the log has had as many keys as its history can hold").WithCode("history_full")
	}
	if _, _, pending, err := p.notary.rotation(); err != nil || pending {
		return nil, errorOr(err, tap.E("bookpi.rotate", tap.Conflict, "a rotation is under way").WithCode("rotating"))
	}
	request := rotationRequest{ID: c.RequestID, Number: uint64(len(h.Records)), Actor: c.Actor()}
	value, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	lapses := max(c.View.Clock(), c.Now.UnixMicro()) + rotationTime.Microseconds()
	return &pods.Result{
		Status: http.StatusAccepted,
		Body:   rotationReply{request.Number, pods.TimestampMicros(lapses)},
		Ops: []store.Op{
			store.Check(p.notary.historyKey(), item.Version),
			store.Create(p.notary.rotationKey(), value), store.Expire(p.notary.rotationKey(), lapses),
		},
		Evidence: []store.Evidence{{Actor: c.Actor(), Action: "log.key_rotation", Outcome: "ok", Payload: value}},
	}, nil
}

// logKey serves the present verifier keys, one a line.
func (p *Pod) logKey(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	result, err := p.key(ctx, c)
	if err != nil {
		return nil, err
	}
	keys := result.Body.(keyReply).VerifierKeys
	return text(strings.Join(keys, "\n") + "\n"), nil
}

// logKeys serves the key history.
func (p *Pod) logKeys(context.Context, *pods.Call) (*pods.Result, error) {
	h, item, err := p.notary.history()
	if err != nil {
		return nil, err
	}
	if len(h.Records) == 0 {
		return nil, errKeys("the log's first keys are not written down yet")
	}
	return text(string(item.Value)), nil
}
