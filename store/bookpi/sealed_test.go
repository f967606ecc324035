package bookpi

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func seal(payload string) (subjectKey [32]byte, sealed []byte) {
	subjectKey = [32]byte{1, 2, 3}
	return subjectKey, Seal(subjectKey, KeyID{9}, [32]byte{7}, []byte(payload))
}

func TestASealedPayloadOpens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var key, salt [32]byte
		copy(key[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key"))
		copy(salt[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "salt"))
		payload := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload")
		sealed := Seal(key, KeyID{5}, salt, payload)
		if len(sealed) != len(payload)+SealedOverhead || !IsSealed(sealed) {
			t.Fatalf("%d bytes became %d", len(payload), len(sealed))
		}
		if id, err := SealedUnder(sealed); err != nil || id != (KeyID{5}) {
			t.Fatal(id, err)
		}
		record, err := RecordKey(key, sealed)
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := OpenSealed(sealed, record); err != nil || !bytes.Equal(plain, payload) {
			t.Fatalf("%x %v", plain, err)
		}
		other := Seal(key, KeyID{5}, [32]byte{^salt[0]}, payload)
		if _, err := OpenSealed(other, record); !errors.Is(err, ErrSealed) {
			t.Fatal("a record key opened another payload")
		}
		key[0]++
		if _, err := RecordKey(key, sealed); !errors.Is(err, ErrSealed) {
			t.Fatal("another subject's key was taken for the right one")
		}
	})
}

// Every byte counts: none can be changed, removed or added.
func TestASealedPayloadCannotBeAltered(t *testing.T) {
	key, sealed := seal("ana has a cold")
	record, err := RecordKey(key, sealed)
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		for _, flip := range []byte{1, 0x80} {
			bad := bytes.Clone(sealed)
			bad[i] ^= flip
			if _, err := OpenSealed(bad, record); !errors.Is(err, ErrSealed) {
				t.Fatalf("opened with byte %d altered: %v", i, err)
			}
		}
		if _, err := OpenSealed(sealed[:i], record); !errors.Is(err, ErrSealed) {
			t.Fatalf("opened when cut at %d: %v", i, err)
		}
	}
	if _, err := OpenSealed(append(bytes.Clone(sealed), 0), record); !errors.Is(err, ErrSealed) {
		t.Error("opened with a byte too many")
	}
	for i := range record {
		bad := record
		bad[i] ^= 1
		if _, err := OpenSealed(sealed, bad); !errors.Is(err, ErrSealed) {
			t.Fatalf("opened with another key: %v", err)
		}
	}
}

// The format is on disk for ever. These bytes are what another implementation (Python's hashlib and cryptography) makes
// of the same key, id, salt and payload by the table in sealed.go.
func TestSealedFormat(t *testing.T) {
	key, sealed := seal("ana has a cold")
	const want = "5453500109000000000000000000000000000000" +
		"0700000000000000000000000000000000000000000000000000000000000000" +
		"d0b19b02e3f5dede11e21b97767e16c615f442800ca927d1007e327fda9acf3c" +
		"33be660bc3ec5b64acdf3814e0c5ef8f3f9f698a591a8f238c6624928a3f"
	got := hex.EncodeToString(sealed)
	if got != want {
		t.Errorf("sealed to %s", got)
	}
	if _, err := RecordKey(key, sealed); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNotSealed(t *testing.T) {
	for _, payload := range []string{"", "{}", "TSP\x01", "TSP\x02" + string(make([]byte, 100)), string(make([]byte, 200))} {
		if IsSealed([]byte(payload)) {
			t.Errorf("%q is sealed", payload)
		}
		if _, err := SealedUnder([]byte(payload)); !errors.Is(err, ErrSealed) {
			t.Error(err)
		}
		if _, err := RecordKey([32]byte{}, []byte(payload)); !errors.Is(err, ErrSealed) {
			t.Error(err)
		}
	}
}

func FuzzOpenSealed(f *testing.F) {
	key, sealed := seal("ana has a cold")
	record, err := RecordKey(key, sealed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed, record[:])
	f.Add([]byte("TSP\x01"), make([]byte, 32))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, payload, keyBytes []byte) {
		var k [32]byte
		copy(k[:], keyBytes)
		plain, err := OpenSealed(payload, k)
		if err != nil && !errors.Is(err, ErrSealed) {
			t.Fatal(err)
		}
		if err == nil && (len(plain)+SealedOverhead != len(payload) || k != record) {
			t.Fatalf("%d bytes opened to %d", len(payload), len(plain))
		}
	})
}
