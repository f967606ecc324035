package keyring

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"tamv.internal/tamv/tap"
)

// After a start nothing is known to be safe, so that everybody's first payloads come at
// once, on all members, to disks that take their time.
func TestManySubjectsAtOnceAreAllSealed(t *testing.T) {
	s := &site{t: t, nodes: map[string]*node{}, down: map[string]bool{}, mute: map[string]bool{}, changed: make(chan struct{})}
	var sealers []*Sealer
	for _, name := range []string{"n1", "n2", "n3"} {
		disk := &faults{lazy: true, write: func(string, []byte) (int, error) {
			<-time.After(2 * time.Millisecond)
			return 0, nil
		}}
		r := openRingOn(t, t.TempDir(), disk)
		e := NewExchange(ExchangeConfig{
			Ring: r, Self: name, Members: s.members, Changed: s.change,
			Dial: func(ctx context.Context, member string) (net.Conn, error) { return s.dial(ctx, name, member) },
		})
		s.names, s.nodes[name] = append(s.names, name), &node{Exchange: e, ring: r}
		sealers = append(sealers, NewSealer(e))
	}
	var group sync.WaitGroup
	const many = 300
	refused := make(chan error, many)
	for i := range many {
		group.Go(func() {
			if _, err := sealers[i%len(sealers)].Seal(t.Context(), "main", fmt.Sprintf("subject-%d", i), 0, []byte("x")); err != nil {
				refused <- err
			}
		})
	}
	group.Wait()
	if n := len(refused); n > 0 {
		t.Errorf("%d of %d were refused although every member answers: %v", n, many, <-refused)
	}
	for _, e := range s.nodes {
		e.end()
	}
}

// Puts that wait together are stored together and judged one by one.
func TestPutsThatWaitTogether(t *testing.T) {
	disk := &faults{lazy: true}
	r := openRingOn(t, t.TempDir(), disk)
	must(t, r.Put(subjectKey("leo", 0, 9)))
	r.Advance("main", "ana", 1)
	over, fine, same := &putting{secrets: []Secret{subjectKey("ana", 0, 1)}}, &putting{secrets: []Secret{subjectKey("eva", 0, 2)}}, &putting{secrets: []Secret{subjectKey("eva", 0, 2)}}
	r.disk.Lock()
	r.putAll([]*putting{over, fine, same})
	r.disk.Unlock()
	wantCode(t, over.err, tap.Conflict, "generation_over")
	if fine.err != nil || same.err != nil || r.Held("main", "eva") != 1 || r.Held("main", "ana") != 0 {
		t.Errorf("%v %v, %d keys", fine.err, same.err, r.Held("main", "eva"))
	}
	failures := 1
	disk.set(func(string, []byte) (int, error) {
		if failures--; failures >= 0 {
			return 0, net.ErrClosed
		}
		return 0, nil
	}, nil)
	first, second := &putting{secrets: []Secret{subjectKey("ana", 1, 3)}}, &putting{secrets: []Secret{subjectKey("eva", 0, 4)}}
	r.disk.Lock()
	r.putAll([]*putting{first, second})
	r.disk.Unlock()
	if first.err != nil || second.err != nil || r.Held("main", "ana") != 1 || r.Held("main", "eva") != 2 {
		t.Errorf("what failed together is not tried alone: %v %v", first.err, second.err)
	}
}
