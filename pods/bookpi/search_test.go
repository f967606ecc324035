package bookpi

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// variedLedger is a long ledger that is made while it is read, and its segments.
type variedLedger struct {
	*podtest.State
	size, archived uint64
	history        byte                     // another one has other segments
	odd            map[uint64]*bookpi.Entry // what is not like the others
	read           int                      // entries since the test looked
}

func (l *variedLedger) Size() (uint64, bookpi.Hash) { return l.size, bookpi.Hash{} }

func (l *variedLedger) entry(position uint64) bookpi.Entry {
	e := bookpi.Entry{Timestamp: int64(position) + 1, Tenant: "main", Actor: fmt.Sprint("device-", position%100), Action: "sensor.read", Outcome: "ok"}
	if odd := l.odd[position]; odd != nil {
		e.Tenant, e.Actor, e.Action = odd.Tenant, odd.Actor, odd.Action
	}
	return e
}

func (l *variedLedger) Records(first uint64, _ bool, fn func(store.Record) bool) error {
	for ; first >= l.archived*bookpi.SegmentEntries; first-- {
		l.read++
		if !fn(store.Record{Position: first, Entry: l.entry(first).Append(nil)}) || first == 0 {
			return nil
		}
	}
	return tap.E("store.record", tap.NotFound, "it is archived").WithCode("archived")
}

func (l *variedLedger) At(time int64) (uint64, error) { return min(uint64(time-1), l.size), nil }

func (l *variedLedger) Segment(number uint64) (store.Segment, error) {
	if (number+1)*bookpi.SegmentEntries > l.size {
		return store.Segment{}, tap.E("store.segment", tap.NotFound, "it is not sealed")
	}
	return store.Segment{Number: number, SHA256: [32]byte{l.history, byte(number)}, Archived: number < l.archived}, nil
}

// onlySegments is the archive of which a search needs no more than the segments.
type onlySegments struct {
	*files
	*variedLedger
}

func (o onlySegments) Segment(number uint64) (store.Segment, error) {
	return o.variedLedger.Segment(number)
}

// find follows a query to its end: the positions that it shows, and in how many pages.
func (l *variedLedger) find(t *testing.T, p *Pod, tenant string, query map[string]string) (found []uint64, pages, read int, archived bool) {
	t.Helper()
	l.read = 0
	c := &pods.Call{Principal: auditor, Tenant: tenant, Query: map[string]string{"limit": "500"}}
	for name, value := range query {
		c.Query[name] = value
	}
	for {
		result, err := p.list(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		reply := result.Body.(listReply)
		for _, e := range reply.Entries {
			found = append(found, e.Position)
		}
		if reply.Next == nil {
			return found, pages, l.read, reply.Archived
		}
		c.Query["after"] = fmt.Sprint(*reply.Next)
	}
}

func newVaried() (*variedLedger, *Pod) {
	const segment = bookpi.SegmentEntries
	l := &variedLedger{State: podtest.NewState(), size: 9*segment + 300, odd: map[uint64]*bookpi.Entry{}}
	for position, odd := range map[uint64]bookpi.Entry{
		0:             {Tenant: "main", Actor: "rare", Action: "door.open"},
		segment - 1:   {Tenant: "other", Actor: "rare", Action: "door.open"},
		3 * segment:   {Tenant: "main", Actor: "device-3", Action: "door.wide.open"},
		5*segment + 7: {Tenant: "main", Actor: "rare", Action: "sensor.read"},
		9*segment + 5: {Tenant: "main", Actor: "rare", Action: "door.open"},
	} {
		l.odd[position] = &odd
	}
	p := newPod(nil, l)
	p.config.Archive = onlySegments{&files{}, l}
	return l, p
}

// What is learnt by one search spares the next ones, of whatever, most of the reading,
// and hides nothing from them.
func TestSearchesLearn(t *testing.T) {
	const segment = bookpi.SegmentEntries
	l, p := newVaried()
	for round := range 2 {
		needed, total := 0, 0
		for _, c := range []struct {
			tenant   string
			query    map[string]string
			want     []uint64
			segments int // that have to be read when all are known, besides the open one
		}{
			{"main", map[string]string{"actor": "rare"}, []uint64{9*segment + 5, 5*segment + 7, 0}, 2},
			{"main", map[string]string{"actor": "nobody"}, nil, 0},
			{"main", map[string]string{"action": "door.open"}, []uint64{9*segment + 5, 0}, 1},
			{"main", map[string]string{"action": "door."}, []uint64{9*segment + 5, 3 * segment, 0}, 2},
			{"main", map[string]string{"action": "door.w*"}, []uint64{3 * segment}, 2},
			{"main", map[string]string{"action": "door.wide."}, []uint64{3 * segment}, 1},
			{"main", map[string]string{"action": "sensor.", "actor": "rare"}, []uint64{5*segment + 7}, 2},
			{"main", map[string]string{"actor": "rare", "to": fmt.Sprint(5*segment + 7)}, []uint64{0}, 2},
			{"main", map[string]string{"action": "do*"}, []uint64{9*segment + 5, 3 * segment, 0}, 9},
			{"other", nil, []uint64{segment - 1}, 1},
			{"third", nil, nil, 0},
		} {
			found, _, read, _ := l.find(t, p, c.tenant, c.query)
			if !slices.Equal(found, c.want) {
				t.Fatalf("round %d, %s %v: %v, want %v", round, c.tenant, c.query, found, c.want)
			}
			needed, total = needed+c.segments*segment+2*300, total+read
		}
		// One segment in a hundred looks as if it had something.
		if round > 0 && total > needed+8*segment {
			t.Errorf("the searches read %d entries, and had to read %d", total, needed)
		}
	}
	if p.names.bytes > 9*200*8 {
		t.Errorf("%d bytes for nine segments of a hundred actors", p.names.bytes)
	}
}

// heavyLedger is a long ledger of a heavy entry.
type heavyLedger struct {
	longLedger
	payload []byte
}

func (l heavyLedger) Records(first uint64, descending bool, fn func(store.Record) bool) error {
	return l.longLedger.Records(first, descending, func(r store.Record) bool {
		r.Payload = l.payload
		return fn(r)
	})
}

func TestSearchesOfHeavyEntriesAreBounded(t *testing.T) {
	h := newHost(t)
	appendEvidence(t, h, till, "sale.done", `{}`)
	p := newPod(t, heavyLedger{longLedger{h.State, 1_000_000}, make([]byte, 1<<20)})
	result, err := p.list(t.Context(), &pods.Call{Principal: auditor, Tenant: "main", Query: map[string]string{"action": "rare"}})
	if err != nil {
		t.Fatal(err)
	}
	if next := result.Body.(listReply).Next; next == nil || *next != 1_000_000-maxScannedBytes>>20 {
		t.Errorf("%v", next)
	}
}

// A ledger that was replaced by another one, and entries that left the site, are not
// searched by what was learnt before.
func TestSearchesForgetWhatIsGone(t *testing.T) {
	l, p := newVaried()
	nobody := map[string]string{"actor": "nobody"}
	l.find(t, p, "main", nobody)
	if _, pages, _, _ := l.find(t, p, "main", nobody); pages != 1 {
		t.Errorf("%d pages of nothing", pages)
	}
	l.history++
	l.odd[4*bookpi.SegmentEntries] = &bookpi.Entry{Tenant: "main", Actor: "nobody", Action: "x"}
	if found, _, _, archived := l.find(t, p, "main", nobody); !slices.Equal(found, []uint64{4 * bookpi.SegmentEntries}) || archived {
		t.Errorf("in another ledger: %v", found)
	}
	l.archived = 2
	if found, _, _, archived := l.find(t, p, "main", nobody); len(found) != 1 || !archived {
		t.Errorf("it does not say that entries are archived: %v", found)
	}
}

// What is remembered of a segment never says that it lacks what it has.
func TestNamesHideNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := newNames()
		word := rapid.StringMatching(`[ab.]{1,4}`)
		has, entries := seen{}, rapid.SliceOfN(rapid.Custom(func(t *rapid.T) bookpi.Entry {
			return bookpi.Entry{Tenant: rapid.SampledFrom([]string{"m", "n"}).Draw(t, "tenant"), Actor: word.Draw(t, "actor"), Action: word.Draw(t, "action")}
		}), 1, 50).Draw(t, "entries")
		for i := range entries {
			has.add(&entries[i])
		}
		segment := store.Segment{Number: 4, SHA256: [32]byte{1}}
		n.learn(segment, has)
		q := query{
			actor: rapid.OneOf(rapid.Just(""), word).Draw(t, "wanted actor"), action: rapid.OneOf(rapid.Just(""), word).Draw(t, "wanted action"),
			prefix: rapid.Bool().Draw(t, "prefix"), to: 1,
		}
		known, lacks := n.known(segment, q.wanted("m"))
		if !known {
			t.Fatal("it is forgotten")
		}
		for i := range entries {
			if e := &entries[i]; lacks && e.Tenant == "m" && q.matches(e) {
				t.Fatalf("%+v hides %+v", q, e)
			}
		}
	})
}

func TestNamesAreBounded(t *testing.T) {
	n := newNames()
	n.limit = 16 << 10
	all := seen{}
	for i := range 800 { // a kilobyte
		all[name{'a', "main", fmt.Sprint(i)}] = struct{}{}
	}
	for number := range uint64(40) {
		n.learn(store.Segment{Number: 39 - number}, all)
	}
	if n.bytes > n.limit || n.bytes < n.limit*9/10 {
		t.Errorf("%d bytes", n.bytes)
	}
	if known, _ := n.known(store.Segment{Number: 39}, nil); !known {
		t.Error("the newest is forgotten")
	}
	if known, _ := n.known(store.Segment{Number: 0}, nil); known {
		t.Error("the oldest stays")
	}
}
