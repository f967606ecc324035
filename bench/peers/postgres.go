package main

import (
	"context"
	"errors"

	"tamv.internal/tamv/bench/server"
)

// postgres is one server: its replication has no failover of its own.
var postgres = peer{
	name:    "postgres",
	setting: "INSERT of (unique hash, record), one row a transaction, prepared; fsync and synchronous_commit on",
	sizes:   []int{1},
	locate:  server.PostgresVersion,
	start:   startPostgres,
	connect: connectPostgres,
}

func startPostgres(ctx context.Context, g *group, _ int) error {
	if err := server.StartPostgres(ctx, g.Group); err != nil {
		return err
	}
	conn, err := server.ConnectPostgres(ctx, g.Node(0))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `CREATE TABLE evidence (hash text PRIMARY KEY, record bytea NOT NULL)`)
	return errors.Join(err, conn.Close(ctx))
}

func connectPostgres(ctx context.Context, g *group, number int) (client, error) {
	conn, err := server.ConnectPostgres(ctx, g.Node(number))
	if err != nil {
		return client{}, err
	}
	return client{
		write: func(ctx context.Context, key string, record []byte) error {
			_, err := conn.Exec(ctx, `INSERT INTO evidence (hash, record) VALUES ($1, $2)`, key, record)
			return err
		},
		// The server is about to stop; a failed goodbye changes nothing.
		close: func() { _ = conn.Close(context.Background()) },
	}, nil
}
