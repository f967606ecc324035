package store

import (
	"bytes"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// bucket is one family of records in the database file. The names are on disk,
// and the numbers are in the checksums: append-only.
type bucket int

const (
	bucketRecords     bucket = iota // Key -> version u64, expires i64, value
	bucketExpiry                    // expires u64, Key -> nothing
	bucketCounters                  // Key -> i64
	bucketLasts                     // Key -> number of the sequence's last value
	bucketSequences                 // length of Key u16, Key, number u64 -> value
	bucketBalances                  // Key, 0, currency -> amount
	bucketRequests                  // request id, tenant, 0, actor -> receipt
	bucketWindow                    // stamp u64 -> the request keys of that pack
	bucketBlocks                    // first position u64 -> block of ledger entries of the open segment
	bucketTiles                     // level u8, index u64 -> up to 256 hashes; of level 0 only the open segment's
	bucketSegments                  // segment u64 -> segmentInfo of a sealed one
	bucketMeta                      // "meta" -> meta
	bucketCheckpoints               // size u64 -> signed checkpoint
	bucketArchives                  // segment u64 -> segmentInfo of an archived one's file of leaves
	bucketCount

	// The buckets from here on are made when the first record is put into
	// them, so that a release which does not know them can open the file of a
	// cluster that does not use them yet.
	firstLateBucket = bucketCheckpoints
)

var bucketNames = [bucketCount]string{
	"records", "expiry", "counters", "lasts", "sequences", "balances",
	"requests", "window", "blocks", "tiles", "segments", "head",
	"checkpoints", "archives",
}

// olderMetaBucket is where the first release, which had no checksums, kept its
// meta record.
const olderMetaBucket = "meta"

// layer holds writes that are not in the database file yet: per bucket, key to
// value; a nil value is a removal. A layer has one writer; once it is handed
// to the flusher it never changes.
type layer struct {
	writes [bucketCount]map[string][]byte
	bytes  int
}

func newLayer() *layer { return &layer{} }

func (l *layer) put(b bucket, key string, value []byte) {
	if l.writes[b] == nil {
		l.writes[b] = make(map[string][]byte)
	}
	l.writes[b][key] = value
	l.bytes += len(key) + len(value) + 64
}

func (l *layer) get(b bucket, key string) (value []byte, known bool) {
	value, known = l.writes[b][key]
	return value, known
}

// absorb takes over everything that upper holds.
func (l *layer) absorb(upper *layer) {
	for b := range upper.writes {
		for k, v := range upper.writes[b] {
			l.put(bucket(b), k, v)
		}
	}
}

func (l *layer) empty() bool { return l.bytes == 0 }

// reset forgets everything and keeps the memory.
func (l *layer) reset() {
	for b := range l.writes {
		clear(l.writes[b])
	}
	l.bytes = 0
}

// pair is one record of a bucket; a nil value is a removal.
type pair struct {
	key   string
	value []byte
}

// collect gathers the layers' writes below prefix and not before from, sorted;
// the first layer that knows a key wins.
func collect(b bucket, prefix, from string, layers ...*layer) []pair {
	var found []pair
	seen := map[string]struct{}{}
	for _, l := range layers {
		if l == nil {
			continue
		}
		for k, v := range l.writes[b] {
			if !strings.HasPrefix(k, prefix) || k < from {
				continue
			}
			if _, dup := seen[k]; !dup {
				seen[k] = struct{}{}
				found = append(found, pair{k, v})
			}
		}
	}
	slices.SortFunc(found, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	return found
}

// merge calls fn for the records below prefix, starting at from, in key order:
// the database file overlaid by pending. It stops when fn returns false, and
// with an error at a record that does not have its checksum. Keys
// and values are valid only during the call.
func merge(tx *bolt.Tx, b bucket, prefix, from string, pending []pair, fn func(key string, value []byte) bool) error {
	start := max(prefix, from)
	c := tx.Bucket([]byte(bucketNames[b])).Cursor()
	k, raw := c.Seek([]byte(start))
	for {
		onDisk := k != nil && bytes.HasPrefix(k, []byte(prefix))
		switch {
		case !onDisk && len(pending) == 0:
			return nil
		case len(pending) > 0 && (!onDisk || pending[0].key <= string(k)):
			if onDisk && pending[0].key == string(k) {
				k, raw = c.Next()
			}
			p := pending[0]
			pending = pending[1:]
			if p.value != nil && !fn(p.key, p.value) {
				return nil
			}
		default:
			v, ok := checked(b, k, raw)
			if !ok {
				return damaged("a record in %q does not have its checksum", bucketNames[b])
			}
			if !fn(string(k), v) {
				return nil
			}
			k, raw = c.Next()
		}
	}
}
