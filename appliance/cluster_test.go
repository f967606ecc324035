package appliance_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tamv.internal/tamv/appliance"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// machine is one node of a site in this process, that can be stopped and
// started again.
type machine struct {
	cfg     appliance.Config
	running appliance.Running
	cancel  context.CancelFunc
	ended   chan error
}

func newMachine(t testing.TB, node string) *machine {
	return &machine{cfg: appliance.Config{
		Data: filepath.Join(t.TempDir(), node), Node: node, Listen: freeAddress(t), Logger: slog.New(slog.DiscardHandler),
		SnapshotBytes: 1 << 20,
	}}
}

// start runs the node until stop, or the test's end.
func (m *machine) start(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan appliance.Running, 1), make(chan error, 1)
	cfg := m.cfg
	cfg.Ready = func(r appliance.Running) { ready <- r }
	go func() { ended <- appliance.Run(ctx, cfg) }()
	m.cancel, m.ended = cancel, ended
	select {
	case m.running = <-ready:
	case err := <-ended:
		m.ended = nil
		t.Fatalf("%s did not start: %v", cfg.Node, err)
	}
	t.Cleanup(func() { m.stop(t) })
}

func (m *machine) stop(t testing.TB) {
	t.Helper()
	m.cancel()
	if m.ended == nil {
		return
	}
	if err := <-m.ended; err != nil {
		t.Errorf("%s stopped with %v", m.cfg.Node, err)
	}
	m.ended = nil
}

// invite returns a token for one node, or for any when it names none.
func invite(t testing.TB, operator *client.Client, node string) string {
	t.Helper()
	asked := map[string]any{"expiresSeconds": 60}
	if node != "" {
		asked["node"] = node
	}
	reply, err := operator.Do(t.Context(), "POST", "/v1/cluster/invitations", nil, asked)
	if err != nil {
		t.Fatal(err)
	}
	var body struct{ Token string }
	if err := reply.Decode(&body); err != nil {
		t.Fatal(err)
	}
	return body.Token
}

// freeAddress is one that nobody listens on, over TCP or UDP. Its port is below those
// that the kernel hands out, so that it is still free when a machine comes back to it.
func freeAddress(t testing.TB) string {
	t.Helper()
	var failed error
	for range 20 {
		address := fmt.Sprint("127.0.0.1:", 20_000+rand.IntN(10_000))
		stream, err := net.Listen("tcp", address)
		if failed = err; err != nil {
			continue
		}
		packets, err := net.ListenPacket("udp", address)
		_ = stream.Close()
		if failed = err; err == nil {
			_ = packets.Close()
			return address
		}
	}
	t.Fatal(failed)
	return ""
}

// join makes the machine a member.
func (m *machine) join(t testing.TB, token string) error {
	return appliance.Join(t.Context(), m.cfg, token)
}

// nodeRow is what GET /v1/cluster says of a node.
type nodeRow struct {
	ID, Address      string
	Role             string
	Voter, Reachable bool
	Lag              uint64
	Ledger           struct{ Size uint64 }
}

func nodes(t testing.TB, operator *client.Client) map[string]nodeRow {
	t.Helper()
	reply := get[struct{ Nodes []nodeRow }](t, operator, "/v1/cluster", nil)
	rows := map[string]nodeRow{}
	for _, n := range reply.Nodes {
		rows[n.ID] = n
	}
	return rows
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// site starts a site of several voters; the operator talks to any of them.
func site(t testing.TB, names ...string) (machines []*machine, operator *client.Client) {
	t.Helper()
	first := newMachine(t, names[0])
	first.start(t)
	operator = connect(t, first.running.Context)
	machines = append(machines, first)
	for _, name := range names[1:] {
		m := newMachine(t, name)
		if err := m.join(t, invite(t, operator, name)); err != nil {
			t.Fatal(err)
		}
		m.start(t)
		machines = append(machines, m)
	}
	eventually(t, "everybody votes", func() bool {
		voters := 0
		for _, n := range nodes(t, operator) {
			if n.Voter && n.Reachable {
				voters++
			}
		}
		return voters == len(names)
	})
	return machines, operator
}

// at is the operator's connection to one node alone.
func (m *machine) at(t testing.TB, operatorContext string) *client.Client {
	t.Helper()
	c := config(t, operatorContext)
	c.Address, c.Addresses = "https://"+m.running.Address, nil
	cl, err := client.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// One node becomes three; any of them takes any request, and what one
// acknowledged the others show.
func TestAnyNodeAnswersAnyRequest(t *testing.T) {
	machines, _ := site(t, "alfa", "beta", "gama")
	first := machines[0].running.Context
	for _, writer := range machines {
		reply, err := writer.at(t, first).Do(t.Context(), "POST", "/v1/economy/tcep", nil,
			map[string]any{"amount": "1.00", "currency": "USD", "source": "shop", "purpose": "test"})
		if err != nil {
			t.Fatalf("%s: %v", writer.cfg.Node, err)
		}
		var booked struct{ ID string }
		if err := reply.Decode(&booked); err != nil {
			t.Fatal(err)
		}
		for _, reader := range machines {
			for _, consistency := range []string{"", "leader", "linearizable"} {
				query := url.Values{}
				if consistency != "" {
					query.Set("consistency", consistency)
				}
				if _, err := reader.at(t, first).Do(t.Context(), "GET", "/v1/economy/tcep/"+booked.ID, query, nil); err != nil {
					t.Errorf("written at %s, read at %s (%s): %v", writer.cfg.Node, reader.cfg.Node, consistency, err)
				}
			}
		}
		if _, err := writer.at(t, first).Do(t.Context(), "GET", "/v1/economy/tcep/"+booked.ID, url.Values{"consistency": {"local"}}, nil); err != nil {
			t.Errorf("%s does not show what it acknowledged: %v", writer.cfg.Node, err)
		}
	}
}

// The leader's node stops in good order, comes back, and has what happened in
// between; then another is removed for good.
func TestMembersComeAndGo(t *testing.T) {
	machines, operator := site(t, "alfa", "beta", "gama")
	alfa, beta, gama := machines[0], machines[1], machines[2]
	first := alfa.running.Context
	key := config(t, first)

	alfa.stop(t)
	key.Address, key.Retries = "https://"+beta.running.Address, 5
	others, err := client.New(key)
	if err != nil {
		t.Fatal(err)
	}
	defer others.Close()
	if _, err := others.Do(t.Context(), "POST", "/v1/economy/tcep", nil,
		map[string]any{"amount": "2.00", "currency": "USD", "source": "shop", "purpose": "test"}); err != nil {
		t.Fatalf("without its first node the site does not write: %v", err)
	}
	alfa.start(t)
	eventually(t, "alfa has what the others have", func() bool {
		rows := nodes(t, operator)
		return rows["alfa"].Ledger.Size > 0 && rows["alfa"].Ledger.Size == rows["beta"].Ledger.Size && rows["beta"].Ledger.Size == rows["gama"].Ledger.Size
	})

	if _, err := operator.Do(t.Context(), "POST", "/v1/cluster/transfer", nil, map[string]any{"to": "gama"}); err != nil {
		t.Fatal(err)
	}
	if rows := nodes(t, operator); rows["gama"].Role != "leader" {
		t.Errorf("after the hand-over gama is %s", rows["gama"].Role)
	}
	if _, err := operator.Do(t.Context(), "DELETE", "/v1/cluster/members/gama", nil, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "gama is gone", func() bool {
		reply, err := operator.Do(t.Context(), "GET", "/v1/cluster", nil, nil)
		return err == nil && !strings.Contains(string(reply.Body), `"gama"`)
	})
	// A name that was removed is never used again.
	if err := newMachine(t, "gama").join(t, invite(t, operator, "")); !tap.IsKind(err, tap.Conflict) {
		t.Errorf("a machine joins under a removed name: %v", err)
	}
	gama.stop(t)
}

// A node that is started at another address is found there.
func TestAMemberMoves(t *testing.T) {
	machines, operator := site(t, "alfa", "beta", "gama")
	gama := machines[2]
	gama.stop(t)
	was := gama.cfg.Listen
	gama.cfg.Listen = freeAddress(t)
	gama.start(t)
	eventually(t, "gama votes at its new address", func() bool {
		n := nodes(t, operator)["gama"]
		return n.Voter && n.Reachable && n.Address == gama.cfg.Listen && n.Address != was
	})
}

// A token is good for one machine; who has none, or a used one, stays outside,
// and the ledger knows of it.
func TestTokensAreForOneMachine(t *testing.T) {
	alfa := newMachine(t, "alfa")
	alfa.start(t)
	operator := connect(t, alfa.running.Context)
	token := invite(t, operator, "beta")
	if err := newMachine(t, "beta").join(t, token); err != nil {
		t.Fatal(err)
	}
	if err := newMachine(t, "beta").join(t, token); !tap.IsKind(err, tap.Forbidden) && !tap.IsKind(err, tap.Conflict) {
		t.Errorf("a used token joins again: %v", err)
	}
	if err := newMachine(t, "gama").join(t, token); !tap.IsKind(err, tap.Forbidden) {
		t.Errorf("another machine joins with it: %v", err)
	}
	stranger := newMachine(t, "zeta")
	stranger.start(t) // a site of its own
	foreign := invite(t, connect(t, stranger.running.Context), "beta")
	foreign = strings.Replace(foreign, foreign[len(foreign)-6:], "AAAAAA", 1)
	if err := newMachine(t, "beta").join(t, foreign); !tap.IsKind(err, tap.Invalid) {
		t.Errorf("a damaged token joins: %v", err)
	}
	reply, err := operator.Do(t.Context(), "GET", "/v1/evidence", url.Values{"action": {"cluster.join"}}, nil)
	if err != nil || strings.Count(string(reply.Body), `"refused"`) < 2 {
		t.Errorf("the refused joins are not evidence: %v %s", err, reply.Body)
	}
}

// Two of three are lost for good: the third becomes the site, keeps what was
// acknowledged, and the lost ones stay outside.
func TestOneSurvivorIsEnough(t *testing.T) {
	machines, operator := site(t, "alfa", "beta", "gama")
	alfa, beta, gama := machines[0], machines[1], machines[2]
	before := nodes(t, operator)["alfa"].Ledger.Size
	beta.stop(t)
	gama.stop(t)
	alfa.stop(t)
	if err := appliance.Recover(alfa.cfg); err != nil {
		t.Fatal(err)
	}
	alfa.start(t)
	operator = connect(t, alfa.running.Context)
	rows := nodes(t, operator)
	if len(rows) != 1 || rows["alfa"].Role != "leader" || rows["alfa"].Ledger.Size < before {
		t.Errorf("after the recovery: %+v, the ledger had %d entries", rows, before)
	}
	delta := newMachine(t, "delta")
	if err := delta.join(t, invite(t, operator, "delta")); err != nil {
		t.Fatal(err)
	}
	delta.start(t)
	eventually(t, "delta votes", func() bool { return nodes(t, operator)["delta"].Voter })
}

// A damaged state file is put aside, and the state comes back.
func TestADamagedStateComesBack(t *testing.T) {
	machines, operator := site(t, "alfa", "beta", "gama")
	beta := machines[1]
	size := nodes(t, operator)["alfa"].Ledger.Size
	beta.stop(t)
	file := filepath.Join(beta.cfg.Data, "state.db")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096; i < len(raw) && i < 1<<20; i += 64 {
		raw[i] ^= 0x55
	}
	if err := errors.Join(os.WriteFile(file, raw, 0o600)); err != nil {
		t.Fatal(err)
	}
	beta.start(t)
	if _, err := os.Stat(file + ".damaged"); err != nil {
		t.Errorf("the damaged file is not put aside: %v", err)
	}
	eventually(t, "beta has the ledger", func() bool { return nodes(t, operator)["beta"].Ledger.Size >= size })
}
