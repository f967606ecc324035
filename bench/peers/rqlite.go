package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"syscall"

	"tamv.internal/tamv/bench/server"
)

// rqlite runs with its defaults: a write is in the fsynced logs of a majority
// before its answer; followers pass it on to the leader.
var rqlite = peer{
	name:    "rqlite",
	setting: "INSERT of (unique hash, record) by /db/execute; defaults",
	sizes:   []int{1, 3},
	locate: func() (string, error) {
		program, err := exec.LookPath("rqlited")
		if err != nil {
			return "", server.NotInstalled("rqlited")
		}
		return server.Output(program, "-version")
	},
	start:   startRqlite,
	connect: connectRqlite,
}

func startRqlite(ctx context.Context, g *group, nodes int) error {
	addresses, err := server.FreeAddresses(2 * nodes)
	if err != nil {
		return err
	}
	clients, peers := addresses[:nodes], addresses[nodes:]
	for i := range nodes {
		args := []string{"-node-id", fmt.Sprintf("n%d", i), "-http-addr", clients[i], "-raft-addr", peers[i]}
		if i > 0 {
			args = append(args, "-join", peers[0])
		}
		p, err := g.Launch(clients[i], syscall.SIGTERM, exec.Command("rqlited", append(args, filepath.Join(g.Folder, fmt.Sprintf("n%d", i)))...))
		if err != nil {
			return err
		}
		if err := p.Await(ctx, func(ctx context.Context) error { return rqliteReady(ctx, p) }); err != nil {
			return err
		}
	}
	c := rqliteClient(g.Processes[0].Address, &http.Transport{})
	return c.execute(ctx, `CREATE TABLE evidence (hash TEXT PRIMARY KEY, record BLOB NOT NULL)`)
}

func rqliteReady(ctx context.Context, p *server.Process) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Address+"/readyz", nil)
	if err != nil {
		return err
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return errors.New(reply.Status)
	}
	return nil
}

func connectRqlite(_ context.Context, g *group, number int) (client, error) {
	transport := &http.Transport{MaxConnsPerHost: 1}
	c := rqliteClient(g.Node(number).Address, transport)
	return client{
		write: func(ctx context.Context, key string, record []byte) error {
			return c.execute(ctx, `INSERT INTO evidence (hash, record) VALUES (?, ?)`, key, string(record))
		},
		close: transport.CloseIdleConnections,
	}, nil
}

// rqliteConn speaks rqlite's HTTP API.
type rqliteConn struct {
	url  string
	http http.Client
}

func rqliteClient(address string, transport *http.Transport) *rqliteConn {
	return &rqliteConn{"http://" + address + "/db/execute", http.Client{Transport: transport}}
}

// execute runs one statement. A statement that failed is told in the body of an
// answer with status 200.
func (c *rqliteConn) execute(ctx context.Context, statement ...any) error {
	body, err := json.Marshal([][]any{statement})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	reply, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(reply.Body, 1<<20))
	if err != nil {
		return err
	}
	var answer struct {
		Results []struct {
			Error string `json:"error"`
		} `json:"results"`
	}
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", reply.Status, bytes.TrimSpace(raw))
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return err
	}
	if len(answer.Results) != 1 || answer.Results[0].Error != "" {
		return fmt.Errorf("rqlite answered %s", bytes.TrimSpace(raw))
	}
	return nil
}
