package main

import (
	"encoding/base64"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// A proof without its entry, as archived entries have, is no broken one: the entry has to
// come from elsewhere.
func TestVerifyAProofWithoutItsEntry(t *testing.T) {
	keys, err := bookpi.GenerateKeys(rand.NewChaCha8([32]byte{7}), "plaza.test/log")
	if err != nil {
		t.Fatal(err)
	}
	entry := bookpi.Entry{Timestamp: 1, Tenant: "main", Actor: "sensor", Action: "e.test", Outcome: "ok"}
	var tree bookpi.Tree
	tree.Append(bookpi.LeafHash(entry.Append(nil)), nil)
	note, err := keys.Sign(bookpi.Checkpoint{Origin: keys.Origin(), Size: 1, Root: tree.Root()}, time.Unix(1_763_781_234, 0))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "one.tlog-proof")
	if err := os.WriteFile(file, bookpi.TLogProof{Checkpoint: note}.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	other := entry
	other.Actor = "other"
	for record, exit := range map[string]int{
		"": tap.Invalid.Traits().ExitCode,
		base64.StdEncoding.EncodeToString(entry.Append(nil)): 0,
		base64.StdEncoding.EncodeToString(other.Append(nil)): tap.Unauthenticated.Traits().ExitCode,
	} {
		args := []string{"evidence", "verify", file, "--key", keys.Verifiers()[0]}
		if record != "" {
			args = append(args, "--record", record)
		}
		if r := tamvctl(t, args...); r.code != exit {
			t.Errorf("--record %q: exit code %d, want %d: %s", record, r.code, exit, r.errOut)
		}
	}
}
