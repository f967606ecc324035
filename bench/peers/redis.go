package main

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"syscall"

	"github.com/redis/go-redis/v9"

	"tamv.internal/tamv/bench/server"
)

// redisServer is one server: with appendfsync always an answer waits for the
// disk, and the loop's turn shares one fsync between its clients.
var redisServer = peer{
	name:    "redis",
	setting: "SET hash record; appendonly yes, appendfsync always",
	sizes:   []int{1},
	locate: func() (string, error) {
		program, err := exec.LookPath("redis-server")
		if err != nil {
			return "", server.NotInstalled("redis-server")
		}
		return server.Output(program, "--version")
	},
	start:   startRedis,
	connect: connectRedis,
}

func startRedis(ctx context.Context, g *group, _ int) error {
	addresses, err := server.FreeAddresses(1)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(addresses[0])
	if err != nil {
		return err
	}
	p, err := g.Launch(addresses[0], syscall.SIGTERM, exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port,
		"--dir", g.Folder, "--appendonly", "yes", "--appendfsync", "always", "--save", ""))
	if err != nil {
		return err
	}
	return p.Await(ctx, func(ctx context.Context) error {
		c := redis.NewClient(&redis.Options{Addr: p.Address})
		return errors.Join(c.Ping(ctx).Err(), c.Close())
	})
}

func connectRedis(ctx context.Context, g *group, number int) (client, error) {
	c := redis.NewClient(&redis.Options{Addr: g.Node(number).Address, PoolSize: 1, MaxRetries: -1})
	if err := c.Ping(ctx).Err(); err != nil {
		return client{}, errors.Join(err, c.Close())
	}
	return client{
		write: func(ctx context.Context, key string, record []byte) error { return c.Set(ctx, key, record, 0).Err() },
		close: func() { _ = c.Close() }, // as with Postgres
	}, nil
}
