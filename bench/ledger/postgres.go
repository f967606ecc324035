package main

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"tamv.internal/tamv/bench/server"
)

// postgresWriter is the hash chain that a site would build in its database.
var postgresWriter = writer{
	system: system{
		name: "postgres-chain", version: server.PostgresVersion,
		setting: "INSERT over loopback; a trigger locks the head row, links and hashes with sha256(); fsync and synchronous_commit on",
	},
	server: true,
	open:   openPostgres,
}

// chainSchema takes the sequence number under the lock: a serial's would be
// taken before it, and the order of numbers would not be that of the chain.
const chainSchema = `
CREATE TABLE head (one boolean PRIMARY KEY DEFAULT true CHECK (one), seq bigint NOT NULL, hash bytea NOT NULL) WITH (fillfactor = 10);
INSERT INTO head (seq, hash) VALUES (0, sha256(''));
CREATE TABLE evidence (seq bigint PRIMARY KEY, hash bytea NOT NULL UNIQUE, previous bytea NOT NULL, record bytea NOT NULL);
CREATE FUNCTION link() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  SELECT seq + 1, hash INTO NEW.seq, NEW.previous FROM head FOR UPDATE;
  NEW.hash := sha256(NEW.previous || NEW.record);
  UPDATE head SET seq = NEW.seq, hash = NEW.hash;
  RETURN NEW;
END $$;
CREATE TRIGGER link BEFORE INSERT ON evidence FOR EACH ROW EXECUTE FUNCTION link();`

// postgresStart is how long the server may take to answer, and its clients to
// connect.
const postgresStart = time.Minute

// openPostgres starts a server with one connection per writer.
func openPostgres(ctx context.Context, folder string, writers int) (_ *openLedger, err error) {
	ctx, cancel := context.WithTimeout(ctx, postgresStart)
	defer cancel()
	g, err := server.NewGroup(folder)
	if err != nil {
		return nil, err
	}
	if err := server.StartPostgres(ctx, g); err != nil {
		g.Stop()
		return nil, err
	}
	connections := make([]*pgx.Conn, 0, writers)
	end := func() error {
		for _, c := range connections {
			_ = c.Close(context.Background()) // the server is about to stop
		}
		g.Stop()
		return nil
	}
	for range writers {
		c, err := server.ConnectPostgres(ctx, g.Node(0))
		if err != nil {
			return nil, errors.Join(err, end())
		}
		connections = append(connections, c)
	}
	if _, err := connections[0].Exec(ctx, chainSchema); err != nil {
		return nil, errors.Join(err, end())
	}
	return &openLedger{
		write: func(ctx context.Context, writer int, record []byte) error {
			var seq int64
			var hash []byte
			return connections[writer].QueryRow(ctx, `INSERT INTO evidence (record) VALUES ($1) RETURNING seq, hash`, record).Scan(&seq, &hash)
		},
		pids:  g.PIDs(),
		close: end,
	}, nil
}
