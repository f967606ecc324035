package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"tamv.internal/tamv/bench/server"
)

// etcd runs with its defaults: every put is fsynced by a majority before its
// answer.
var etcd = peer{
	name:    "etcd",
	setting: "put of (hash, record); defaults",
	sizes:   []int{1, 3},
	locate: func() (string, error) {
		program, err := exec.LookPath("etcd")
		if err != nil {
			return "", server.NotInstalled("etcd")
		}
		return server.Output(program, "--version")
	},
	start:   startEtcd,
	connect: connectEtcd,
	leader:  etcdLeader,
}

func startEtcd(ctx context.Context, g *group, nodes int) error {
	addresses, err := server.FreeAddresses(2 * nodes)
	if err != nil {
		return err
	}
	clients, peers := addresses[:nodes], addresses[nodes:]
	var members []string
	for i, address := range peers {
		members = append(members, fmt.Sprintf("n%d=http://%s", i, address))
	}
	for i := range nodes {
		_, err := g.Launch(clients[i], syscall.SIGTERM, exec.Command("etcd", "--name", fmt.Sprintf("n%d", i),
			"--data-dir", filepath.Join(g.Folder, fmt.Sprintf("n%d", i)),
			"--listen-client-urls", "http://"+clients[i], "--advertise-client-urls", "http://"+clients[i],
			"--listen-peer-urls", "http://"+peers[i], "--initial-advertise-peer-urls", "http://"+peers[i],
			"--initial-cluster", strings.Join(members, ","), "--initial-cluster-state", "new", "--logger", "zap", "--log-level", "error"))
		if err != nil {
			return err
		}
	}
	for _, p := range g.Processes {
		err := p.Await(ctx, func(ctx context.Context) error {
			c, err := dialEtcd(p.Address)
			if err != nil {
				return err
			}
			_, err = c.Put(ctx, "ready", p.Address)
			return errors.Join(err, c.Close())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dialEtcd makes a client of its own connection.
func dialEtcd(addresses ...string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: addresses, Logger: zap.NewNop()})
}

// connectEtcd gives every client all addresses: the library takes the requests
// round the nodes and leaves out those that do not answer.
func connectEtcd(ctx context.Context, g *group, number int) (client, error) {
	c, err := dialEtcd(g.Addresses()...)
	if err != nil {
		return client{}, err
	}
	if _, err := c.Put(ctx, fmt.Sprintf("client-%d", number), ""); err != nil {
		return client{}, errors.Join(err, c.Close())
	}
	return client{
		write: func(ctx context.Context, key string, record []byte) error {
			_, err := c.Put(ctx, key, string(record))
			return err
		},
		close: func() { _ = c.Close() }, // as with Postgres
	}, nil
}

func etcdLeader(ctx context.Context, g *group) (*server.Process, error) {
	for _, p := range g.Processes {
		c, err := dialEtcd(p.Address)
		if err != nil {
			return nil, err
		}
		status, err := c.Status(ctx, p.Address)
		if err = errors.Join(err, c.Close()); err != nil {
			return nil, err
		}
		if status.Leader == status.Header.MemberId {
			return p, nil
		}
	}
	return nil, errors.New("no node leads")
}
