package client

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tamv.internal/tamv/tap"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A context saved by an appliance leads a client to it, wherever the client
// runs.
func TestContextLeadsToTheAppliance(t *testing.T) {
	a := newAppliance(t, func(_ int, w http.ResponseWriter) { ok(w) })
	folder := t.TempDir()
	key, err := GenerateKeyFile(filepath.Join(folder, "operator.key"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})))
	saved := &Context{Address: a.URL, CA: "ca.pem", Identity: "main/operator", Key: "operator.key"}
	path := filepath.Join(folder, "context.json")
	for range 2 { // the second replaces the first
		if err := saved.Save(path); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	t.Setenv(ContextVariable, path)
	for _, named := range []string{path, ""} {
		loaded, err := Load(named)
		if err != nil {
			t.Fatal(err)
		}
		config, err := loaded.Config()
		if err != nil {
			t.Fatal(err)
		}
		if !config.Key.Equal(key) || config.KeyID != "main/operator" {
			t.Errorf("config for %s", config.KeyID)
		}
		c, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Do(t.Context(), "GET", "/v1/status", nil, nil); err != nil {
			t.Error(err)
		}
	}
	if s, err := tap.ParseSignature(a.seen[0]); err != nil || s.Verify(key.Public().(ed25519.PublicKey)) != nil {
		t.Errorf("signed with another key: %v", err)
	}
}

func TestPathsInAContext(t *testing.T) {
	folder := t.TempDir()
	path := write(t, filepath.Join(folder, "c.json"), `{"address":"https://h","ca":"/etc/ca.pem","identity":"main/ana","key":"keys/ana"}`)
	c, err := Load(path)
	if err != nil || c.CA != "/etc/ca.pem" || c.Key != filepath.Join(folder, "keys", "ana") {
		t.Errorf("%+v, %v", c, err)
	}
	unsigned, err := Load(write(t, path, `{"address":"https://h"}`))
	if err != nil || unsigned.CA != "" || unsigned.Key != "" {
		t.Errorf("%+v, %v", unsigned, err)
	}
	if config, err := unsigned.Config(); err != nil || config.Key != nil || config.CA != nil {
		t.Errorf("%+v, %v", config, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Setenv(ContextVariable, "")
	if _, err := Load(""); !tap.IsKind(err, tap.Invalid) {
		t.Errorf("no path: %v", err)
	}
	path := filepath.Join(t.TempDir(), "c.json")
	if _, err := Load(path); !tap.IsKind(err, tap.NotFound) {
		t.Errorf("no file: %v", err)
	}
	for name, text := range map[string]string{
		"empty": "", "array": "[]", "unknown field": `{"adress":"https://h"}`, "wrong type": `{"address":1}`,
		"two": `{"address":"https://h"} {}`, "oversize": `{"address":"` + strings.Repeat("a", maxFile) + `"}`,
	} {
		if _, err := Load(write(t, path, text)); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	folder := t.TempDir()
	noCertificate := write(t, filepath.Join(folder, "ca.pem"), "no certificate")
	for name, c := range map[string]struct {
		context Context
		kind    tap.Kind
	}{
		"no CA file":     {Context{CA: filepath.Join(folder, "absent")}, tap.NotFound},
		"no certificate": {Context{CA: noCertificate}, tap.Invalid},
		"no key file":    {Context{Identity: "main/ana", Key: filepath.Join(folder, "absent")}, tap.NotFound},
		"no key":         {Context{Identity: "main/ana", Key: noCertificate}, tap.Invalid},
		"a folder":       {Context{CA: folder}, tap.Invalid},
	} {
		if _, err := c.context.Config(); !tap.IsKind(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSaveIntoNoFolder(t *testing.T) {
	if err := (&Context{}).Save(filepath.Join(t.TempDir(), "absent", "c.json")); !tap.IsKind(err, tap.NotFound) {
		t.Errorf("got %v", err)
	}
	occupied := t.TempDir()
	target := filepath.Join(occupied, "c.json")
	if err := os.Mkdir(target, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := (&Context{}).Save(target); err == nil {
		t.Error("a folder was replaced")
	}
	if left, _ := os.ReadDir(occupied); len(left) != 1 {
		t.Errorf("the failed attempt left %v", left)
	}
}

func TestKeyFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	key, err := GenerateKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if read, err := ReadKeyFile(path); err != nil || !read.Equal(key) {
		t.Errorf("read another key: %v", err)
	}
	if _, err := GenerateKeyFile(path); !tap.IsKind(err, tap.Conflict) {
		t.Errorf("overwriting: %v", err)
	}
	if read, err := ReadKeyFile(path); err != nil || !read.Equal(key) {
		t.Errorf("the key changed: %v", err)
	}
}

func TestKeysThatOthersCanRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	key, err := GenerateKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		read, err := ReadKeyFile(path)
		var loose *KeyPermissionError
		if !errors.As(err, &loose) || loose.Mode != mode || loose.Path != path || !tap.IsKind(err, tap.Forbidden) {
			t.Errorf("mode %o: %v", mode, err)
		}
		if !read.Equal(key) {
			t.Error("the caller cannot go on with a warning")
		}
		if _, err := (&Context{Identity: "main/ana", Key: path}).Config(); !errors.As(err, &loose) {
			t.Errorf("a context with such a key: %v", err)
		}
	}
}

func TestReadKeyFileRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if _, err := GenerateKeyFile(path); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(testKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"empty":       nil,
		"truncated":   good[:len(good)/2],
		"two keys":    append(bytes.Clone(good), good...),
		"public key":  pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}),
		"no PKCS#8":   pem.EncodeToMemory(&pem.Block{Type: pemBlock, Bytes: public}),
		"no DER":      pem.EncodeToMemory(&pem.Block{Type: pemBlock, Bytes: []byte("secret")}),
		"another PEM": bytes.ReplaceAll(good, []byte("PRIVATE"), []byte("EC PRIVATE")),
	} {
		key, err := ReadKeyFile(write(t, path, string(text)))
		if !tap.IsKind(err, tap.Invalid) || key != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
