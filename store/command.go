package store

import (
	"crypto/sha256"
	"encoding/binary"
	"math"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// A command is one encoded batch as it stands in the replicated log:
//
//	type u16 | version u8 | request id 16 | body length u32 | body
//
// All integers are big-endian. The top bit of the type says that a machine
// which does not know the type must stop instead of skipping it. The body of a
// batch is a sequence of length-prefixed fields; docs/FORMATS.md has it byte by
// byte. It is not MessagePack, because a batch has exactly one encoding here.
const (
	commandHeader = 2 + 1 + 16 + 4
	criticalBit   = 1 << 15
	typeBatch     = criticalBit | 1
	batchVersion  = 1
)

// EncodeBatch checks a batch against the limits and encodes it as a command.
func EncodeBatch(b Batch) ([]byte, error) {
	if err := b.validate(); err != nil {
		return nil, err
	}
	buf := make([]byte, commandHeader, commandHeader+b.size())
	binary.BigEndian.PutUint16(buf, typeBatch)
	buf[2] = batchVersion
	copy(buf[3:], b.RequestID[:])
	buf = appendBytes(buf, b.Tenant)
	buf = append(buf, b.Fingerprint[:]...)
	buf = binary.AppendUvarint(buf, uint64(len(b.Ops)))
	for i := range b.Ops {
		buf = b.Ops[i].append(buf)
	}
	buf = binary.AppendUvarint(buf, uint64(len(b.Evidence)))
	for i := range b.Evidence {
		e := &b.Evidence[i]
		buf = appendBytes(buf, e.Actor)
		buf = appendBytes(buf, e.Action)
		buf = appendBytes(buf, e.Outcome)
		buf = appendBytes(buf, e.Payload)
	}
	if len(buf) > MaxBatchBytes {
		return nil, tap.E("store.batch", tap.Invalid, "a batch of %d bytes is larger than %d", len(buf), MaxBatchBytes).WithCode("too_large")
	}
	binary.BigEndian.PutUint32(buf[19:], uint32(len(buf)-commandHeader))
	return buf, nil
}

func appendBytes[T string | []byte](buf []byte, field T) []byte {
	return append(binary.AppendUvarint(buf, uint64(len(field))), field...)
}

func (op *Op) append(buf []byte) []byte {
	buf = append(buf, byte(op.Type))
	buf = appendBytes(buf, string(op.Key))
	switch op.Type.properties().fields {
	case fieldsValue:
		buf = appendBytes(buf, op.Value)
	case fieldsNumber:
		buf = binary.AppendVarint(buf, op.Number)
	case fieldsNumberValue:
		buf = appendBytes(binary.AppendVarint(buf, op.Number), op.Value)
	case fieldsPosting:
		buf = appendBytes(buf, op.Currency)
		buf = appendBytes(buf, op.Amount.encode())
	}
	return buf
}

// size estimates the encoded size, to allocate once.
func (b *Batch) size() int {
	n := 64 + len(b.Tenant)
	for i := range b.Ops {
		n += 24 + len(b.Ops[i].Key) + len(b.Ops[i].Value)
	}
	for i := range b.Evidence {
		e := &b.Evidence[i]
		n += 20 + len(e.Actor) + len(e.Action) + len(e.Outcome) + len(e.Payload)
	}
	return n
}

// validate holds what every batch must satisfy, before it is proposed and
// again when it is applied.
func (b *Batch) validate() error {
	switch {
	case !tap.ValidName(b.Tenant):
		return tap.E("store.batch", tap.Invalid, "a batch without a valid tenant")
	case len(b.Evidence) == 0 && !b.recordsCheckpoint():
		return tap.E("store.batch", tap.Invalid, "a batch without evidence")
	case len(b.Evidence) > MaxEvidence || len(b.Ops) > MaxOps:
		return tap.E("store.batch", tap.Invalid, "a batch of %d operations and %d entries is too large", len(b.Ops), len(b.Evidence)).WithCode("too_large")
	}
	for i := range b.Evidence {
		if err := b.Evidence[i].validate(b.Tenant); err != nil {
			return err
		}
	}
	for i := range b.Ops {
		if b.Ops[i].Type == OpCheckpoint && !b.recordsCheckpoint() {
			return tap.E("store.batch", tap.Invalid, "a checkpoint is recorded by itself")
		}
		if err := b.Ops[i].validate(b.Tenant); err != nil {
			return err
		}
	}
	return balanced(b.Ops)
}

// validate asks the ledger itself whether it can take the entry: Apply must
// never meet one that it cannot.
func (e *Evidence) validate(tenant string) error {
	entry := bookpi.Entry{Timestamp: 1, Tenant: tenant, Actor: e.Actor, Action: e.Action, Outcome: e.Outcome}
	if err := entry.Validate(); err != nil {
		return tap.Wrap("store.evidence", tap.Invalid, err, "the ledger cannot take this entry: %v", err).WithCode("evidence")
	}
	if e.Subject != "" {
		return errUnsealed()
	}
	if len(e.Payload) > MaxPayload {
		return tap.E("store.evidence", tap.Invalid, "an evidence payload of %d bytes is larger than %d", len(e.Payload), MaxPayload).WithCode("too_large")
	}
	return nil
}

// currency says whether s can name one: 1 to 16 letters and digits.
func currency(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 16
}

func (op *Op) validate(tenant string) error {
	switch op.Type {
	case OpRaise:
		if op.Key != "" || op.Number < 1 || op.Number > math.MaxUint32 {
			return tap.E("store.op", tap.Invalid, "a raise of the cluster version to %d", op.Number)
		}
		return nil
	case OpCheckpoint:
		if op.Key != "" || op.Number < 0 {
			return tap.E("store.op", tap.Invalid, "a checkpoint of size %d", op.Number)
		}
		_, err := ReadCheckpoint(op.Value)
		return err
	case OpArchive:
		if op.Key != "" || op.Number < 0 || op.Number > bookpi.MaxSize/segmentEntries || len(op.Value) != sha256.Size {
			return tap.E("store.op", tap.Invalid, "an archive of segment %d under %d bytes of hash", op.Number, len(op.Value))
		}
		return nil
	}
	if err := op.Key.validate(tenant); err != nil {
		return err
	}
	switch {
	case op.Type.properties().since == 0:
		return tap.E("store.op", tap.Invalid, "unknown operation %d", op.Type)
	case len(op.Value) > MaxValueBytes:
		return tap.E("store.op", tap.Invalid, "a value of %d bytes is larger than %d", len(op.Value), MaxValueBytes).WithCode("too_large")
	case op.Type == OpPost && !currency(op.Currency):
		return tap.E("store.op", tap.Invalid, "a posting without a valid currency")
	case op.Type == OpPost && len(op.Amount.Units().Text(10)) > MaxMoneyDigits:
		return tap.E("store.op", tap.Invalid, "a posting of more than %d digits", MaxMoneyDigits)
	case op.Type == OpExpire && op.Number <= 0:
		return tap.E("store.op", tap.Invalid, "an expiry before the epoch")
	}
	return nil
}

// balanced refuses postings that do not sum to zero in each currency. Money
// can move; it cannot appear.
func balanced(ops []Op) error {
	var sums map[string]Amount
	for i := range ops {
		if ops[i].Type == OpPost {
			if sums == nil {
				sums = map[string]Amount{}
			}
			sums[ops[i].Currency] = sums[ops[i].Currency].Plus(ops[i].Amount)
		}
	}
	for _, sum := range sums {
		if sum.Sign() != 0 {
			return tap.E("store.post", tap.Invalid, "the postings do not sum to zero").WithCode("unbalanced")
		}
	}
	return nil
}

// parseBatch reads the body of a batch command. Every slice aliases body.
func parseBatch(body []byte) (Batch, error) {
	r := fieldReader{rest: body}
	b := Batch{Tenant: string(r.bytes()), Fingerprint: [32]byte(r.fixed(32))}
	ops := r.count(MaxOps)
	b.Ops = make([]Op, 0, ops)
	for range ops {
		b.Ops = append(b.Ops, r.op())
	}
	entries := r.count(MaxEvidence)
	b.Evidence = make([]Evidence, 0, entries)
	for range entries {
		b.Evidence = append(b.Evidence, Evidence{
			Actor: string(r.bytes()), Action: string(r.bytes()), Outcome: string(r.bytes()), Payload: r.bytes(),
		})
	}
	if r.newer != 0 {
		return Batch{}, errNewer(r.newer)
	}
	if r.bad || len(r.rest) != 0 {
		return Batch{}, tap.E("store.command", tap.Invalid, "a malformed batch in the log")
	}
	return b, b.validate()
}

// fieldReader takes length-prefixed fields off a buffer; after the first bad
// one everything reads as empty and bad stays set.
type fieldReader struct {
	rest  []byte
	bad   bool
	newer OpType // the operation that this release does not know, if any; 0 is none
}

func (r *fieldReader) fail() { r.rest, r.bad = nil, true }

func (r *fieldReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *fieldReader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *fieldReader) count(limit int) int {
	n := r.uvarint()
	if n > uint64(limit) || n > uint64(len(r.rest)) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *fieldReader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.fail()
		return nil
	}
	field := r.rest[:n:n]
	r.rest = r.rest[n:]
	return field
}

// fixed takes n bytes; zeroes when there are fewer.
func (r *fieldReader) fixed(n int) []byte {
	if len(r.rest) < n {
		r.fail()
		return make([]byte, n)
	}
	field := r.rest[:n:n]
	r.rest = r.rest[n:]
	return field
}

func (r *fieldReader) op() Op {
	if len(r.rest) == 0 {
		r.fail()
		return Op{}
	}
	op := Op{Type: OpType(r.rest[0])}
	r.rest = r.rest[1:]
	op.Key = Key(r.bytes())
	known := op.Type.properties()
	if known.since == 0 {
		r.newer = op.Type
		r.fail()
		return op
	}
	switch known.fields {
	case fieldsValue:
		op.Value = r.bytes()
	case fieldsNumber:
		op.Number = r.varint()
	case fieldsNumberValue:
		op.Number, op.Value = r.varint(), r.bytes()
	case fieldsPosting:
		op.Currency = string(r.bytes())
		amount, ok := decodeAmount(r.bytes())
		if !ok {
			r.fail()
		}
		op.Amount = amount
	}
	return op
}
