package appliance_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"tamv.internal/tamv/appliance"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// childVariable makes the test binary an appliance on the folder it names, so
// that tests can kill a real process.
const childVariable = "TAMV_TEST_APPLIANCE"

func TestMain(m *testing.M) {
	if data := os.Getenv(childVariable); data != "" {
		err := appliance.Run(context.Background(), appliance.Config{
			Data: data, Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler),
			Ready: func(r appliance.Running) { fmt.Println(r.Context) },
		})
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// start runs an appliance in this process until the test ends.
func start(t testing.TB, data string) appliance.Running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan appliance.Running, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- appliance.Run(ctx, appliance.Config{
			Data: data, Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler),
			Ready: func(r appliance.Running) { ready <- r },
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the appliance stopped with %v", err)
		}
	})
	select {
	case r := <-ready:
		return r
	case err := <-ended:
		ended <- nil
		t.Fatalf("the appliance did not start: %v", err)
	}
	return appliance.Running{}
}

// connect is a client with the identity of a context file.
func connect(t testing.TB, file string) *client.Client {
	t.Helper()
	cl, err := client.New(config(t, file))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// enrol makes an identity and returns its key id and key.
func enrol(t testing.TB, operator *client.Client, name string, roles ...tap.Role) (string, ed25519.PrivateKey) {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	body := map[string]any{"name": name, "publicKey": base64.StdEncoding.EncodeToString(public), "roles": roles}
	if _, err := operator.Do(t.Context(), "POST", "/v1/identities", nil, body); err != nil {
		t.Fatal(err)
	}
	return tap.JoinKeyID(tap.DefaultTenant, name), key
}

// config is the connection of a context file, for clients with other keys.
func config(t testing.TB, file string) client.Config {
	t.Helper()
	c, err := client.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	config, err := c.Config()
	if err != nil {
		t.Fatal(err)
	}
	config.Retries = -1
	return config
}

// child is an appliance in a process of its own.
type child struct {
	cmd     *exec.Cmd
	context string
}

func spawn(t testing.TB, data string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+data)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = cmd.Wait()
		t.Fatalf("the process did not start: %v %s", err, complaint.String())
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return &child{cmd, strings.TrimSpace(line)}
}

// kill is kill -9.
func (c *child) kill(t testing.TB) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait()
}

func get[T any](t testing.TB, c *client.Client, path string, query url.Values) T {
	t.Helper()
	reply, err := c.Do(t.Context(), "GET", path, query, nil)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	var v T
	if err := reply.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}
