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
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// postgresWriter is the hash chain that a site would build in its database.
var postgresWriter = writer{
	system: system{
		name: "postgres-chain", version: postgresVersion,
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

// postgresProgram finds a server program: Debian keeps them out of the path.
func postgresProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	found, err := filepath.Glob(filepath.Join("/usr/lib/postgresql/*/bin", name))
	if err != nil || len(found) == 0 {
		return "", errors.New("not installed: apt-get install postgresql")
	}
	return found[len(found)-1], nil
}

func postgresVersion() (string, error) {
	program, err := postgresProgram("postgres")
	if err != nil {
		return "", err
	}
	out, err := exec.Command(program, "--version").Output()
	return strings.TrimSpace(string(out)), err
}

const (
	postgresStart = time.Minute
	postgresStop  = 10 * time.Second
)

// server is a Postgres of ours.
type server struct {
	command *exec.Cmd
	url     string
	ended   chan struct{} // closed when it has ended
}

// openPostgres starts a server with one connection per writer.
func openPostgres(ctx context.Context, folder string, writers int) (_ *openLedger, err error) {
	ctx, cancel := context.WithTimeout(ctx, postgresStart)
	defer cancel()
	s, err := startServer(ctx, folder)
	if err != nil {
		return nil, err
	}
	connections := make([]*pgx.Conn, 0, writers)
	end := func() error {
		for _, c := range connections {
			_ = c.Close(context.Background()) // the server is about to stop
		}
		s.stop()
		return nil
	}
	for range writers {
		c, err := pgx.Connect(ctx, s.url)
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
		pids:  []int{s.command.Process.Pid},
		close: end,
	}, nil
}

func startServer(ctx context.Context, folder string) (*server, error) {
	as, err := unprivileged(folder)
	if err != nil {
		return nil, err
	}
	initdb, err := postgresProgram("initdb")
	if err != nil {
		return nil, err
	}
	program, err := postgresProgram("postgres")
	if err != nil {
		return nil, err
	}
	data := filepath.Join(folder, "data")
	// What initdb leaves unsynced, the server's start does not need again: no
	// power fails between the two.
	c := exec.CommandContext(ctx, initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	c.SysProcAttr, c.Dir = as, folder
	if out, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &server{url: "postgres://postgres@127.0.0.1:" + port + "/postgres?sslmode=disable", ended: make(chan struct{})}
	s.command = exec.Command(program, "-D", data, "-p", port,
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=300",
		"-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on")
	s.command.SysProcAttr, s.command.Dir = as, folder
	if err := s.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = s.command.Wait() // how it ended does not matter once its answers are here
		close(s.ended)
	}()
	if err := s.await(ctx); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// await connects until the server answers.
func (s *server) await(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := pgx.Connect(ctx, s.url)
		if err == nil {
			return c.Close(ctx)
		}
		select {
		case <-s.ended:
			return fmt.Errorf("the server ended: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", err)
		case <-tick.C:
		}
	}
}

// stop ends the server and its children.
func (s *server) stop() {
	if s.command.Process.Signal(syscall.SIGINT) == nil { // its "fast shutdown"
		t := time.NewTimer(postgresStop)
		defer t.Stop()
		select {
		case <-s.ended:
			return
		case <-t.C:
		}
	}
	_ = syscall.Kill(-s.command.Process.Pid, syscall.SIGKILL) // its group may be gone already
	<-s.ended
}

// unprivileged gives the folder to the user postgres when we are root, as whom
// the server refuses to run. Ctrl-C is for us, who then stop it.
func unprivileged(folder string) (*syscall.SysProcAttr, error) {
	as := &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() != 0 {
		return as, nil
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
	as.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return as, os.Chown(folder, int(uid), int(gid))
}

// freePort finds a loopback port. Another process could take it before the
// server does; the server then says so and ends.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}
