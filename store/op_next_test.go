//go:build tamv_next

package store

import "testing"

// The next release takes its operation only once the cluster is raised, in the
// batch after the one that raises it.
func TestMaxWaitsForTheClusterVersion(t *testing.T) {
	m := open(t, t.TempDir())
	high := batch(Max(key("high"), 7))
	for _, b := range []Batch{high, batch(Raise(3), Max(key("high"), 7))} {
		if err, refused := m.pack(b)[0].(error); !refused || !refusedAsNewer(err) {
			t.Fatalf("applied before every member knows it: %v", err)
		}
	}
	m.ok(batch(Raise(3)))
	m.ok(high)
	m.ok(batch(Max(key("high"), 3)))
	if n, err := m.Counter(key("high")); n != 7 || err != nil {
		t.Fatalf("%d %v", n, err)
	}
}
