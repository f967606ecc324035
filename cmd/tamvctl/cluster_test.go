package main

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/rogpeppe/go-internal/testscript"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/cluster"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
	"tamv.internal/tamv/tap/httpapi"
)

// threeNodes is a site of three voters and an observer, of which only the
// replication is made up: one voter is away, one has little room.
type threeNodes struct{ leader string }

func (s *threeNodes) Status() cluster.Status {
	node := func(id string, applied uint64) cluster.Node {
		return cluster.Node{
			ID: id, Address: id + ".example:7443", Voter: id[0] == 'n', Reachable: true, Heard: podtest.Epoch, Applied: applied, Version: 1,
			Report: cluster.Report{
				Release: "0.1.0", Ledger: cluster.Ledger{Size: 42, Root: "0123456789abcdef"}, Disk: cluster.Disk{Free: 1 << 30, Total: 1 << 31},
				Conditions: []cluster.Condition{{Name: "leader-known", OK: true}},
			},
		}
	}
	full := node("n2", 90)
	full.ClockOffset, full.Report.Disk = 3*time.Millisecond, cluster.Disk{Free: 1 << 29, Low: true}
	full.Report.Conditions = append(full.Report.Conditions, cluster.Condition{Name: "disk", Message: "little room"})
	away := node("n3", 0)
	away.Reachable, away.Heard = false, time.Time{}
	return cluster.Status{Node: "n1", Leader: s.leader, Commit: 100, Version: 1, Nodes: []cluster.Node{node("n1", 100), full, away, node("o1", 100)}}
}

func (s *threeNodes) Transfer(_ context.Context, to string) error {
	if to == "" {
		to = "n1"
	}
	s.leader = to
	return nil
}

func (*threeNodes) Secret(request []byte) []byte { return slices.Concat(request, request) }

func (*threeNodes) Token(secret []byte, expires time.Time) (string, error) {
	return fmt.Sprintf("token.%x.%d", secret, expires.Unix()), nil
}

func (*threeNodes) Sign([]byte, string, string) (cluster.Credentials, error) {
	return cluster.Credentials{}, tap.E("test", tap.Unavailable, "nobody joins here")
}

// Admit lets everybody pass as the operator: signatures are tried elsewhere.
func (*threeNodes) Admit(context.Context, *tap.Request, *pods.Row) (*pods.Admission, error) {
	return &pods.Admission{Principal: podtest.Who("operator", tap.Operator)}, nil
}

// serve serves the site to the context file.
func (s *threeNodes) serve(t *testing.T, file string) {
	t.Helper()
	state, now := podtest.NewState(), func() time.Time { return podtest.Epoch }
	for _, id := range []string{"n1", "n2", "n3", "o1"} {
		m := cluster.Member{ID: id, Address: id + ".example:7443", Pin: cluster.Pin{id[1]}, Observer: id[0] == 'o', Release: "0.1.0", Version: 1}
		if _, err := state.Commit(t.Context(), cluster.SelfBatch(tap.DefaultTenant, m, uuid.New())); err != nil {
			t.Fatal(err)
		}
	}
	pod := cluster.New(cluster.Config{Tenant: tap.DefaultTenant, Replication: s, Trust: s, Refused: func(cluster.Refusal) {}})
	table, err := pods.NewTable(pod)
	if err != nil {
		t.Fatal(err)
	}
	server := pods.NewServer(pods.ServerConfig{
		Table: table, Gate: s, Writer: state, View: state, Now: now, Guards: map[string]*pods.Guard{"cluster": pods.NewGuard(pod.Manifest())},
	})
	web := httptest.NewUnstartedServer(httpapi.Handler(server, httpapi.Options{Limit: server.BodyLimit}))
	web.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	web.StartTLS()
	t.Cleanup(web.Close)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	if err := os.WriteFile(authority, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	own, err := client.Load(contextFile)
	if err != nil {
		t.Fatal(err)
	}
	c := *own
	c.Address, c.CA = web.URL, authority
	if err := c.Save(file); err != nil {
		t.Fatal(err)
	}
}

// TestClusterScripts runs the verbs about the cluster against threeNodes; the
// one appliance of the other scripts has nobody to remove.
func TestClusterScripts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "three.json")
	(&threeNodes{leader: "n1"}).serve(t, file)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "cluster"),
		Setup: func(e *testscript.Env) error {
			e.Setenv(client.ContextVariable, file)
			e.Setenv("LC_ALL", "C")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"tamvctl": must, "exits": exits,
			"take": take,
		},
	})
}
