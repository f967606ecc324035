package keyring

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"tamv.internal/tamv/tap"
)

// SealingKey wraps the secrets of one node's ring on disk. Printing it shows nothing.
type SealingKey [32]byte

// String does not show the key.
func (SealingKey) String() string { return "(sealing key)" }

// GoString does not show the key.
func (k SealingKey) GoString() string { return k.String() }

// The files of a ring and the length of their slots, in bytes.
const (
	SubjectsFile = "subjects.ring"
	LogKeysFile  = "logkeys.ring"

	subjectSlot = 512
	logKeysSlot = 4096
)

// wipeAgain is the pause before another try to overwrite what could not be.
const wipeAgain = 5 * time.Second

// Config says what a ring is kept in.
type Config struct {
	Dir     string // made with mode 0700; one process at a time uses it
	Sealing SealingKey
	// OpenFile opens or makes a file, for reading and writing by nobody else; nil =
	// the operating system's. It is the seam for fault injection.
	OpenFile func(path string) (File, error)
	Logger   *slog.Logger // told of what could not be overwritten, never of secrets; nil discards
}

// Ring is one node's secrets. Its methods are safe for concurrent use.
type Ring struct {
	log *slog.Logger

	disk  sync.Mutex         // one change of the files at a time; taken before mu
	files map[Kind]*slotFile // guarded by disk

	putsMu sync.Mutex // taken after disk, or alone
	puts   []*putting // guarded by putsMu; waiting for disk

	mu       sync.RWMutex // guards what follows up to the blank line
	secrets  map[ID]held
	order    []ID // of secrets, ascending
	digest   ID   // exclusive or of order
	subjects map[subject][]ID
	over     map[subject]uint64 // generations below are over
	gone     map[ID]bool        // destroyed since Open
	wiping   []place            // forgotten, not overwritten yet
	wipeErr  error              // of the last try to overwrite
	closed   bool

	damaged int // slots that held no secret when the ring was opened
	wake    chan struct{}
	stop    chan struct{}
	done    chan struct{}
}

type subject struct{ tenant, name string }

// place is where a secret is on disk.
type place struct {
	kind Kind
	slot uint64
}

type held struct {
	secret Secret
	at     place
}

// Status is what is in a ring.
type Status struct {
	Secrets int // usable
	// Wiping counts the keys that are forgotten and not yet overwritten. Err says
	// why, when it could not be done.
	Wiping int
	Err    error
	// Damaged counts the slots that were unreadable when the ring was opened. The
	// other members have what was in them.
	Damaged int
}

// Open opens a ring, or makes an empty one. The errors are Unavailable: keyring_damaged
// when a file is no ring, keyring_seal when the sealing key is not the ring's.
func Open(c Config) (*Ring, error) {
	if c.OpenFile == nil {
		c.OpenFile = func(path string) (File, error) { return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, slotError(err, "be made")
	}
	r := &Ring{
		log: c.Logger, files: map[Kind]*slotFile{}, secrets: map[ID]held{}, subjects: map[subject][]ID{},
		over: map[subject]uint64{}, gone: map[ID]bool{},
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	for _, f := range []struct {
		kind  Kind
		name  string
		bytes int
	}{{SubjectKey, SubjectsFile, subjectSlot}, {LogKeys, LogKeysFile, logKeysSlot}} {
		file, damaged, err := openSlots(filepath.Join(c.Dir, f.name), f.bytes, c.Sealing, c.OpenFile, func(slot uint64, s Secret) {
			r.insert(s, place{f.kind, slot})
		})
		if err != nil {
			return nil, errors.Join(err, r.closeFiles())
		}
		r.files[f.kind], r.damaged = file, r.damaged+len(damaged)
		for _, slot := range damaged {
			r.wiping = append(r.wiping, place{f.kind, slot})
		}
	}
	slices.SortFunc(r.order, compareIDs)
	_ = r.Flush() // what fails is tried again, and Status says so
	go r.wiper()
	return r, nil
}

func compareIDs(a, b ID) int { return bytes.Compare(a[:], b[:]) }

// insert takes a secret into memory, at the end of order; mu is held, or nobody else
// knows the ring.
func (r *Ring) insert(s Secret, at place) {
	id := s.ID()
	if _, twice := r.secrets[id]; twice { // a write that was thought to have failed
		r.wiping = append(r.wiping, at)
		return
	}
	r.secrets[id] = held{s, at}
	r.order = append(r.order, id)
	r.flip(id)
	if s.Kind == SubjectKey {
		name := subject{s.Tenant, s.Subject}
		r.subjects[name] = append(r.subjects[name], id)
	}
}

func (r *Ring) flip(id ID) {
	for i := range r.digest {
		r.digest[i] ^= id[i]
	}
}

// errOver is the refusal of a key that an erasure has overtaken.
func errOver() error {
	return tap.E("keyring.put", tap.Conflict, "the subject was erased meanwhile").WithCode("generation_over")
}

// Put stores secrets on this node, durably; those that are there already stay. The error
// is Conflict, generation_over, when all others were stored and some were of a
// generation that is over; Invalid when one is no secret; else of the disk, and nothing
// was stored.
func (r *Ring) Put(secrets ...Secret) error {
	for _, s := range secrets {
		if !s.valid() {
			return tap.E("keyring.put", tap.Invalid, "a secret that is none")
		}
	}
	p := &putting{secrets: secrets}
	r.putsMu.Lock()
	r.puts = append(r.puts, p)
	r.putsMu.Unlock()
	r.disk.Lock()
	defer r.disk.Unlock()
	if !p.done {
		r.putsMu.Lock()
		waiting := r.puts
		r.puts = nil
		r.putsMu.Unlock()
		r.putAll(waiting)
	}
	return p.err
}

// putting is a Put that waits for the disk. Whoever gets it first stores the secrets of
// all, so that many that come at once wait for one write and not for each other's.
type putting struct {
	secrets []Secret
	done    bool // guarded by disk, as err
	err     error
}

// putAll stores what waits, together if the disk takes it; disk is held.
func (r *Ring) putAll(waiting []*putting) {
	var all []Secret
	for _, p := range waiting {
		all = append(all, p.secrets...)
	}
	err := r.putOnDisk(all)
	for _, p := range waiting {
		if p.done, p.err = true, err; err != nil && len(waiting) > 1 {
			p.err = r.putOnDisk(p.secrets) // there may be room for this one
		}
		if p.err == nil && slices.ContainsFunc(p.secrets, func(s Secret) bool { return !r.Has(s.ID()) }) {
			p.err = errOver()
		}
	}
}

// putOnDisk stores all that are not there and may be; disk is held.
func (r *Ring) putOnDisk(secrets []Secret) error {
	for _, kind := range []Kind{SubjectKey, LogKeys} {
		fresh, err := r.missing(kind, secrets)
		if err != nil {
			return err
		}
		if len(fresh) == 0 {
			continue
		}
		slots, err := r.files[kind].write(fresh)
		r.take(kind, fresh, slots, err == nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// missing are those secrets of a kind that the ring does not have and may.
func (r *Ring) missing(kind Kind, secrets []Secret) (fresh []Secret, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.closed {
		return nil, tap.E("keyring.put", tap.Unavailable, "the keyring is closed")
	}
	chosen := map[ID]bool{}
	for _, s := range secrets {
		id := s.ID()
		_, known := r.secrets[id]
		if s.Kind != kind || known || chosen[id] || r.isOver(s) {
			continue
		}
		chosen[id] = true
		s.Value = bytes.Clone(s.Value)
		fresh = append(fresh, s)
	}
	return fresh, nil
}

// isOver says whether a secret may not be kept any more; mu is held.
func (r *Ring) isOver(s Secret) bool {
	return s.Kind == SubjectKey && s.Generation < r.over[subject{s.Tenant, s.Subject}]
}

// Over says whether a secret is of a generation that is over.
func (r *Ring) Over(s Secret) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.isOver(s)
}

// take takes over what was written. A subject may have been erased meanwhile: then its
// key is forgotten at once.
func (r *Ring) take(kind Kind, secrets []Secret, slots []uint64, written bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, slot := range slots {
		at := place{kind, slot}
		if !written || r.isOver(secrets[i]) {
			r.wiping = append(r.wiping, at)
			continue
		}
		r.insert(secrets[i], at)
		id := r.order[len(r.order)-1]
		r.order = r.order[:len(r.order)-1]
		n, _ := slices.BinarySearchFunc(r.order, id, compareIDs)
		r.order = slices.Insert(r.order, n, id)
	}
	r.wakeWiper()
}

// Advance makes a subject's generations below the given one be over: their keys are
// unusable when it returns, overwritten soon after and never taken again. It does not
// wait for the disk, so that it can be called while the log is applied.
func (r *Ring) Advance(tenant, name string, generation uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	who := subject{tenant, name}
	if generation <= r.over[who] {
		return
	}
	r.over[who] = generation
	kept := r.subjects[who][:0]
	for _, id := range r.subjects[who] {
		h := r.secrets[id]
		if h.secret.Generation >= generation {
			kept = append(kept, id)
			continue
		}
		clear(h.secret.Value)
		delete(r.secrets, id)
		n, _ := slices.BinarySearchFunc(r.order, id, compareIDs)
		r.order = slices.Delete(r.order, n, n+1)
		r.flip(id)
		r.gone[id] = true
		r.wiping = append(r.wiping, h.at)
	}
	if r.subjects[who] = kept; len(kept) == 0 {
		delete(r.subjects, who)
	}
	r.wakeWiper()
}

// Reset forgets which generations are over, and no key: the state that says so was
// replaced. The caller tells it again with Advance.
func (r *Ring) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.over)
}

// Get is the secret with an id. Its value is the caller's.
func (r *Ring) Get(id ID) (s Secret, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	h, ok := r.secrets[id]
	h.secret.Value = bytes.Clone(h.secret.Value)
	return h.secret, ok
}

// Has says whether the secret with this id is in the ring.
func (r *Ring) Has(id ID) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.secrets[id]
	return ok
}

// Destroyed says whether this ring destroyed the secret with this id since it was opened.
func (r *Ring) Destroyed(id ID) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.gone[id]
}

// Key is the key under which to seal for a subject's generation: when nodes made several
// at the same time, the one with the lowest id. The error is Conflict, generation_over,
// when that generation is over.
func (r *Ring) Key(tenant, name string, generation uint64) (s Secret, ok bool, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	who := subject{tenant, name}
	if generation < r.over[who] {
		return Secret{}, false, errOver()
	}
	var lowest ID
	for _, id := range r.subjects[who] {
		if r.secrets[id].secret.Generation == generation && (!ok || compareIDs(id, lowest) < 0) {
			lowest, ok = id, true
		}
	}
	s = r.secrets[lowest].secret
	s.Value = bytes.Clone(s.Value)
	return s, ok, nil
}

// Held is how many keys of a subject this node has.
func (r *Ring) Held(tenant, name string) int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.subjects[subject{tenant, name}])
}

// LogKeys are the texts of the ledger's keys with a number: one, unless several were made
// for it.
func (r *Ring) LogKeys(number uint64) (texts []string) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, id := range r.order {
		if s := r.secrets[id].secret; s.Kind == LogKeys && s.Generation == number {
			texts = append(texts, string(s.Value))
		}
	}
	return texts
}

// IDs are at most limit ids above after, ascending.
func (r *Ring) IDs(after ID, limit int) []ID {
	r.mu.RLock()
	defer r.mu.RUnlock()
	n, found := slices.BinarySearchFunc(r.order, after, compareIDs)
	if found {
		n++
	}
	return slices.Clone(r.order[n:min(n+limit, len(r.order))])
}

// Digest is the number of secrets and the exclusive or of their ids: rings with the
// same secrets have the same, and others hardly ever.
func (r *Ring) Digest() (count int, xor ID) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.order), r.digest
}

// Status says what is in the ring.
func (r *Ring) Status() Status {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return Status{len(r.order), len(r.wiping), r.wipeErr, r.damaged}
}
