package anubis

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

func TestBucketsKeepTheRecent(t *testing.T) {
	b := newBuckets[int](Rate{1, 1}, 3)
	now := time.Unix(1, 0)
	for _, key := range []int{1, 2, 3, 1, 4} { // 4 pushes 2 out
		b.take(key, now)
	}
	for key, spent := range map[int]bool{1: true, 2: false, 3: true, 4: true, 5: false} {
		if b.spent(key, now) != spent {
			t.Errorf("key %d: spent %v", key, !spent)
		}
	}
	if !b.take(2, now) || b.take(2, now) || b.len() != 3 {
		t.Error("a key that was pushed out does not start with a full bucket")
	}
	if b.spent(2, now.Add(time.Second)) || !b.take(2, now.Add(time.Second)) {
		t.Error("the bucket does not fill again")
	}
	if b.take(2, now.Add(-24*time.Hour)) {
		t.Error("a clock that goes back fills a bucket")
	}
}

// However keys come, the table stays within its bound and its ring whole.
func TestBucketsBounded(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	b := newBuckets[int](Rate{1, 1}, 16)
	for range 10_000 {
		b.take(random.IntN(64), time.Unix(1, 0))
	}
	n := 0
	r := b.table
	for e := r.ring.next; e != &r.ring; e = e.next {
		if r.table[e.key] != e || e.next.prev != e {
			t.Fatal("the ring is broken")
		}
		n++
	}
	if n != 16 || b.len() != 16 {
		t.Fatalf("%d in the ring, %d in the table", n, b.len())
	}
}

func TestNetwork(t *testing.T) {
	for from, to := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::",
		"fe80::1%eth0": "fe80::", "::1": "::",
	} {
		if got := network(netip.MustParseAddr(from)); got != netip.MustParseAddr(to) {
			t.Errorf("%s counts as %s, want %s", from, got, to)
		}
	}
	if network(netip.Addr{}).IsValid() {
		t.Error("no address became one")
	}
}
