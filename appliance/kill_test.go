package appliance_test

import (
	"context"
	"math/rand/v2"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// kills is how often the process is killed under load.
const kills = 20

// acknowledged is what the appliance said was done.
type acknowledged struct {
	mu      sync.Mutex
	entries map[string]uint64 // evidence hash -> position
	booked  int               // transactions of exactly 1 USD
}

type evidenceReply struct {
	Position     uint64 `json:"position"`
	EvidenceHash string `json:"evidenceHash"`
}

// Kill -9 at any moment, at least 20 times under load, loses no acknowledged
// batch: neither evidence nor money.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	data := t.TempDir()
	acked := &acknowledged{entries: map[string]uint64{}}
	for range kills {
		c := spawn(t, data)
		ctx, cancel := context.WithCancel(t.Context())
		var load sync.WaitGroup
		cl := connect(t, c.context)
		enough := make(chan struct{}, 1<<16)
		for worker := range 8 {
			load.Go(func() { work(ctx, cl, acked, worker%4 == 0, enough) })
		}
		// The kill comes after a random number of acknowledgements, so that
		// it meets the log, the flusher and the replies at every stage.
		for range rand.IntN(150) + 1 {
			select {
			case <-enough:
			case <-time.After(20 * time.Second):
				t.Fatal("the appliance acknowledges nothing")
			}
		}
		c.kill(t)
		cancel()
		load.Wait()
	}
	survivor := start(t, data)
	cl := connect(t, survivor.Context)
	found := map[string]uint64{}
	query := url.Values{"limit": {"500"}, "action": {"kill.*"}}
	for {
		page := get[struct {
			Entries []evidenceReply `json:"entries"`
			Next    *uint64         `json:"next"`
		}](t, cl, "/v1/evidence", query)
		for _, e := range page.Entries {
			found[e.EvidenceHash] = e.Position
		}
		if page.Next == nil {
			break
		}
		query.Set("after", strconv.FormatUint(*page.Next, 10))
	}
	lost := 0
	for hash, position := range acked.entries {
		if p, ok := found[hash]; !ok || p != position {
			lost++
		}
	}
	t.Logf("%d kills, %d acknowledged entries (%d in the ledger), %d bookings", kills, len(acked.entries), len(found), acked.booked)
	if lost > 0 || len(acked.entries) == 0 {
		t.Fatalf("%d of %d acknowledged entries are lost", lost, len(acked.entries))
	}
	checkMoney(t, cl, acked.booked)
}

// checkMoney demands at least the acknowledged bookings (a kill can fall
// between commit and reply) and that the accounts sum to zero.
func checkMoney(t *testing.T, cl *client.Client, booked int) {
	t.Helper()
	reply := get[struct {
		Balances []struct {
			Sources store.Amount `json:"sources"`
			Sum     store.Amount `json:"sum"`
		} `json:"balances"`
	}](t, cl, "/v1/economy/balances", url.Values{"currency": {"USD"}})
	if len(reply.Balances) != 1 {
		t.Fatalf("balances in USD: %+v", reply)
	}
	spent := reply.Balances[0].Sources.Negated()
	least, err := store.ParseAmount(strconv.Itoa(booked), 12, 0)
	if err != nil {
		t.Fatal(err)
	}
	if reply.Balances[0].Sum.Sign() != 0 || spent.Minus(least).Sign() < 0 || booked == 0 {
		t.Fatalf("accounts sum to %s; %s spent, %d bookings of 1 acknowledged", reply.Balances[0].Sum, spent, booked)
	}
}

// work appends evidence, or books money, until the appliance is gone.
func work(ctx context.Context, cl *client.Client, acked *acknowledged, money bool, enough chan<- struct{}) {
	for ctx.Err() == nil {
		path, body := "/v1/evidence", any(map[string]any{"action": "kill.test", "outcome": "ok", "data": map[string]any{"n": rand.Int32()}})
		if money {
			path, body = "/v1/economy/tcep", map[string]string{"amount": "1", "currency": "USD", "source": "till", "purpose": "kill test"}
		}
		reply, err := cl.Do(ctx, "POST", path, nil, body)
		if err != nil {
			if tap.KindOf(err) == tap.Internal || tap.KindOf(err) == tap.Invalid {
				panic(err)
			}
			return
		}
		acked.mu.Lock()
		if money {
			acked.booked++
		} else {
			var e evidenceReply
			if err := reply.Decode(&e); err != nil {
				panic(err)
			}
			acked.entries[e.EvidenceHash] = e.Position
		}
		acked.mu.Unlock()
		select {
		case enough <- struct{}{}:
		default:
		}
	}
}
