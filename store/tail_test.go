package store

import (
	"errors"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// The open end of the ledger is followed entry by entry when the state is opened:
// what was changed together with its checksums is found all the same.
func TestTheChainOfTheTailIsCheckedAtTheStart(t *testing.T) {
	for name, change := range map[string]func(r *Record){
		"nothing":   func(*Record) {},
		"an entry":  func(r *Record) { r.Entry[20] ^= 1 }, // in the request id
		"a payload": func(r *Record) { r.Payload = append(r.Payload, ' ') },
	} {
		dir := t.TempDir()
		m := open(t, dir)
		for range 5 {
			m.ok(batch(Put(key("r"), []byte("v"))))
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		db, err := bolt.Open(filepath.Join(dir, "state.db"), 0o600, &bolt.Options{NoFreelistSync: true})
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *bolt.Tx) error {
			raw, err := get(tx, bucketBlocks, u64(0))
			if err != nil {
				return err
			}
			records, err := parseBlock(append([]byte{}, raw...), 0)
			if err != nil {
				return err
			}
			change(&records[1])
			var block []byte
			for _, r := range records {
				block = appendRecord(block, r)
			}
			return tx.Bucket([]byte(bucketNames[bucketBlocks])).Put(u64(0), stored(bucketBlocks, u64(0), block))
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		db, err = openDatabase(filepath.Join(dir, "state.db"), false)
		if err != nil {
			t.Fatal(err)
		}
		meta, ledger := newMeta(), newLedger()
		if err := read(db, &meta, &ledger); errors.Is(err, ErrDamaged) == (name == "nothing") {
			t.Errorf("%s changed: %v", name, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
