package consensus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"tamv.internal/tamv/consensus/snapshot"
)

// An offer is a snapshot that the leader made for a member whose log is damaged. Requests and replies are JSON: they are rare,
// and releases may add fields.
type offerRequest struct {
	// Member is who asks. A new offer to a member takes the place of the one before.
	Member string `json:"member"`
	// Index and Term name an offer that is to be kept for longer; 0 asks for a new one.
	Index uint64 `json:"index,omitempty"`
	Term  uint64 `json:"term,omitempty"`
}

type offerReply struct {
	Index              uint64       `json:"index"`
	Term               uint64       `json:"term"`         // of the entry at Index
	CurrentTerm        uint64       `json:"current_term"` // of the leader
	ConfigurationIndex uint64       `json:"configuration_index"`
	Servers            []serverJSON `json:"servers"`
	Manifest           []byte       `json:"manifest"`
}

// serverJSON is a member of a configuration.
type serverJSON struct {
	ID      string `json:"id"`
	Address string `json:"address"`
	Voter   bool   `json:"voter"`
}

func serversJSON(c raft.Configuration) []serverJSON {
	servers := make([]serverJSON, 0, len(c.Servers))
	for _, s := range c.Servers {
		servers = append(servers, serverJSON{string(s.ID), string(s.Address), s.Suffrage == raft.Voter})
	}
	return servers
}

// configuration returns servers in Raft's form, or an error if Raft would not accept them.
func configuration(servers []serverJSON) (c raft.Configuration, err error) {
	ids, voters := map[string]bool{}, 0
	for _, s := range servers {
		if s.ID == "" || s.Address == "" || ids[s.ID] {
			return c, fmt.Errorf("%w: member %q at %q", errCall, s.ID, s.Address)
		}
		ids[s.ID] = true
		suffrage := raft.Nonvoter
		if s.Voter {
			suffrage = raft.Voter
			voters++
		}
		c.Servers = append(c.Servers, raft.Server{Suffrage: suffrage, ID: raft.ServerID(s.ID), Address: raft.ServerAddress(s.Address)})
	}
	if voters == 0 {
		return c, fmt.Errorf("%w: no voter among %d members", errCall, len(servers))
	}
	return c, nil
}

// decodeOfferReply reads a reply. Errors wrap errCall.
func decodeOfferReply(data []byte) (r offerReply, c raft.Configuration, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&r); err != nil {
		return r, c, fmt.Errorf("%w: %v", errCall, err)
	}
	if r.Index == 0 || r.Term == 0 || r.CurrentTerm < r.Term || r.ConfigurationIndex > r.Index {
		return r, c, fmt.Errorf("%w: offer at index %d, term %d of %d", errCall, r.Index, r.Term, r.CurrentTerm)
	}
	c, err = configuration(r.Servers)
	return r, c, err
}

const (
	// offerLease is how long an offer is kept after it was last asked for.
	offerLease = 3 * time.Minute
	// maxOffers bounds the offers kept at a time.
	maxOffers = 4
	// barrierTimeout bounds the wait for the majority.
	barrierTimeout = 10 * time.Second
)

// offer keeps a snapshot, and the log from its index on, for a member that pulls it.
type offer struct {
	member  string
	reply   offerReply
	release func()
	timer   *time.Timer
}

// answerOffer makes, or keeps, an offer. The snapshot covers every entry that was in this leader's log when it was asked, and the
// leader proved after that that it leads. Whatever the asking member acknowledged before it lost its log, and is committed or
// can still be, is then in the snapshot: to earlier leaders, because a committed entry is in the log of every later leader; to this
// one, because it cannot acknowledge an entry that the leader does not have.
func (t *installs) answerOffer(ctx context.Context, body []byte) ([]byte, error) {
	var request offerRequest
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, fmt.Errorf("%w: %v", errCall, err)
	}
	if err := speaksFor(ctx, request.Member); err != nil {
		return nil, err
	}
	if request.Index != 0 {
		return nil, t.extend(request)
	}
	r := t.raft.Load()
	if r == nil || r.State() != raft.Leader {
		return nil, ErrNotLeader
	}
	if err := t.fsm.err(); err != nil {
		return nil, err
	}
	last := r.LastIndex()
	if err := r.Barrier(barrierTimeout).Error(); err != nil {
		return nil, memberError(err)
	}
	o, err := t.offer(r, request.Member, last)
	if err != nil {
		return nil, err
	}
	return json.Marshal(o.reply)
}

// offer opens a snapshot for a member that reaches index at least, taking one if there is none.
func (t *installs) offer(r *raft.Raft, member string, index uint64) (*offer, error) {
	newest, err := newestSnapshot(t.snapshots)
	if err != nil {
		return nil, err
	}
	if newest.Index < index {
		if err := r.Snapshot().Error(); err != nil {
			return nil, fmt.Errorf("consensus: take a snapshot: %w", err)
		}
		if newest, err = newestSnapshot(t.snapshots); err != nil {
			return nil, err
		}
	}
	meta, reader, err := t.snapshots.Open(newest.ID)
	if err != nil {
		return nil, err
	}
	manifest, err := io.ReadAll(reader)
	if err != nil {
		return nil, errors.Join(err, reader.Close())
	}
	free := t.store.hold(meta.Index)
	o := &offer{
		member: member,
		reply: offerReply{
			Index: meta.Index, Term: meta.Term, CurrentTerm: r.CurrentTerm(), ConfigurationIndex: meta.ConfigurationIndex,
			Servers: serversJSON(meta.Configuration), Manifest: manifest,
		},
		release: func() { free(); reader.Close() },
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, former := range t.offers {
		if former.member == member {
			t.withdraw(former)
			break
		}
	}
	if t.done || len(t.offers) == maxOffers {
		o.release()
		return nil, ErrBusy
	}
	o.timer = time.AfterFunc(offerLease, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.withdraw(o)
	})
	t.offers = append(t.offers, o)
	return o, nil
}

// extend keeps an offer for longer.
func (t *installs) extend(request offerRequest) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range t.offers {
		if o.member == request.Member && o.reply.Index == request.Index && o.reply.Term == request.Term && o.timer.Stop() {
			o.timer.Reset(offerLease)
			return nil
		}
	}
	return fmt.Errorf("%w: no offer at index %d", snapshot.ErrNotFound, request.Index)
}

// withdraw ends an offer. The caller holds mu.
func (t *installs) withdraw(o *offer) {
	if i := slices.Index(t.offers, o); i >= 0 {
		t.offers = slices.Delete(t.offers, i, i+1)
		o.timer.Stop()
		o.release()
	}
}
