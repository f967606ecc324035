package bookpi

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// testHistory is that of a log which got its ML-DSA key later and then new keys.
func testHistory(t testing.TB) (KeyHistory, []LogKeys) {
	t.Helper()
	first := testLogKeys(testOrigin, 1)
	keys := []LogKeys{ed25519Only(first), first, ed25519Only(testLogKeys(testOrigin, 2))}
	h, err := NewKeyHistory(keys[0])
	if err != nil {
		t.Fatal(err)
	}
	for i, from := range []uint64{100, 250} {
		if h, err = h.Extend(keys[i], keys[i+1], from); err != nil {
			t.Fatal(err)
		}
	}
	return h, keys
}

func TestKeyHistory(t *testing.T) {
	h, keys := testHistory(t)
	text := h.Encode()
	parsed, err := ParseKeyHistory(text)
	if err != nil || !reflect.DeepEqual(parsed, h) || !bytes.Equal(parsed.Encode(), text) {
		t.Fatal(err)
	}
	for size, want := range map[uint64]int{0: 0, 99: 0, 100: 1, 249: 1, 250: 2, MaxSize: 2} {
		if got := h.At(size); !reflect.DeepEqual(got, keys[want].VerifierKeys()) {
			t.Errorf("at %d: %v", size, got)
		}
	}
	// The oldest key leads to the newest and the other way round.
	for _, k := range []LogKeys{keys[0], keys[1], keys[2]} {
		for _, v := range k.VerifierKeys() {
			if _, err := OpenKeyHistory(text, v); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := OpenKeyHistory(text, testLogKeys(testOrigin, 9).VerifierKeys()[0]); !errors.Is(err, ErrKeyHistory) {
		t.Errorf("a stranger's key: %v", err)
	}
	if (KeyHistory{}).At(0) != nil {
		t.Error("the zero history has keys")
	}
}

func TestKeyHistoryOpensCheckpoints(t *testing.T) {
	h, keys := testHistory(t)
	sign := func(k LogKeys, size uint64) []byte {
		signed, err := k.Sign(Checkpoint{testOrigin, size, Hash{1}}, testTime)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	for _, tc := range []struct {
		keys int
		size uint64
		ok   bool
	}{
		{0, 0, true},
		{0, 99, true},
		{0, 100, false},
		{1, 99, true}, // a further signature does no harm
		{1, 100, true},
		{1, 249, true},
		{1, 250, false},
		{2, 250, true},
		{2, 249, false},
		{2, 0, false},
	} {
		cp, err := h.OpenCheckpoint(sign(keys[tc.keys], tc.size))
		if tc.ok != (err == nil) || tc.ok && cp.Size != tc.size || !tc.ok && !errors.Is(err, ErrCheckpoint) {
			t.Errorf("keys %d at size %d: %v", tc.keys, tc.size, err)
		}
	}
	if _, err := h.OpenCheckpoint([]byte("x")); !errors.Is(err, ErrCheckpoint) {
		t.Error(err)
	}
	if _, err := (KeyHistory{}).OpenCheckpoint(sign(keys[0], 1)); !errors.Is(err, ErrCheckpoint) {
		t.Error(err)
	}
}

func TestKeyHistoryRefusesToExtend(t *testing.T) {
	h, keys := testHistory(t)
	fresh := testLogKeys(testOrigin, 5)
	for name, tc := range map[string]struct {
		current, next LogKeys
		from          uint64
	}{
		"keys of an older record":    {keys[1], fresh, 300},
		"keys of nobody":             {fresh, testLogKeys(testOrigin, 6), 300},
		"no keys":                    {LogKeys{}, fresh, 300},
		"no new keys":                {keys[2], LogKeys{}, 300},
		"nothing new":                {keys[2], keys[2], 300},
		"a key that was replaced":    {keys[2], keys[0], 300},
		"another log's keys":         {keys[2], testLogKeys("tamv.test/other", 5), 300},
		"from where the last began":  {keys[2], fresh, 250},
		"from before the last began": {keys[2], fresh, 10},
		"from beyond every log":      {keys[2], fresh, MaxSize + 1},
	} {
		if _, err := h.Extend(tc.current, tc.next, tc.from); !errors.Is(err, ErrKeyHistory) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := h.Extend(keys[2], fresh, 251); err != nil {
		t.Errorf("as it should be: %v", err)
	}
	if _, err := (KeyHistory{}).Extend(keys[0], fresh, 1); !errors.Is(err, ErrKeyHistory) {
		t.Error(err)
	}
	if _, err := NewKeyHistory(LogKeys{}); !errors.Is(err, ErrKeyHistory) {
		t.Error(err)
	}
}

// Extending one history twice must not let the second write over the first.
func TestKeyHistoryBranches(t *testing.T) {
	h, keys := testHistory(t)
	a, err := h.Extend(keys[2], testLogKeys(testOrigin, 5), 300)
	if err != nil {
		t.Fatal(err)
	}
	before := a.Encode()
	if _, err := h.Extend(keys[2], testLogKeys(testOrigin, 6), 300); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Encode(), before) {
		t.Error("the first branch changed")
	}
}

// Somebody who has a replaced key can sign, but the keys after it did not agree.
func TestKeyHistoryByAThief(t *testing.T) {
	h, keys := testHistory(t)
	stolen := keys[1]
	forged := KeyHistory{h.Origin, h.Records[:2:2]}
	forged, err := forged.Extend(stolen, testLogKeys(testOrigin, 66), 250)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeyHistory(forged.Encode(), keys[2].VerifierKeys()[0]); !errors.Is(err, ErrKeyHistory) {
		t.Errorf("an auditor who knows the newest key: %v", err)
	}
	// A log that signs a record behind one that never was.
	elsewhere := KeyHistory{h.Origin, append([]KeyRecord(nil), h.Records...)}
	elsewhere.Records[2].From++
	elsewhere, err = elsewhere.Extend(keys[2], testLogKeys(testOrigin, 66), 300)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere.Records[2] = h.Records[2]
	if _, err := ParseKeyHistory(elsewhere.Encode()); !errors.Is(err, ErrKeyHistory) {
		t.Errorf("a record behind another one: %v", err)
	}
	// Without the old secret there is no record after the old one, whoever claims it.
	own := testLogKeys(testOrigin, 66)
	r := KeyRecord{Number: 3, From: 300, Previous: h.newest().hash(), Keys: own.VerifierKeys()}
	message := h.message(&r)
	for _, k := range append(own.keys[:1:1], own.keys...) {
		s, err := k.signRaw(message, keyHistoryMagic)
		if err != nil {
			t.Fatal(err)
		}
		r.Signatures = append(r.Signatures, s)
	}
	bad := KeyHistory{h.Origin, append(h.Records[:3:3], r)}
	if _, err := ParseKeyHistory(bad.Encode()); !errors.Is(err, ErrKeyHistory) {
		t.Errorf("a record nobody handed over to: %v", err)
	}
}

func TestKeyHistorySpellings(t *testing.T) {
	h, _ := testHistory(t)
	good := string(h.Encode())
	for name, change := range map[string][2]string{
		"another version":  {"keys/1\n", "keys/2\n"},
		"no records":       {good[strings.Index(good, "record 0"):], ""},
		"spare empty line": {"\n\nrecord 1", "\n\n\nrecord 1"},
		"carriage return":  {"\n", "\r\n"},
		"unknown line":     {"record 0\n", "record 0\nnote x\n"},
		"number with zero": {"from 100", "from 0100"},
		"keys below signs": {"\nkey ", "\nsign AAAA\nkey "},
		"text at the end":  {good, good + "x"},
		"no final line":    {good, strings.TrimSuffix(good, "\n")},
		"too long":         {good, good + strings.Repeat("\n", MaxKeyHistory)},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Fatalf("%s changes nothing", name)
		}
		if _, err := ParseKeyHistory([]byte(bad)); !errors.Is(err, ErrKeyHistory) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseKeyHistory(f *testing.F) {
	h, _ := testHistory(f)
	f.Add(h.Encode())
	f.Add(KeyHistory{h.Origin, h.Records[:1]}.Encode())
	f.Add([]byte(keyHistoryMagic + "\norigin x\n\nrecord 0\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, err := ParseKeyHistory(text)
		if err != nil {
			wantIs(t, err, ErrKeyHistory)
			return
		}
		if !bytes.Equal(h.Encode(), text) {
			t.Fatalf("%q encodes as %q", text, h.Encode())
		}
	})
}
