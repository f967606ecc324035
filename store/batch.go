package store

import (
	"github.com/google/uuid"

	"tamv.internal/tamv/store/bookpi"
)

// Limits of a batch. A batch beyond them is refused before it is proposed.
const (
	MaxOps         = 4096
	MaxEvidence    = 1024
	MaxKeyBytes    = 1024
	MaxValueBytes  = 512 << 10
	MaxBatchBytes  = 1 << 20
	MaxPayload     = 512 << 10 // bytes of one evidence payload
	MaxMoneyDigits = 38        // of a balance, in units of 10^-10
)

// Batch is everything one request did. It is applied whole or not at all.
type Batch struct {
	RequestID uuid.UUID // applied at most once within IdempotencyWindow for its tenant and first actor
	// Fingerprint is a hash of what was asked. The same request id with
	// another fingerprint is refused (Conflict, code request_id_reused)
	// instead of answered with the first one's receipt. Zero says nothing.
	Fingerprint [32]byte
	Tenant      string     // every op's key starts with it
	Ops         []Op       // applied in order
	Evidence    []Evidence // at least one
}

// Evidence is what the proposer says for the ledger; the machine adds the
// position, the time, the request id and the link to the previous entry.
type Evidence struct {
	Actor   string // who: an identity, "anonymous" or "system"
	Action  string // what: "intent.process", "tcep.book", "auth.attempts"
	Outcome string // how it ended: "ok", "refused", "held", "denied"
	Payload []byte // opaque, hashed as it is; at most MaxPayload bytes
	// Subject is the person whom the payload concerns, empty for none. A Writer
	// seals the payload under that person's key before it proposes; the ledger
	// has the sealed bytes, and neither the plain ones nor this name.
	Subject string
}

// Receipt proves where a batch stands in the ledger.
type Receipt struct {
	Position  uint64      `json:"position"`           // of the batch's first evidence entry
	Entries   int         `json:"entries"`            // how many it appended
	Leaf      bookpi.Hash `json:"leaf"`               // leaf hash of the last of them: the evidence hash
	Time      int64       `json:"time"`               // the leader's stamp, microseconds
	Appended  []uint64    `json:"appended,omitempty"` // sequence number given to each Append, in op order
	Duplicate bool        `json:"duplicate,omitempty"`
}

// OpType is the kind of an operation. The numbers are on disk: append-only.
type OpType uint8

// The operations. All but the last two are of cluster version 1.
const (
	OpPut    OpType = 1 // set Key to Value
	OpCreate OpType = 2 // set Key to Value; conflict when it exists
	OpDelete OpType = 3 // remove Key and its expiry
	OpAdd    OpType = 4 // add Number to the counter at Key
	OpAppend OpType = 5 // give Value the next number of the sequence at Key
	OpPost   OpType = 6 // add Amount of Currency to the account at Key; all posts of a batch sum to zero per currency
	OpCheck  OpType = 7 // conflict unless Key is at version Number (0 = absent)
	OpExpire OpType = 8 // remove Key when the machine's clock reaches Number
	OpRaise  OpType = 9 // raise the cluster version to Number; it has no Key

	OpCheckpoint OpType = 10 // since version 2: record the signed checkpoint Value of size Number; it has no Key
	OpArchive    OpType = 11 // since version 2: archive segment Number, whose file has the SHA-256 Value; it has no Key
)

// Op is one operation. Use the constructors; which fields count depends on the
// type.
type Op struct {
	Type     OpType
	Key      Key
	Value    []byte
	Number   int64
	Currency string
	Amount   Amount
}

// Put sets a key. The value may be empty.
func Put(k Key, value []byte) Op { return Op{Type: OpPut, Key: k, Value: value} }

// Create sets a key that must not exist.
func Create(k Key, value []byte) Op { return Op{Type: OpCreate, Key: k, Value: value} }

// Delete removes a key; removing an absent key is fine.
func Delete(k Key) Op { return Op{Type: OpDelete, Key: k} }

// Add adds n to the counter at k. Overflow refuses the batch.
func Add(k Key, n int64) Op { return Op{Type: OpAdd, Key: k, Number: n} }

// Append adds a value to the sequence at k; the receipt says its number,
// counted from 1.
func Append(k Key, value []byte) Op { return Op{Type: OpAppend, Key: k, Value: value} }

// Post moves money: amount is added to the account's balance in that currency.
func Post(account Key, currency string, amount Amount) Op {
	return Op{Type: OpPost, Key: account, Currency: currency, Amount: amount}
}

// Check makes the batch depend on a version seen in a View; 0 means absent.
func Check(k Key, version uint64) Op { return Op{Type: OpCheck, Key: k, Number: int64(version)} }

// Expire removes the key once the machine's clock reaches at (microseconds).
// A later Put of the key without Expire keeps it for good.
func Expire(k Key, at int64) Op { return Op{Type: OpExpire, Key: k, Number: at} }

// Raise raises the cluster version to n; a cluster that is as high stays. Every
// member must know n: one that does not halts.
func Raise(n uint32) Op { return Op{Type: OpRaise, Number: int64(n)} }

// Item is one record seen through a View.
type Item struct {
	Key     Key
	Value   []byte // read-only
	Version uint64 // changes with every write; never 0 for a record that exists
	Expires int64  // microseconds; 0 = never
}

// View reads the state. Each call sees everything acknowledged before it; two
// calls may see different states, so a decision that must hold across them
// carries a Check. Expired records are not seen.
type View interface {
	// Get returns the record at k; ok is false when there is none.
	Get(k Key) (item Item, ok bool, err error)
	// Scan calls fn for the records below prefix in key order, starting at
	// from when it is not empty, until fn returns false. fn must not read the
	// view: collect first, then read.
	Scan(prefix, from Key, fn func(Item) bool) error
	// Counter is the value of a counter; 0 when there is none.
	Counter(k Key) (int64, error)
	// Sequence calls fn for the values of the sequence at k, from number
	// first (counted from 1), until fn returns false. fn must not read the view.
	Sequence(k Key, first uint64, fn func(number uint64, value []byte) bool) error
	// SequenceLast is the number of the sequence's last value; 0 when empty.
	SequenceLast(k Key) (uint64, error)
	// Balance is the account's balance in a currency; zero when there is none.
	Balance(account Key, currency string) (Amount, error)
	// Clock is the machine's time: the stamp of the last applied pack.
	Clock() int64
}
