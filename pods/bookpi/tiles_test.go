package bookpi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/httpapi"
)

// batch is one entry of evidence by itself.
func batch(who *tap.Principal, action, data string) store.Batch {
	return store.Batch{
		RequestID: uuid.New(), Tenant: who.Tenant,
		Evidence: []store.Evidence{{Actor: who.Identity, Action: action, Outcome: "ok", Payload: []byte(data)}},
	}
}

func callOf(who *tap.Principal, v store.View) *pods.Call {
	return &pods.Call{RequestID: uuid.New(), Principal: who, Tenant: who.Tenant, Query: map[string]string{}, Params: map[string]string{}, View: v}
}

// doorman admits whoever the request's roles field names.
type doorman map[string]*tap.Principal

func (d doorman) Admit(_ context.Context, r *tap.Request, row *pods.Row) (*pods.Admission, error) {
	who := d[r.Header[tap.HeaderRoles]]
	if row.Roles[0] != tap.Anyone && !who.Has(row.Roles...) {
		return nil, tap.E("doorman", tap.Forbidden, "not you").WithCode("role")
	}
	if row.Roles[0] == tap.Anyone {
		who = nil
	}
	return &pods.Admission{Principal: who}, nil
}

// serve is a site's HTTP server over a state.
func serve(t testing.TB, p *Pod, state *podtest.State) *httptest.Server {
	table, err := pods.NewTable(p)
	if err != nil {
		t.Fatal(err)
	}
	server := pods.NewServer(pods.ServerConfig{
		Table: table, Gate: doorman{"auditor": auditor}, Writer: state, View: state, Now: time.Now,
		Guards: map[string]*pods.Guard{"bookpi": pods.NewGuard(p.Manifest())},
	})
	s := httptest.NewServer(httpapi.Handler(server, httpapi.Options{Limit: server.BodyLimit}))
	t.Cleanup(s.Close)
	return s
}

func fetch(t testing.TB, s *httptest.Server, path, role string) (status int, body []byte, header http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Tamv-Roles", role)
	response, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body, response.Header
}

// tiles reads the served log as the Go checksum database's client does.
type tiles struct {
	t testing.TB
	s *httptest.Server
}

func (tiles) Height() int                     { return bookpi.TileHeight }
func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (r tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, w := range wanted {
		// Its paths name the height, those of C2SP tlog-tiles do not.
		path := strings.Replace(w.Path(), "tile/8/", "tile/", 1)
		status, body, header := fetch(r.t, r.s, "/log/"+path, "")
		if status != http.StatusOK || header.Get("Content-Type") != bytesType || header.Get("Cache-Control") != foreverForAll {
			return nil, errors.New(path + ": " + string(body))
		}
		all = append(all, body)
	}
	return all, nil
}

// The Go checksum database's packages, as strangers, read the log over HTTP:
// checkpoint, tree, entries, inclusion and consistency.
func TestStrangersReadTheLog(t *testing.T) {
	state := podtest.NewState()
	p := newPod(t, state)
	begin(t, p)
	grow := func(n int) {
		for i := range n {
			if _, err := state.Commit(t.Context(), batch([]*tap.Principal{till, {Tenant: "other", Identity: "zoe"}}[i%2], "a", `{"n":1}`)); err != nil {
				t.Fatal(err)
			}
		}
		size, _ := state.Size()
		if _, _, err := p.notary.Covering(t.Context(), size); err != nil {
			t.Fatal(err)
		}
	}
	s := serve(t, p, state)
	verifier, err := note.NewVerifier(verifierKey)
	if err != nil {
		t.Fatal(err)
	}
	head := func() tlog.Tree {
		status, text, header := fetch(t, s, "/log/checkpoint", "")
		if status != 200 || header.Get("Content-Type") != textType || header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%d %v", status, header)
		}
		n, err := note.Open(text, note.VerifierList(verifier))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(n.Text, "\n")
		tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + strings.Join(lines[1:3], "\n") + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		return tree
	}
	grow(299)
	old := head()
	grow(301) // a full second tile and a partial third
	tree := head()
	if old.N != 300 || tree.N != 601 {
		t.Fatalf("sizes %d and %d", old.N, tree.N)
	}
	reader := tlog.TileHashReader(tree, tiles{t, s})
	proof, err := tlog.ProveTree(tree.N, old.N, reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
		t.Error(err)
	}
	for index, width := range []int{256, 256, 89} {
		suffix := strings.TrimPrefix(bookpi.EntriesPath(uint64(index), width), "tile/")
		if status, _, _ := fetch(t, s, "/log/tile/"+suffix, ""); status != http.StatusForbidden {
			t.Errorf("a stranger reads entries: %d", status)
		}
		status, body, header := fetch(t, s, "/log/tile/"+suffix, "auditor")
		entries, err := bookpi.ParseEntryBundle(body, width)
		if status != 200 || err != nil || header.Get("Cache-Control") != foreverForOne {
			t.Fatalf("%d %v %v", status, err, header)
		}
		_, body, _ = fetch(t, s, "/log/"+bookpi.PayloadsPath(uint64(index), width), "auditor")
		payloads, err := bookpi.ParsePayloadBundle(body, width)
		if err != nil {
			t.Fatal(err)
		}
		for i, raw := range entries {
			position := int64(index*256 + i)
			proof, err := tlog.ProveRecord(tree.N, position, reader)
			if err != nil {
				t.Fatal(err)
			}
			if err := tlog.CheckRecord(proof, tree.N, tree.Hash, position, tlog.RecordHash(raw)); err != nil {
				t.Fatal(err)
			}
			e, err := bookpi.ParseEntry(raw)
			if err != nil || payloads[i].Withheld != (e.Tenant != "main") || !payloads[i].Withheld && bookpi.PayloadDigest(payloads[i].Data) != e.PayloadDigest {
				t.Fatalf("the payload of %d: %+v, %v", position, payloads[i], err)
			}
		}
	}
	if _, body, _ := fetch(t, s, "/log/checkpoints", "auditor"); string(body) != "300\n601\n" {
		t.Errorf("sizes %q", body)
	}
	if _, body, _ := fetch(t, s, "/log/checkpoints/300", "auditor"); !strings.Contains(string(body), "\n300\n") {
		t.Errorf("recorded %q", body)
	}
	if _, body, _ := fetch(t, s, "/log/key", ""); string(body) != strings.Join(firstKeys.Verifiers(), "\n")+"\n" {
		t.Errorf("keys %q", body)
	}
}

func TestTheLogServesWhatIsRecorded(t *testing.T) {
	state := podtest.NewState()
	p := newPod(t, state)
	h := podtest.NewHost(t, state, p)
	_, err := get(t, h, nil, "/log/keys", nil)
	podtest.WantKind(t, err, tap.Unavailable, codeKeys)
	begin(t, p)
	appendEvidence(t, h, till, "a", `1`)
	if _, err := get(t, h, nil, "/log/checkpoint", nil); err != nil {
		t.Fatal(err)
	}
	appendEvidence(t, h, till, "a", `2`) // beyond the recorded checkpoint of 2
	for _, path := range []string{"tile/0/000.p/2", "tile/0/000.p/1", "tile/entries/000.p/2", "payloads/000.p/2", "checkpoints/2"} {
		if _, err := get(t, h, auditor, "/log/"+path, nil); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, path := range []string{
		"tile/0/000.p/3", "tile/0/000", "tile/1/000.p/1", "tile/0/001.p/1", "tile/0/0", "tile/0/x000/000.p/1", "tile/64/000", "tile/-1/000", "tile/0",
		"tile/entries/000.p/3", "tile/entries/000", "tile/entries/x", "payloads/000.p/3", "payloads/000.p/0", "payloads/y", "checkpoints/3", "checkpoints/02", "checkpoints/x", "tile/0/000.p/256",
	} {
		_, err := get(t, h, auditor, "/log/"+path, nil)
		if !tap.IsKind(err, tap.NotFound) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestOpenLog(t *testing.T) {
	state := podtest.NewState()
	p := New(Config{Tenant: "main", Ledger: state, Notary: newNotary(state, newKeyring()), OpenLog: true})
	begin(t, p)
	s := serve(t, p, state)
	if _, err := state.Commit(t.Context(), batch(&tap.Principal{Tenant: "other", Identity: "zoe"}, "a", `1`)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"checkpoint", "tile/entries/000.p/2", "payloads/000.p/2", "checkpoints", "checkpoints/2"} {
		status, body, _ := fetch(t, s, "/log/"+path, "")
		if status != 200 {
			t.Errorf("%s: %d %s", path, status, body)
		}
		if path != "payloads/000.p/2" {
			continue
		}
		if list, err := bookpi.ParsePayloadBundle(body, 2); err != nil || list[0].Withheld || !list[1].Withheld {
			t.Errorf("%+v, %v", list, err)
		}
	}
}

// vault opens what it knows.
type vault struct {
	plain map[string]string
	gone  bool
}

func (v vault) Open(_ context.Context, payload []byte) ([]byte, [32]byte, error) {
	if v.gone {
		return nil, [32]byte{}, tap.E("vault", tap.NotFound, "erased").WithCode("erased")
	}
	if plain, ok := v.plain[string(payload)]; ok {
		key, err := bookpi.RecordKey([32]byte{1}, payload)
		return []byte(plain), key, err
	}
	return nil, [32]byte{}, tap.E("vault", tap.Unavailable, "not here")
}

func TestSealedPayloads(t *testing.T) {
	state := podtest.NewState()
	plain := `{"diagnosis":"x"}`
	sealed := bookpi.Seal([32]byte{1}, bookpi.KeyID{2}, [32]byte{3}, []byte(plain))
	if _, err := state.Commit(t.Context(), batch(till, "visit", string(sealed))); err != nil {
		t.Fatal(err)
	}
	r, _ := state.Record(0)
	path := "/v1/evidence/" + bookpi.LeafHash(r.Entry).String()
	for name, c := range map[string]struct {
		opener Opener
		how    string
		shown  string
	}{
		"opened":        {vault{plain: map[string]string{string(sealed): plain}}, "opened", plain},
		"erased":        {vault{gone: true}, "erased", ""},
		"key elsewhere": {vault{}, "closed", ""},
		"no opener":     {nil, "closed", ""},
	} {
		p := New(Config{Tenant: "main", Ledger: state, Notary: newNotary(state, newKeyring()), Opener: c.opener})
		h := podtest.NewHost(t, state, p)
		var e entry
		if _, err := get(t, h, till, path, &e); err != nil || e.Sealed != c.how || string(e.Payload) != c.shown || string(e.PayloadJSON) != c.shown {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
		for _, open := range []string{"true", "false"} {
			response, err := get(t, h, till, path+"/bundle?open="+open, nil)
			if err != nil {
				t.Fatal(err)
			}
			b, err := bookpi.ParseBundle(response.Body)
			if disclosed := err == nil && b.Items[0].Opening != nil; err != nil || disclosed != (open == "true" && c.how == "opened") {
				t.Errorf("%s: open=%s discloses: %v, %v", name, open, disclosed, err)
			}
			if _, err := bookpi.VerifyBundle(response.Body, verifierKey); err != nil {
				t.Error(err)
			}
		}
	}
}
