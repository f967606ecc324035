package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"tamv.internal/tamv/bench/server"
	"tamv.internal/tamv/store/bookpi"
)

// performed runs a command line and decodes what it prints.
func performed[T any](t *testing.T, args ...string) (result T) {
	t.Helper()
	var out bytes.Buffer
	if err := run(t.Context(), args, &out); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	if err := json.Unmarshal(out.Bytes(), &result); err != nil {
		t.Fatalf("%s: %v", out.Bytes(), err)
	}
	return result
}

func TestListNamesEveryContestant(t *testing.T) {
	count := map[string]int{}
	for _, l := range performed[[]listing](t, "list") {
		count[l.Test]++
		if l.Name == "" || l.Setting == "" {
			t.Errorf("%+v", l)
		}
	}
	if count["append"] != 5 || count["verify"] != 3 || count["prove"] != 3 {
		t.Errorf("%v", count)
	}
}

func TestEveryLedgerKeepsRecords(t *testing.T) {
	for _, w := range writers {
		t.Run(w.name, func(t *testing.T) {
			if w.server {
				if _, err := server.PostgresVersion(); err != nil {
					t.Skip(err)
				}
			}
			folder := t.TempDir()
			if os.Getuid() == 0 && w.server { // the server's user must reach it
				folder = ""
			}
			w.version = func() (string, error) { return "here", nil } // a test does not say what it was built from
			r, err := measureAppend(t.Context(), w, settings{clients: 4, record: 281, duration: 200e6, dir: folder})
			if err != nil || r.Operations == 0 || r.Errors != 0 || r.P95 <= 0 {
				t.Fatalf("%+v, %v", r, err)
			}
			if left, err := os.ReadDir(folder); folder != "" && (err != nil || len(left) > 0) {
				t.Errorf("%v stays behind, %v", left, err)
			}
		})
	}
}

// Ours keeps the very bytes, so that a fast writer that keeps nothing would show.
func TestOursKeepsTheBytes(t *testing.T) {
	folder := t.TempDir()
	l, err := openOurs(t.Context(), folder, 1)
	if err != nil {
		t.Fatal(err)
	}
	record := records(7, 281)()
	if err := l.write(t.Context(), 0, record); err != nil {
		t.Fatal(err)
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(folder + "/state/state.db")
	if err != nil || !bytes.Contains(raw, record) {
		t.Errorf("the record is not in the state, %v", err)
	}
}

func TestRecords(t *testing.T) {
	next, other := records(1, 281), records(2, 281)
	a, b, c := next(), next(), other()
	if len(a) != 281 || bytes.Equal(a, b) || bytes.Equal(a, c) {
		t.Errorf("%s\n%s\n%s", a, b, c)
	}
	if got := records(math.MaxInt32, 32)(); len(got) != 32 {
		t.Errorf("%d bytes", len(got))
	}
}

func TestTheSecondRecordOfTheChainLinksToTheFirst(t *testing.T) {
	if len(template.Append(nil)) != 281 {
		t.Fatalf("an entry has %d bytes", len(template.Append(nil)))
	}
	m, err := newMirror(1000)
	if err != nil {
		t.Fatal(err)
	}
	if m.size != 1000 || len(m.leaves) != 1000 {
		t.Errorf("%d entries, %d leaves", m.size, len(m.leaves))
	}
}

func TestEveryJudgeAcceptsTheLog(t *testing.T) {
	for _, j := range judges {
		j.version = func() (string, error) { return "here", nil }
		r, err := measureVerify(t.Context(), j, settings{entries: 2000})
		if err != nil || r.Operations != 2000 || r.Entries != 2000 || r.SHA256 <= 0 {
			t.Errorf("%s: %+v, %v", j.name, r, err)
		}
	}
}

func TestOurJudgeRefusesDamage(t *testing.T) {
	m, err := newMirror(1024)
	if err != nil {
		t.Fatal(err)
	}
	m.files[bookpi.EntriesPath(3, bookpi.TileWidth)][5000] ^= 1
	var broken *bookpi.BrokenError
	if err := ourJudge.check(t.Context(), m); !errors.As(err, &broken) {
		t.Errorf("%v", err)
	}
}

func TestBundleLeaves(t *testing.T) {
	m, err := newMirror(1024)
	if err != nil {
		t.Fatal(err)
	}
	bundle := m.files[bookpi.EntriesPath(1, bookpi.TileWidth)]
	leaves, err := bundleLeaves(bundle)
	if err != nil || len(leaves) != bookpi.TileWidth || !bytes.Equal(leaves[0], m.leaves[256][:]) {
		t.Errorf("%d leaves, %v", len(leaves), err)
	}
	for _, cut := range []int{1, len(bundle) - 1} {
		if _, err := bundleLeaves(bundle[:cut]); err == nil {
			t.Errorf("a bundle cut to %d bytes is read", cut)
		}
	}
}

// Each prover verifies some of its proofs before it counts.
func TestEveryProverProves(t *testing.T) {
	for _, p := range provers {
		p.version = func() (string, error) { return "here", nil }
		r, err := measureProve(t.Context(), p, settings{entries: 4096, dir: t.TempDir()})
		if err != nil || r.Entries != 4096 {
			t.Errorf("%s: %+v, %v", p.name, r, err)
		}
	}
}

func TestWrongCommandLines(t *testing.T) {
	for line, want := range map[string]string{
		"":                               "usage",
		"append":                         "usage",
		"fetch tamv":                     "usage",
		"append nobody":                  "ledger list names them",
		"verify immudb":                  "ledger list names them",
		"prove file":                     "ledger list names them",
		"append tamv more":               "usage",
		"append tamv --clients 0":        "--clients",
		"append tamv --record 8":         "--record",
		"verify tamv --entries 5":        "--entries",
		"verify tamv --duration -1s":     "--duration",
		"append file --dir /no/such/dir": "no such file",
	} {
		err := run(t.Context(), strings.Fields(line), &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", line, err)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := run(ended, []string{"append", "file", "--warmup", "0s", "--duration", "100ms"}, &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted run ends with %v", err)
	}
}
