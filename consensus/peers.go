package consensus

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Report is what a node tells the other members about itself.
type Report struct {
	Version uint32 // newest commands this build applies
	Unfit   string // why it should not lead, at most 255 bytes; "" = fit
	Detail  []byte // opaque, at most 4 KiB; what is longer is not sent
}

// Peer is another member as last heard.
type Peer struct {
	Member
	Heard       time.Time     // when its last answer came; zero = never
	RoundTrip   time.Duration // of that answer
	Applied     uint64        // last entry that was part of its state
	Last        uint64        // last entry of its log
	Term        uint64
	ClockOffset time.Duration // its wall clock minus ours, wrong by at most half of RoundTrip
	Report      Report

	leads bool // said that it does
}

const (
	// pollInterval is how often every member asks every other how it is.
	pollInterval = time.Second
	// pollTimeout bounds the wait for one answer.
	pollTimeout = 2 * time.Second
	// peerAge is the age of a last answer up to which a member counts as present.
	peerAge = 3 * time.Second

	maxID     = 255
	maxUnfit  = 255
	maxDetail = 4 << 10
)

// peers is what the other members answered last.
type peers struct {
	node *Node

	mu     sync.Mutex
	heard  map[string]Peer // by id; Member is filled in when read
	asking map[string]bool
}

func newPeers(n *Node) *peers {
	return &peers{node: n, heard: map[string]Peer{}, asking: map[string]bool{}}
}

// run asks every member each pollInterval until ctx ends. One that has not answered yet is not asked again.
func (p *peers) run(ctx context.Context) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		for _, server := range p.others() {
			if p.begin(string(server.ID)) {
				p.node.work.Go(func() {
					defer p.end(string(server.ID))
					_, _, _ = p.ask(ctx, server)
				})
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (p *peers) begin(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asking[id] {
		return false
	}
	p.asking[id] = true
	return true
}

func (p *peers) end(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.asking, id)
}

// others returns the other members, and forgets those that are members no more.
func (p *peers) others() []raft.Server {
	var others []raft.Server
	known := map[string]bool{}
	for _, server := range p.node.servers() {
		if server.ID != raft.ServerID(p.node.cfg.ID) {
			others = append(others, server)
			known[string(server.ID)] = true
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.heard {
		if !known[id] {
			delete(p.heard, id)
		}
	}
	return others
}

// ask asks one member now and remembers the answer. before is the end of this node's log when it asked.
func (p *peers) ask(ctx context.Context, server raft.Server) (answer Peer, before uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	before = p.node.raft.LastIndex()
	begin, wall := time.Now(), p.node.cfg.Wall()
	reply, err := p.node.calls.call(ctx, string(server.Address), callStatus, nil)
	if err != nil {
		return Peer{}, before, err
	}
	heard := time.Now()
	s, err := readStatus(reply)
	if err == nil && s.id != string(server.ID) {
		err = errCall // another node has this address now
	}
	if err != nil {
		return Peer{}, before, err
	}
	answer = Peer{
		Heard: heard, RoundTrip: heard.Sub(begin), Applied: s.applied, Last: s.last, Term: s.term,
		ClockOffset: time.UnixMicro(s.clock).Sub(wall.Add(heard.Sub(begin) / 2)), Report: s.report,
		leads: s.leader == s.id,
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard[s.id] = answer
	return answer, before, nil
}

// list returns the other members of the present configuration.
func (p *peers) list() []Peer {
	others := p.others()
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]Peer, 0, len(others))
	for _, server := range others {
		peer := p.heard[string(server.ID)]
		peer.Member = memberOf(server)
		list = append(list, peer)
	}
	return list
}

// leader returns the member that lately said that it leads, in a term that is not over as far as this node knows.
func (p *peers) leader() (leader raft.Server, ok bool) {
	term := p.node.raft.CurrentTerm()
	for _, peer := range p.list() {
		if peer.leads && peer.Term >= term && time.Since(peer.Heard) <= peerAge {
			term, ok = peer.Term, true
			leader = raft.Server{ID: raft.ServerID(peer.ID), Address: raft.ServerAddress(peer.Address)}
		}
	}
	return leader, ok
}

// Peers returns the other members as last heard; each node asks them every second. It works on every node.
func (n *Node) Peers() []Peer { return n.peers.list() }

// status is the reply to callStatus: applied (8 bytes), last (8), term (8), wall clock in microseconds since the Unix epoch
// (8), version (4), then id, unfit, detail and the id of the leader, each with a length of two bytes. More would need another
// kind of call.
type status struct {
	applied, last, term uint64
	clock               int64
	id                  string
	report              Report
	leader              string // "" while none is known
}

// tellStatus answers callStatus, also on a halted node.
func (n *Node) tellStatus(context.Context, []byte) ([]byte, error) {
	_, leader := n.raft.LeaderWithID()
	s := status{
		id: n.cfg.ID, leader: string(leader), applied: n.fsm.applied.Load(), last: n.raft.LastIndex(), term: n.raft.CurrentTerm(),
		clock: n.cfg.Wall().UnixMicro(),
	}
	if n.cfg.Report != nil {
		s.report = n.cfg.Report()
	}
	if n.fsm.err() != nil {
		s.report.Unfit = "halted"
	}
	return appendStatus(nil, s), nil
}

func appendStatus(data []byte, s status) []byte {
	data = binary.BigEndian.AppendUint64(data, s.applied)
	data = binary.BigEndian.AppendUint64(data, s.last)
	data = binary.BigEndian.AppendUint64(data, s.term)
	data = binary.BigEndian.AppendUint64(data, uint64(s.clock))
	data = binary.BigEndian.AppendUint32(data, s.report.Version)
	data = appendBytes(data, s.id)
	data = appendBytes(data, s.report.Unfit[:min(len(s.report.Unfit), maxUnfit)])
	if len(s.report.Detail) > maxDetail {
		s.report.Detail = nil
	}
	return appendBytes(appendBytes(data, s.report.Detail), s.leader)
}

func readStatus(data []byte) (status, error) {
	w := wire{data: data}
	s := status{applied: w.uint64(), last: w.uint64(), term: w.uint64(), clock: int64(w.uint64())}
	s.report.Version = w.uint32()
	s.id = string(w.bytes(maxID))
	s.report.Unfit = string(w.bytes(maxUnfit))
	if detail := w.bytes(maxDetail); len(detail) > 0 {
		s.report.Detail = detail
	}
	s.leader = string(w.bytes(maxID))
	return s, w.end()
}
