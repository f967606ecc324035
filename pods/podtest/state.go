package podtest

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// Epoch is the clock of a new State: 2026-01-01T00:00:00Z.
var Epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// State is a state machine in memory. It is safe for concurrent use; one batch
// is applied at a time.
type State struct {
	mu        sync.RWMutex // guards all below
	clock     int64        // microseconds
	version   uint64
	cluster   uint32 // cluster version
	records   map[store.Key]item
	counters  map[store.Key]int64
	sequences map[store.Key][][]byte
	balances  map[account]store.Amount
	requests  map[request]kept
	observers map[string][]func([]store.Change, bool)
	ledger    []store.Record
	positions map[bookpi.Hash]uint64
	tiles     map[tile][]bookpi.Hash
	tree      bookpi.Tree
	head      bookpi.Hash
	signed    map[uint64][]byte // recorded checkpoints by size; all are kept
	grown     chan struct{}     // closed when the ledger grows; nil = nobody waits
	sealed    map[string]bool   // subjects of the default tenant for whom something was sealed
}

type item struct {
	value   []byte
	version uint64
	expires int64
}

type account struct {
	key      store.Key
	currency string
}

// request is what makes a batch a repetition: as in the store, the id within
// its tenant and first actor.
// kept is what is remembered of a request.
type kept struct {
	fingerprint [32]byte
	receipt     store.Receipt
}

type request struct {
	id            uuid.UUID
	tenant, actor string
}

type tile struct {
	level uint8
	index uint64
}

// tileWidth is the number of hashes in a full tile of height 8.
const tileWidth = 256

var (
	_ store.View      = (*State)(nil)
	_ store.Ledger    = (*State)(nil)
	_ store.Committer = (*State)(nil)
)

// NewState returns an empty state whose clock stands at [Epoch].
func NewState() *State {
	return &State{
		clock: Epoch.UnixMicro(), cluster: store.Version,
		records: map[store.Key]item{}, counters: map[store.Key]int64{}, sequences: map[store.Key][][]byte{},
		balances: map[account]store.Amount{}, requests: map[request]kept{},
		observers: map[string][]func([]store.Change, bool){},
		positions: map[bookpi.Hash]uint64{}, tiles: map[tile][]bookpi.Hash{}, sealed: map[string]bool{}, signed: map[uint64][]byte{},
	}
}

// Observe calls fn with the changes of a space, inside Commit.
func (s *State) Observe(space string, fn func(changes []store.Change, reset bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observers[space] = append(s.observers[space], fn)
}

// subjects are those for whom something was sealed.
func (s *State) subjects() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Sorted(maps.Keys(s.sealed))
}

// Advance moves the clock forward; what expires meanwhile is gone.
func (s *State) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock += d.Microseconds()
}

// Forget drops the memory of past requests, as the store does after
// [store.IdempotencyWindow].
func (s *State) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.requests)
}

// Clock is the machine's time in microseconds.
func (s *State) Clock() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.clock
}

// ClusterVersion is the version up to which operations are taken: that of a
// cluster whose members all have this release.
func (s *State) ClusterVersion() uint32 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.cluster
}

// Get returns the record at k.
func (s *State) Get(k store.Key) (store.Item, bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, ok := s.live(k)
	return store.Item{Key: k, Value: r.value, Version: r.version, Expires: r.expires}, ok, nil
}

func (s *State) live(k store.Key) (item, bool) {
	r, ok := s.records[k]
	if !ok || r.expires != 0 && r.expires <= s.clock {
		return item{}, false
	}
	return r, true
}

// Scan calls fn for the records below prefix in key order.
func (s *State) Scan(prefix, from store.Key, fn func(store.Item) bool) error {
	s.mu.RLock()
	var found []store.Item
	for k := range s.records {
		if r, ok := s.live(k); ok && strings.HasPrefix(string(k), string(prefix)) && k >= from {
			found = append(found, store.Item{Key: k, Value: r.value, Version: r.version, Expires: r.expires})
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(found, func(a, b store.Item) int { return strings.Compare(string(a.Key), string(b.Key)) })
	for _, i := range found {
		if !fn(i) {
			break
		}
	}
	return nil
}

// Counter is the value of a counter.
func (s *State) Counter(k store.Key) (int64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.counters[k], nil
}

// Sequence calls fn for the values of a sequence from number first on.
func (s *State) Sequence(k store.Key, first uint64, fn func(uint64, []byte) bool) error {
	s.mu.RLock()
	values := s.sequences[k]
	s.mu.RUnlock()
	for n := max(first, 1); n <= uint64(len(values)); n++ {
		if !fn(n, values[n-1]) {
			break
		}
	}
	return nil
}

// SequenceLast is the number of a sequence's last value.
func (s *State) SequenceLast(k store.Key) (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return uint64(len(s.sequences[k])), nil
}

// Balance is an account's balance in a currency.
func (s *State) Balance(k store.Key, currency string) (store.Amount, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.balances[account{k, currency}], nil
}

// fingerprint is everything that a batch can change, for comparing two moments.
func (s *State) fingerprint() map[string]string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := map[string]string{"ledger": s.tree.Root().String()}
	for k := range s.records {
		if r, ok := s.live(k); ok {
			all["record "+string(k)] = strconv.FormatUint(r.version, 10) + " " + string(r.value)
		}
	}
	for k, n := range s.counters {
		all["counter "+string(k)] = strconv.FormatInt(n, 10)
	}
	for k, values := range s.sequences {
		all["sequence "+string(k)] = string(slices.Concat(values...)) + strconv.Itoa(len(values))
	}
	for a, balance := range s.balances {
		all["balance "+string(a.key)+" "+a.currency] = balance.String()
	}
	return all
}

// Commit applies a batch, or changes nothing and says why.
func (s *State) Commit(ctx context.Context, b store.Batch) (store.Receipt, error) {
	if err := ctx.Err(); err != nil {
		return store.Receipt{}, tap.AsError(err)
	}
	subjects := b.Evidence
	b, _, err := store.Seal(ctx, s, Sealer{s}, b)
	if err != nil {
		return store.Receipt{}, err
	}
	if _, err := store.EncodeBatch(b); err != nil {
		return store.Receipt{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range subjects {
		if name := subjects[i].Subject; name != "" {
			s.sealed[name] = true
		}
	}
	id := request{id: b.RequestID, tenant: b.Tenant}
	if len(b.Evidence) > 0 {
		id.actor = b.Evidence[0].Actor
	}
	if first, ok := s.requests[id]; ok {
		var silent [32]byte
		if first.fingerprint != b.Fingerprint && first.fingerprint != silent && b.Fingerprint != silent {
			return store.Receipt{}, store.ErrReused()
		}
		first.receipt.Duplicate = true
		return first.receipt, nil
	}
	s.clock++
	expired := s.expire()
	changes, appended, known, err := s.applyAll(b)
	if err != nil {
		s.notify(expired)
		return store.Receipt{}, err
	}
	receipt := s.record(b)
	receipt.Appended, receipt.Duplicate = appended, known
	s.requests[id] = kept{b.Fingerprint, receipt}
	s.notify(append(expired, changes...))
	return receipt, nil
}

// applyAll applies a batch's operations, or none. known says that a checkpoint was
// recorded before.
func (s *State) applyAll(b store.Batch) (changes []store.Change, appended []uint64, known bool, err error) {
	undo := s.copy()
	for _, op := range b.Ops {
		number, change, err := s.apply(op)
		if err != nil {
			s.records, s.counters, s.sequences, s.balances = undo.records, undo.counters, undo.sequences, undo.balances
			s.version, s.cluster = undo.version, undo.cluster
			return nil, nil, false, err
		}
		switch {
		case number != 0 && op.Type == store.OpCheckpoint:
			known = true
		case number != 0:
			appended = append(appended, number)
		}
		if change.Key != "" {
			change.RequestID = b.RequestID
			changes = append(changes, change)
		}
	}
	return changes, appended, known, nil
}

// copy keeps what a refused batch must not change. Values are never written in
// place, so shallow copies do.
func (s *State) copy() *State {
	return &State{
		version: s.version, cluster: s.cluster,
		records: maps.Clone(s.records), counters: maps.Clone(s.counters),
		sequences: maps.Clone(s.sequences), balances: maps.Clone(s.balances),
	}
}

// expire removes the records that the clock has overtaken.
func (s *State) expire() []store.Change {
	var changes []store.Change
	for _, k := range slices.Sorted(maps.Keys(s.records)) {
		if _, ok := s.live(k); !ok {
			s.version++
			delete(s.records, k)
			changes = append(changes, store.Change{Key: k, Version: s.version})
		}
	}
	return changes
}

// apply runs one operation. It returns the number given to a sequence's value,
// or 1 for a checkpoint that stands already, and what observers shall know.
func (s *State) apply(op store.Op) (number uint64, change store.Change, err error) {
	old, exists := s.live(op.Key)
	switch op.Type {
	case store.OpCreate, store.OpPut:
		if exists && op.Type == store.OpCreate {
			return 0, change, &store.ConflictError{Op: op.Type, Key: op.Key}
		}
		s.version++
		s.records[op.Key] = item{value: append([]byte{}, op.Value...), version: s.version}
		change = store.Change{Key: op.Key, Value: s.records[op.Key].value, Version: s.version}
	case store.OpDelete:
		if _, stored := s.records[op.Key]; stored { // as in the store, also one that expires within this batch
			s.version++
			delete(s.records, op.Key)
			change = store.Change{Key: op.Key, Version: s.version}
		}
	case store.OpCheck:
		if old.version != uint64(op.Number) {
			return 0, change, &store.ConflictError{Op: op.Type, Key: op.Key}
		}
	case store.OpExpire:
		if !exists {
			return 0, change, &store.ConflictError{Op: op.Type, Key: op.Key}
		}
		old.expires = op.Number
		s.records[op.Key] = old
	case store.OpAdd:
		s.counters[op.Key] += op.Number
	case store.OpAppend:
		value := append([]byte{}, op.Value...)
		s.sequences[op.Key] = append(slices.Clip(s.sequences[op.Key]), value)
		number = uint64(len(s.sequences[op.Key]))
		change = store.Change{Key: op.Key, Value: value, Number: number}
	case store.OpPost:
		a := account{op.Key, op.Currency}
		s.balances[a] = s.balances[a].Plus(op.Amount)
	case store.OpCheckpoint:
		number, err = s.checkpoint(uint64(op.Number), op.Value)
	case store.OpRaise:
		s.cluster = max(s.cluster, uint32(op.Number))
	}
	return number, change, err
}

func (s *State) notify(changes []store.Change) {
	for space, observers := range s.observers {
		var own []store.Change
		for _, c := range changes {
			if c.Key.Space() == space {
				own = append(own, c)
			}
		}
		for _, observe := range observers {
			if len(own) > 0 {
				observe(own, false)
			}
		}
	}
}
