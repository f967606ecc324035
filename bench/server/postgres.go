package server

import (
	"context"
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

// PostgresVersion is that of the Postgres on this machine, or an error that says
// that there is none.
func PostgresVersion() (string, error) {
	program, err := postgresProgram("postgres")
	if err != nil {
		return "", err
	}
	return Output(program, "--version")
}

// postgresProgram finds a server program: Debian keeps them out of the path.
func postgresProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	found, err := filepath.Glob(filepath.Join("/usr/lib/postgresql/*/bin", name))
	if err != nil || len(found) == 0 {
		return "", NotInstalled(name)
	}
	return found[len(found)-1], nil
}

// StartPostgres starts an empty server with fsync and synchronous_commit on and
// returns once it answers.
func StartPostgres(ctx context.Context, g *Group) error {
	initdb, err := postgresProgram("initdb")
	if err != nil {
		return err
	}
	program, err := postgresProgram("postgres")
	if err != nil {
		return err
	}
	as, err := unprivileged(g.Folder)
	if err != nil {
		return err
	}
	data := filepath.Join(g.Folder, "data")
	// What initdb leaves unsynced, the server's start does not need again: no
	// power fails between the two.
	c := exec.CommandContext(ctx, initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	c.SysProcAttr, c.Dir = as, g.Folder
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	addresses, err := FreeAddresses(1)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(addresses[0])
	if err != nil {
		return err
	}
	c = exec.Command(program, "-D", data, "-p", port,
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=300",
		"-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on")
	c.SysProcAttr, c.Dir = as, g.Folder
	p, err := g.Launch(addresses[0], syscall.SIGINT, c) // SIGINT is its "fast shutdown"
	if err != nil {
		return err
	}
	return p.Await(ctx, func(ctx context.Context) error {
		conn, err := ConnectPostgres(ctx, p)
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	})
}

// ConnectPostgres opens a connection to a server that StartPostgres started.
func ConnectPostgres(ctx context.Context, p *Process) (*pgx.Conn, error) {
	return pgx.Connect(ctx, "postgres://postgres@"+p.Address+"/postgres?sslmode=disable")
}

// unprivileged gives the folder to the user postgres when we are root, as whom
// the server refuses to run. Ctrl-C is for us, who then stop it.
func unprivileged(folder string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return &syscall.SysProcAttr{Setpgid: true}, nil
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
	return &syscall.SysProcAttr{Setpgid: true, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}
