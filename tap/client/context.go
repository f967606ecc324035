package client

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"tamv.internal/tamv/tap"
)

// ContextVariable names the environment variable with the context file's path.
const ContextVariable = "TAMV_CONTEXT"

// Context is a context file: the appliance to talk to, and as whom. Paths in
// the file are relative to its folder; a loaded Context holds them joined.
type Context struct {
	Address   string   `json:"address"`             // "https://HOST:PORT" of the node to ask first
	Addresses []string `json:"addresses,omitempty"` // of its nodes, that one may be among them
	CA        string   `json:"ca,omitempty"`        // PEM file with the CA's certificates; empty = the system's
	Identity  string   `json:"identity,omitempty"`  // key id, "TENANT/NAME"; empty = unsigned
	Key       string   `json:"key,omitempty"`       // PEM file with the Ed25519 key
}

const (
	maxFile  = 1 << 20       // bytes of any file read here
	pemBlock = "PRIVATE KEY" // PKCS#8, RFC 5958
)

// Load reads a context file; an empty path means the one that
// TAMV_CONTEXT names. Unknown fields are refused.
func Load(path string) (*Context, error) {
	if path == "" {
		path = os.Getenv(ContextVariable)
	}
	if path == "" {
		return nil, tap.E("client.context", tap.Invalid, "no context: name a context file or set %s", ContextVariable)
	}
	raw, err := readFile(path)
	if err != nil {
		return nil, err
	}
	c := &Context{}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return nil, tap.Wrap("client.context", tap.Invalid, err, "%s is no context file", path)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, tap.E("client.context", tap.Invalid, "%s holds more than one context", path)
	}
	folder := filepath.Dir(path)
	for _, file := range []*string{&c.CA, &c.Key} {
		if *file != "" && !filepath.IsAbs(*file) {
			*file = filepath.Join(folder, *file)
		}
	}
	return c, nil
}

// Save writes the context file, readable by its owner alone, in one step: a
// reader sees the old file or the new one. Paths are written as they are.
func (c *Context) Save(path string) error {
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return tap.Wrap("client.context", tap.Internal, err, "the context cannot be written")
	}
	// CreateTemp makes the file with mode 0600.
	f, err := os.CreateTemp(filepath.Dir(path), ".context-*")
	if err != nil {
		return fileError(path, err)
	}
	_, err = f.Write(append(raw, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fileError(path, err)
	}
	return nil
}

// Config reads the files that the context names. It refuses a key that others
// can read.
func (c *Context) Config() (Config, error) {
	config := Config{Address: c.Address, Addresses: c.Addresses, KeyID: c.Identity}
	if c.CA != "" {
		raw, err := readFile(c.CA)
		if err != nil {
			return Config{}, err
		}
		config.CA = x509.NewCertPool()
		if !config.CA.AppendCertsFromPEM(raw) {
			return Config{}, tap.E("client.context", tap.Invalid, "%s holds no PEM certificate", c.CA)
		}
	}
	if c.Identity != "" {
		key, err := ReadKeyFile(c.Key)
		if err != nil {
			return Config{}, err
		}
		config.Key = key
	}
	return config, nil
}

// KeyPermissionError says that a private key can be read by others than its
// owner.
type KeyPermissionError struct {
	Path string
	Mode fs.FileMode
}

func (e *KeyPermissionError) Error() string {
	return fmt.Sprintf("others can read the private key %s (mode %04o): chmod 600 it", e.Path, e.Mode)
}

// Unwrap makes it a tap error of kind Forbidden.
func (e *KeyPermissionError) Unwrap() error {
	return tap.E("client.key", tap.Forbidden, "%s", e.Error()).WithCode("key_permissions")
}

// GenerateKeyFile makes an Ed25519 key and writes it as PKCS#8 PEM, readable
// by its owner alone. It never overwrites a file: the error is then Conflict.
func GenerateKeyFile(path string) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, tap.Wrap("client.key", tap.Internal, err, "no randomness for a key")
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, tap.Wrap("client.key", tap.Internal, err, "the key cannot be encoded")
	}
	// Whole or not at all, also when the power fails: written beside its place
	// and linked into it, which fails when something is there.
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*")
	if err != nil {
		return nil, fileError(path, err)
	}
	defer os.Remove(f.Name())
	err = pem.Encode(f, &pem.Block{Type: pemBlock, Bytes: der})
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Link(f.Name(), path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		return nil, fileError(path, err)
	}
	return key, nil
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ReadKeyFile reads what GenerateKeyFile writes. When the file can be read by
// others, it returns the key together with a [*KeyPermissionError]; the caller
// decides whether that is a warning.
func ReadKeyFile(path string) (ed25519.PrivateKey, error) {
	raw, err := readFile(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(raw)
	if block == nil || block.Type != pemBlock || len(bytes.TrimSpace(rest)) > 0 {
		return nil, tap.E("client.key", tap.Invalid, "%s does not hold exactly one PEM block of type %s", path, pemBlock)
	}
	// The parser's error is left out: a message about a key names the file only.
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, isEd25519 := parsed.(ed25519.PrivateKey)
	if err != nil || !isEd25519 {
		return nil, tap.E("client.key", tap.Invalid, "%s holds no Ed25519 key in PKCS#8", path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	// Windows has no such mode bits; os reports 0666 for every file.
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return key, &KeyPermissionError{path, mode}
	}
	return key, nil
}

// readFile reads a small file.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fileError(path, err)
	}
	if len(raw) > maxFile {
		return nil, tap.E("client.file", tap.Invalid, "%s is longer than %d bytes", path, maxFile)
	}
	return raw, nil
}

func fileError(path string, err error) error {
	kind := tap.Invalid
	switch {
	case errors.Is(err, fs.ErrNotExist):
		kind = tap.NotFound
	case errors.Is(err, fs.ErrExist):
		kind = tap.Conflict
	case errors.Is(err, fs.ErrPermission):
		kind = tap.Forbidden
	}
	return tap.Wrap("client.file", kind, err, "%s cannot be used", path)
}
