package main

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// failoverStep: the leader is killed in the middle of intents; what was
// acknowledged is there, and the nodes end with the same ledger.
type failoverStep struct {
	outcome
	Killed       string            `json:"killed"`       // the leader, by kill -9
	Leader       string            `json:"leader"`       // who leads then
	Acknowledged int               `json:"acknowledged"` // intents
	Before       int               `json:"before"`       // of them before the kill
	Failed       int               `json:"failed"`       // intents that no node answered in time
	Lost         int               `json:"lost"`         // acknowledged, but not in the ledger
	PauseMs      float64           `json:"pauseMs"`      // longest time without an acknowledgement
	Heads        map[string]string `json:"heads"`        // root of each node's ledger at the end
	Size         uint64            `json:"size"`         // entries of each
}

const (
	failoverAskers = 8 // people who ask at the same time
	failoverBefore = 5 // answers each before the kill
	failoverAfter  = 5 // answers each after it
)

// process is a node of a development site, as "tamvd dev" lists it beside the
// context file.
type process struct {
	Node    string `json:"node"`
	PID     int    `json:"pid"`
	Address string `json:"address"`
}

// processes reads the list.
func (a *app) processes() ([]process, error) {
	file := a.contextFile
	if file == "" {
		file = a.getenv(client.ContextVariable)
	}
	raw, err := os.ReadFile(filepath.Join(filepath.Dir(a.path(file)), "dev.json"))
	if err != nil {
		return nil, tap.Wrap("tamvctl.demo", tap.NotFound, err, "%s", textNoSite.In(a.lang)).WithCode("no_site")
	}
	var list struct{ Nodes []process }
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, tap.Wrap("tamvctl.demo", tap.Invalid, err, "%s", textNoSite.In(a.lang)).WithCode("no_site")
	}
	return list.Nodes, nil
}

func (d *demo) failover(ctx context.Context) error {
	r := &d.report.Failover
	site, err := d.site(ctx)
	if err != nil {
		return err
	}
	var acks acknowledgements
	var asking sync.WaitGroup
	asked, stop := context.WithCancel(ctx)
	defer stop()
	for i := range failoverAskers {
		p, err := d.person(ctx, "asker"+string(rune('a'+i)), tap.Citizen)
		if err != nil {
			return err
		}
		// Each begins at another node.
		p.config.Address, p.config.Addresses = "https://"+site[i%len(site)].Address, addressesOf(site)
		asking.Go(func() { acks.gather(asked, p) })
	}
	if err := acks.await(ctx, failoverAskers*failoverBefore); err != nil {
		return err
	}
	if err := d.killLeader(ctx, site); err != nil {
		return err
	}
	r.Before = acks.count()
	if err := acks.await(ctx, r.Before+failoverAskers*failoverAfter); err != nil {
		return err
	}
	stop()
	asking.Wait()
	r.Acknowledged, r.Failed, r.PauseMs = acks.count(), int(acks.failed.Load()), millis(acks.pause())
	r.say(textFailoverKilled, r.Killed, r.Before)
	r.say(textFailoverPause, r.PauseMs, r.Acknowledged, r.Failed)
	if r.Lost, err = d.missing(ctx, acks.hashes); err != nil {
		return err
	}
	if err := d.sameHeads(ctx, len(site)); err != nil {
		return err
	}
	r.say(textFailoverHeads, r.Acknowledged-r.Lost, r.Acknowledged, len(r.Heads), r.Size, shortHash(r.Heads[r.Leader]))
	if r.Lost > 0 {
		return wrong("%d of %d acknowledged intents are not in the ledger", r.Lost, r.Acknowledged)
	}
	return nil
}

// site is the nodes of the demonstration, all of which must be there.
func (d *demo) site(ctx context.Context) ([]process, error) {
	site, err := d.app.processes()
	if err != nil {
		return nil, err
	}
	var status clusterState
	if err := d.ask(ctx, "/v1/cluster", &status); err != nil {
		return nil, err
	}
	if len(site) != d.nodes || status.Answer != d.nodes {
		return nil, tap.E("tamvctl.demo", tap.Unavailable, textSiteSize.In(d.app.lang), d.nodes, status.Answer, len(site)).WithCode("site_size")
	}
	return site, nil
}

func addressesOf(site []process) (addresses []string) {
	for _, p := range site {
		addresses = append(addresses, "https://"+p.Address)
	}
	return addresses
}

// killLeader ends the leader's process as a power cut would.
func (d *demo) killLeader(ctx context.Context, site []process) error {
	var status clusterState
	if err := d.ask(ctx, "/v1/cluster", &status); err != nil {
		return err
	}
	i := slices.IndexFunc(site, func(p process) bool { return p.Node == status.Leader })
	if i < 0 {
		return wrong("nobody knows the process of the leader %q", status.Leader)
	}
	leader, err := os.FindProcess(site[i].PID)
	if err == nil {
		err = leader.Kill()
	}
	if err != nil {
		return tap.Wrap("tamvctl.demo", tap.Unavailable, err, "the leader's process cannot be killed")
	}
	d.report.Failover.Killed = status.Leader
	return nil
}

// missing counts the acknowledged entries that the ledger does not have.
func (d *demo) missing(ctx context.Context, hashes []string) (lost int, err error) {
	for _, hash := range hashes {
		_, err := d.app.requestAs(ctx, d.operator, ask{path: "/v1/evidence/" + hash, query: url.Values{"consistency": {"linearizable"}}})
		switch {
		case tap.IsKind(err, tap.NotFound):
			lost++
		case err != nil:
			return lost, err
		}
	}
	return lost, nil
}

// sameHeads waits until every node is back and has the same ledger.
func (d *demo) sameHeads(ctx context.Context, count int) error {
	r := &d.report.Failover
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		var status clusterState
		if err := d.ask(ctx, "/v1/cluster", &status); err == nil {
			r.Leader, r.Heads = status.Leader, map[string]string{}
			same := status.Answer == count
			for _, n := range status.Nodes {
				if n.Ledger != nil {
					r.Heads[n.ID], r.Size = n.Ledger.Root, n.Ledger.Size
				}
				same = same && n.Ledger != nil && n.Ledger.Root == status.Nodes[0].Ledger.Root
			}
			if same && len(r.Heads) == count {
				return nil
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return wrong("the nodes do not end with the same ledger: %v", r.Heads)
		}
	}
}

// ask reads a document as the operator.
func (d *demo) ask(ctx context.Context, path string, v any) error {
	reply, err := d.app.requestAs(ctx, d.operator, ask{path: path})
	if err != nil {
		return err
	}
	return reply.Decode(v)
}

// acknowledgements is what the askers were told, and when.
type acknowledgements struct {
	failed atomic.Int64

	mu     sync.Mutex
	hashes []string    // guarded by mu
	times  []time.Time // guarded by mu
}

// gather asks until ctx ends.
func (a *acknowledgements) gather(ctx context.Context, p *person) {
	for ctx.Err() == nil {
		var v answer
		// A question that was sent is waited for: it counts one way or the other.
		err := p.postIn(context.WithoutCancel(ctx), tap.English, "/v1/kernel/intent", p.question(questions[0].Question, "STANDARD"), &v)
		if err != nil || v.EvidenceHash == "" {
			a.failed.Add(1)
			continue
		}
		a.mu.Lock()
		a.hashes, a.times = append(a.hashes, v.EvidenceHash), append(a.times, time.Now())
		a.mu.Unlock()
	}
}

func (a *acknowledgements) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.hashes)
}

// await waits for so many.
func (a *acknowledgements) await(ctx context.Context, count int) error {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for a.count() < count {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return wrong("%d of %d intents were answered in time", a.count(), count)
		}
	}
	return nil
}

// pause is the longest time between two acknowledgements.
func (a *acknowledgements) pause() (longest time.Duration) {
	for i := 1; i < len(a.times); i++ {
		longest = max(longest, a.times[i].Sub(a.times[i-1]))
	}
	return longest
}
