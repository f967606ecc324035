package bookpi

import (
	"hash/maphash"
	"strings"
	"sync"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
)

const (
	// namesBitsEach and namesProbes make one in a hundred segments look as if it had a name
	// that it does not have.
	namesBitsEach = 10
	namesProbes   = 7
	// namesMemory bounds what is remembered of all segments. One whose entries have a
	// thousand different actors takes 1.3 KB, 0.08 bytes an entry, and the worst that there
	// can be 150 KB.
	namesMemory = 16 << 20
)

// names remembers which tenants, actors and actions the sealed segments have, so that a
// search in which little matches does not read them all. It is learnt by searching: a
// segment that was read from end to end need not be read again for what is not in it.
// Nothing of it is on disk, where it could hide an entry from those who search for it.
// It is safe for concurrent use.
type names struct {
	seed  maphash.Seed
	limit int // bytes

	mu    sync.Mutex
	of    map[uint64]segmentNames // guarded by mu
	bytes int                     // guarded by mu
}

// segmentNames is a Bloom filter of the names in a segment.
type segmentNames struct {
	sum  [32]byte // of the segment's file: a restored ledger may have another one of that number
	bits []uint64
}

func newNames() *names {
	return &names{seed: maphash.MakeSeed(), limit: namesMemory, of: map[uint64]segmentNames{}}
}

// name is what an entry is found by: its tenant (kind 't'), one of the tenant's actors ('a')
// or actions ('x'), or what comes before a dot in one of them, with the dot ('x').
type name struct {
	kind          byte
	tenant, value string
}

// seen collects the names in a segment while it is read.
type seen map[name]struct{}

func (s seen) add(e *bookpi.Entry) {
	s[name{kind: 't', tenant: e.Tenant}] = struct{}{}
	s[name{'a', e.Tenant, e.Actor}] = struct{}{}
	action := name{'x', e.Tenant, e.Action}
	if _, known := s[action]; known {
		return
	}
	for {
		s[action] = struct{}{}
		dot := strings.LastIndexByte(strings.TrimSuffix(action.value, "."), '.')
		if dot < 0 {
			return
		}
		action.value = action.value[:dot+1]
	}
}

// wanted are the names that a segment must have for any of its entries to match.
func (q *query) wanted(tenant string) []name {
	all := []name{{kind: 't', tenant: tenant}}
	if q.actor != "" {
		all = append(all, name{'a', tenant, q.actor})
	}
	action := q.action
	if q.prefix {
		action = action[:strings.LastIndexByte(action, '.')+1]
	}
	if action != "" {
		all = append(all, name{'x', tenant, action})
	}
	return all
}

// probes calls fn for the bits of a name, of so many, until it returns false.
func (n *names) probes(of name, bits int, fn func(word int, mask uint64) bool) {
	h := maphash.Comparable(n.seed, of)
	at, step := h, h>>32|1
	for range namesProbes {
		bit := at % uint64(bits)
		if !fn(int(bit/64), 1<<(bit%64)) {
			return
		}
		at += step
	}
}

// learn remembers the names of a segment, of the newest ones when not all find room.
func (n *names) learn(segment store.Segment, all seen) {
	made := segmentNames{segment.SHA256, make([]uint64, (len(all)*namesBitsEach+63)/64)}
	for of := range all {
		n.probes(of, 64*len(made.bits), func(word int, mask uint64) bool {
			made.bits[word] |= mask
			return true
		})
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forget(segment.Number)
	n.of[segment.Number] = made
	for n.bytes += 8 * len(made.bits); n.bytes > n.limit; {
		oldest := segment.Number
		for number := range n.of {
			oldest = min(oldest, number)
		}
		n.forget(oldest)
	}
}

// forget needs mu.
func (n *names) forget(number uint64) {
	n.bytes -= 8 * len(n.of[number].bits)
	delete(n.of, number)
}

// known says whether the names of a segment are remembered, and lacks whether one of those
// that are wanted is not among them.
func (n *names) known(segment store.Segment, wanted []name) (known, lacks bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	of, known := n.of[segment.Number]
	if !known || of.sum != segment.SHA256 {
		return false, false
	}
	for _, w := range wanted {
		n.probes(w, 64*len(of.bits), func(word int, mask uint64) bool {
			lacks = of.bits[word]&mask == 0
			return !lacks
		})
		if lacks {
			return true, true
		}
	}
	return true, false
}
