package store

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

const (
	// IdempotencyWindow is how long a request id is remembered, by the
	// machine's clock: twice the time for which a signature is accepted.
	IdempotencyWindow = 10 * time.Minute

	// Due records removed by one log entry: at least so many, and two for each
	// command, so that removing keeps up with writing.
	expiriesPerPack    = 256
	expiriesPerCommand = 2
	windowsPerPack     = 4 // forgotten packs of request ids per log entry
)

// Apply interprets one log entry: the commands that the leader packed under
// one stamp. It returns one outcome per command, a [Receipt] or an error; a
// batch that does not hold changes nothing. The error is for a machine that
// cannot go on: an unknown critical command, an unreadable database, a flusher
// that cannot write. Entries up to the applied index are skipped.
//
// Apply is called by one goroutine.
func (s *Store) Apply(index uint64, stamp int64, commands [][]byte) ([]any, error) {
	if index <= s.Applied() {
		return make([]any, len(commands)), nil
	}
	if err := s.awaitRoom(); err != nil {
		return nil, err
	}
	p := &packApply{store: s, lookups: lookups{store: s}, layer: newLayer(), batch: newLayer()}
	defer p.lookups.end()
	s.mu.RLock()
	p.meta, p.recorded, p.archives = s.meta, s.ledger.recorded, s.ledger.archives
	s.mu.RUnlock()
	p.meta.applied, p.meta.clock = index, max(stamp, p.meta.clock+1)
	if err := p.expire(len(commands)); err != nil {
		return nil, err
	}
	outcomes := make([]any, len(commands))
	for i, c := range commands {
		outcome, err := p.command(c)
		if err != nil {
			return nil, err
		}
		outcomes[i] = outcome
	}
	p.lookups.end()
	p.closeWindow()
	s.publish(p)
	return outcomes, nil
}

// packApply is the work on one log entry. Reads see the batch at hand, then
// the pack, then the store.
type packApply struct {
	store   *Store
	lookups lookups
	meta    meta
	layer   *layer // what the finished batches of this pack wrote
	batch   *layer // what the batch at hand wrote
	entries []Record
	leaves  []bookpi.Hash
	window  []byte // request keys of this pack

	recorded recorded      // checkpoints, with those of this pack
	archives []segmentInfo // likewise
	changes  []Change
	request  uuid.UUID // of the batch at hand
	due      int64     // smallest expiry written by this pack; 0 = none
}

func (p *packApply) read(b bucket, key string) ([]byte, error) {
	if v, known := p.batch.get(b, key); known {
		return v, nil
	}
	if v, known := p.layer.get(b, key); known {
		return v, nil
	}
	return p.lookups.read(b, key)
}

func (p *packApply) command(c []byte) (any, error) {
	if len(c) < commandHeader || int(binary.BigEndian.Uint32(c[19:])) != len(c)-commandHeader {
		return tap.E("store.apply", tap.Invalid, "a malformed command in the log"), nil
	}
	kind, version := binary.BigEndian.Uint16(c), c[2]
	if kind != typeBatch || version != batchVersion {
		if kind&criticalBit != 0 {
			return nil, fmt.Errorf("store: log entry %d needs a newer release: command %#x version %d", p.meta.applied, kind, version)
		}
		return tap.E("store.apply", tap.Invalid, "a command of unknown type %#x", kind), nil
	}
	b, err := parseBatch(c[commandHeader:])
	if err != nil {
		return err, nil // a bad batch is its proposer's outcome, not the machine's failure
	}
	copy(b.RequestID[:], c[3:19])
	return p.apply(&b)
}

// apply runs one batch on the batch layer and keeps it only if all of it
// holds.
func (p *packApply) apply(b *Batch) (any, error) {
	p.batch.reset()
	p.request = b.RequestID
	request := requestKey(b)
	if raw, err := p.read(bucketRequests, request); err != nil {
		return nil, err
	} else if raw != nil {
		return repeated(b, raw)
	}
	if refusal := b.admitted(p.meta.cluster); refusal != nil {
		return refusal, nil
	}
	version, cluster, changes, archives := p.meta.version, p.meta.cluster, len(p.changes), p.archives
	var appended []uint64
	known := false
	for i := range b.Ops {
		number, refusal, err := p.op(&b.Ops[i])
		if err != nil {
			return nil, err
		}
		if refusal != nil {
			p.meta.version, p.meta.cluster, p.changes, p.archives = version, cluster, p.changes[:changes], archives
			return refusal, nil
		}
		switch b.Ops[i].Type {
		case OpAppend:
			appended = append(appended, number)
		case OpCheckpoint:
			known = number > 0
		}
	}
	receipt := p.evidence(b)
	receipt.Appended, receipt.Duplicate = appended, known
	p.batch.put(bucketRequests, request, encodeReceipt(b.Fingerprint, receipt))
	p.window = appendBytes(p.window, request)
	p.layer.absorb(p.batch)
	return receipt, nil
}

// op runs one operation. refusal is the batch's outcome when it does not hold.
// number is the one that a sequence gave, or 1 for a checkpoint that stands
// already.
func (p *packApply) op(op *Op) (number uint64, refusal, err error) {
	switch op.Type {
	case OpPut, OpCreate, OpDelete, OpCheck, OpExpire:
		refusal, err = p.recordOp(op)
	case OpAdd:
		refusal, err = p.add(op)
	case OpAppend:
		number, err = p.append(op)
	case OpPost:
		refusal, err = p.post(op)
	case OpRaise:
		err = p.raise(op)
	case OpCheckpoint:
		var known bool
		if known, refusal, err = p.checkpoint(op); known {
			number = 1
		}
	case OpArchive:
		p.lookups.end()
		refusal, err = p.archive(op)
	default:
		refusal, err = p.nextOp(op)
	}
	return number, refusal, err
}

// raise opens the operations of a version. From here on the log may hold what
// an older release cannot apply, so that one stops.
func (p *packApply) raise(op *Op) error {
	if op.Number > int64(Version) {
		return fmt.Errorf("store: log entry %d raises the cluster to version %d; this release knows %d: start a newer one", p.meta.applied, op.Number, Version)
	}
	p.meta.cluster = max(p.meta.cluster, uint32(op.Number))
	return nil
}

func (p *packApply) record(k Key) (record, bool, error) {
	raw, err := p.read(bucketRecords, string(k))
	if err != nil || raw == nil {
		return record{}, false, err
	}
	r, ok := decodeRecord(raw)
	if !ok {
		return record{}, false, damaged("a record is cut short")
	}
	return r, true, nil
}

func (p *packApply) recordOp(op *Op) (refusal, err error) {
	old, stored, err := p.record(op.Key)
	if err != nil {
		return nil, err
	}
	exists := stored && old.live(p.meta.clock)
	switch op.Type {
	case OpCheck:
		if exists && int64(old.version) != op.Number || !exists && op.Number != 0 {
			return &ConflictError{op.Type, op.Key}, nil
		}
		return nil, nil
	case OpCreate:
		if exists {
			return &ConflictError{op.Type, op.Key}, nil
		}
	case OpExpire:
		if !exists {
			return &ConflictError{op.Type, op.Key}, nil
		}
		p.unschedule(op.Key, old)
		old.expires = op.Number
		p.batch.put(bucketRecords, string(op.Key), old.encode())
		p.schedule(op.Key, op.Number)
		return nil, nil
	}
	if stored {
		p.unschedule(op.Key, old)
	}
	if op.Type == OpDelete {
		if stored {
			p.remove(p.batch, op.Key)
		}
		return nil, nil
	}
	p.meta.version++
	value := slices.Clone(op.Value)
	if value == nil {
		value = []byte{}
	}
	p.batch.put(bucketRecords, string(op.Key), record{version: p.meta.version, value: value}.encode())
	p.changes = append(p.changes, Change{Key: op.Key, Value: value, Version: p.meta.version, RequestID: p.request})
	return nil, nil
}

func (p *packApply) remove(l *layer, k Key) {
	p.meta.version++
	l.put(bucketRecords, string(k), nil)
	p.changes = append(p.changes, Change{Key: k, Version: p.meta.version, RequestID: p.request})
}

func (p *packApply) schedule(k Key, at int64) {
	p.batch.put(bucketExpiry, expiryKey(at, k), []byte{})
	if p.due == 0 || at < p.due {
		p.due = at
	}
}

func (p *packApply) unschedule(k Key, old record) {
	if old.expires != 0 {
		p.batch.put(bucketExpiry, expiryKey(old.expires, k), nil)
	}
}

func (p *packApply) add(op *Op) (refusal, err error) {
	raw, err := p.read(bucketCounters, string(op.Key))
	if err != nil {
		return nil, err
	}
	sum, ok := addChecked(int64(readU64(raw)), op.Number)
	if !ok {
		return tap.E("store.add", tap.Invalid, "the counter would overflow"), nil
	}
	p.batch.put(bucketCounters, string(op.Key), u64(uint64(sum)))
	return nil, nil
}

func (p *packApply) append(op *Op) (uint64, error) {
	raw, err := p.read(bucketLasts, string(op.Key))
	if err != nil {
		return 0, err
	}
	number := readU64(raw) + 1
	p.batch.put(bucketLasts, string(op.Key), u64(number))
	value := append([]byte{}, op.Value...)
	p.batch.put(bucketSequences, sequenceKey(op.Key, number), value)
	p.changes = append(p.changes, Change{Key: op.Key, Value: value, Number: number, RequestID: p.request})
	return number, nil
}

func (p *packApply) post(op *Op) (refusal, err error) {
	key := balanceKey(op.Key, op.Currency)
	raw, err := p.read(bucketBalances, key)
	if err != nil {
		return nil, err
	}
	balance, ok := decodeAmount(raw)
	if !ok {
		return nil, damaged("a balance does not parse")
	}
	balance = balance.Plus(op.Amount)
	if len(balance.units.Text(10)) > MaxMoneyDigits {
		return tap.E("store.post", tap.Invalid, "the balance would have more than %d digits", MaxMoneyDigits), nil
	}
	encoded := balance.encode()
	if encoded == nil {
		encoded = []byte{}
	}
	p.batch.put(bucketBalances, key, encoded)
	return nil, nil
}

// evidence appends the batch's entries to the ledger. Nothing can refuse any
// more: validation came first.
func (p *packApply) evidence(b *Batch) Receipt {
	receipt := Receipt{Position: p.meta.tree.Size() + uint64(len(p.entries)), Entries: len(b.Evidence), Time: p.meta.clock}
	for i := range b.Evidence {
		e := &b.Evidence[i]
		entry := bookpi.Entry{
			Timestamp: p.meta.clock, Tenant: b.Tenant, Actor: e.Actor, Action: e.Action, Outcome: e.Outcome,
			RequestID: b.RequestID, PayloadDigest: bookpi.PayloadDigest(e.Payload), Previous: p.meta.head,
		}
		encoded := entry.Append(make([]byte, 0, 192))
		p.meta.head = bookpi.LeafHash(encoded)
		p.entries = append(p.entries, Record{
			Position: receipt.Position + uint64(i), Entry: encoded, Payload: slices.Clone(e.Payload),
		})
		p.leaves = append(p.leaves, p.meta.head)
	}
	receipt.Leaf = p.meta.head
	return receipt
}

// expire removes what the new clock has overtaken, a bounded number of it, in
// key order: records past their expiry and request ids past the window.
func (p *packApply) expire(commands int) error {
	s := p.store
	if s.nextExpiry <= p.meta.clock {
		due, next, err := s.dueKeys(bucketExpiry, p.meta.clock, max(expiriesPerPack, expiriesPerCommand*commands))
		if err != nil {
			return err
		}
		for _, d := range due {
			p.layer.put(bucketExpiry, d.key, nil)
			p.remove(p.layer, Key(d.key[8:]))
		}
		s.nextExpiry = next
	}
	horizon := p.meta.clock - IdempotencyWindow.Microseconds()
	if s.nextWindow <= horizon {
		old, next, err := s.dueKeys(bucketWindow, horizon, windowsPerPack)
		if err != nil {
			return err
		}
		for _, w := range old {
			p.layer.put(bucketWindow, w.key, nil)
			r := fieldReader{rest: w.value}
			for len(r.rest) > 0 {
				p.layer.put(bucketRequests, string(r.bytes()), nil)
			}
		}
		s.nextWindow = next
	}
	return nil
}

// closeWindow remembers which request ids this pack applied, under its stamp.
func (p *packApply) closeWindow() {
	if len(p.window) > 0 {
		p.layer.put(bucketWindow, string(u64(uint64(p.meta.clock))), p.window)
	}
}

// publish makes the pack visible, tells the observers, and wakes the flusher.
func (s *Store) publish(p *packApply) {
	s.mu.Lock()
	s.active.absorb(p.layer)
	for i, r := range p.entries {
		s.ledger.append(r, p.leaves[i], &p.meta.tree)
		s.pending += len(r.Entry) + len(r.Payload)
	}
	p.meta.onDisk = s.meta.onDisk
	s.meta, s.ledger.recorded, s.ledger.archives = p.meta, p.recorded, p.archives
	if len(p.entries) > 0 {
		s.announceLocked()
	}
	if p.due != 0 {
		s.nextExpiry = min(s.nextExpiry, p.due)
	}
	if len(p.window) > 0 {
		s.nextWindow = min(s.nextWindow, p.meta.clock)
	}
	full := s.active.bytes+s.pending >= flushBytes
	s.mu.Unlock()

	if len(p.changes) > 0 {
		s.notify(p.changes)
	}
	s.wake(full)
}

// notify hands each observer the changes of its space, in order, before the
// batch is acknowledged.
func (s *Store) notify(changes []Change) {
	bySpace := map[string][]Change{}
	for _, c := range changes {
		space := c.Key.Space()
		if s.observers[space] != nil {
			bySpace[space] = append(bySpace[space], c)
		}
	}
	for _, space := range slices.Sorted(maps.Keys(bySpace)) {
		for _, observe := range s.observers[space] {
			observe(bySpace[space], false)
		}
	}
}
