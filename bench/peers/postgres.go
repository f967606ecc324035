package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// postgres is one server: its replication has no failover of its own.
var postgres = peer{
	name:    "postgres",
	setting: "INSERT of (unique hash, record), one row a transaction, prepared; fsync and synchronous_commit on",
	sizes:   []int{1},
	locate: func() (string, error) {
		program, err := postgresProgram("postgres")
		if err != nil {
			return "", err
		}
		return programOutput(program, "--version")
	},
	start:   startPostgres,
	connect: connectPostgres,
}

// postgresProgram finds a server program: Debian keeps them out of the path.
func postgresProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	found, err := filepath.Glob(filepath.Join("/usr/lib/postgresql/*/bin", name))
	if err != nil || len(found) == 0 {
		return "", installed(name)
	}
	return found[len(found)-1], nil
}

func startPostgres(ctx context.Context, g *group, _ int) error {
	as, err := postgresUser(g.folder)
	if err != nil {
		return err
	}
	data := filepath.Join(g.folder, "data")
	initdb, err := postgresProgram("initdb")
	if err != nil {
		return err
	}
	// What initdb leaves unsynced, the server's start does not need again: no
	// power fails between the two.
	c := exec.CommandContext(ctx, initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	c.SysProcAttr, c.Dir = as, g.folder
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	addresses, err := freeAddresses(1)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(addresses[0])
	if err != nil {
		return err
	}
	program, err := postgresProgram("postgres")
	if err != nil {
		return err
	}
	c = exec.Command(program, "-D", data, "-p", port,
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=300",
		"-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on")
	c.SysProcAttr, c.Dir = as, g.folder
	p, err := g.launch(addresses[0], syscall.SIGINT, c) // SIGINT is its "fast shutdown"
	if err != nil {
		return err
	}
	return p.await(ctx, func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, postgresURL(p))
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, `CREATE TABLE evidence (hash text PRIMARY KEY, record bytea NOT NULL)`)
		return errors.Join(err, conn.Close(ctx))
	})
}

// postgresUser gives the folder to the user postgres when we are root, as whom
// the server refuses to run.
func postgresUser(folder string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return &syscall.SysProcAttr{}, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	if err := os.Chown(folder, int(uid), int(gid)); err != nil {
		return nil, err
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}

func postgresURL(p *process) string {
	return "postgres://postgres@" + p.address + "/postgres?sslmode=disable"
}

func connectPostgres(ctx context.Context, g *group, number int) (client, error) {
	conn, err := pgx.Connect(ctx, postgresURL(g.node(number)))
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
