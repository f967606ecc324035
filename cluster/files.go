package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"tamv.internal/tamv/tap"
)

// SettingsFile is the name of the file, in a data folder, that says which node
// of which site the folder belongs to.
const SettingsFile = "cluster.json"

// Settings is what a node knows about itself before it has any state.
type Settings struct {
	Site      string `json:"site"`      // names the site, for people; a [tap.ValidName]
	Node      string `json:"node"`      // this node's name in the site
	Advertise string `json:"advertise"` // HOST:PORT by which the other nodes reach it
	Listen    string `json:"listen"`    // where it listened last; an address as [net.Listen] takes it, "" for none yet
	Joined    bool   `json:"joined"`    // it was taken in by others, and is not the site's first node
}

func (s Settings) validate() error {
	if !tap.ValidName(s.Site) || !tap.ValidName(s.Node) {
		return tap.E("cluster.settings", tap.Invalid, "site and node names are 1 to 64 of a-z, 0-9, '-', '_' and '.'").WithCode("name")
	}
	return CheckAddress(s.Advertise)
}

// maxSettings bounds cluster.json, in bytes.
const maxSettings = 4096

// ReadSettings reads the settings in a data folder. The error is NotFound when
// there are none, and Unavailable when they cannot be used.
func ReadSettings(dir string) (Settings, error) {
	path := filepath.Join(dir, SettingsFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Settings{}, tap.Wrap("cluster.settings", tap.NotFound, err, "%s is not there; this folder belongs to no node yet", path)
	}
	if err != nil {
		return Settings{}, tap.Wrap("cluster.settings", tap.Unavailable, err, "%s cannot be read", path)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxSettings+1))
	var s Settings
	if err == nil {
		s, err = parseSettings(raw)
	}
	if err != nil {
		return Settings{}, tap.Wrap("cluster.settings", tap.Unavailable, err, "%s is damaged; put back the copy you kept", path)
	}
	return s, nil
}

func parseSettings(raw []byte) (Settings, error) {
	var s Settings
	if len(raw) > maxSettings {
		return s, tap.E("cluster.settings", tap.Invalid, "longer than %d bytes", maxSettings)
	}
	if err := decodeStrict(raw, &s); err != nil {
		return s, err
	}
	return s, s.validate()
}

// Write puts the settings into a data folder, durably.
func (s Settings) Write(dir string) error {
	if err := s.validate(); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return tap.Wrap("cluster.settings", tap.Internal, err, "the settings cannot be encoded")
	}
	return WritePrivate(filepath.Join(dir, SettingsFile), append(raw, '\n'))
}

// decodeStrict reads exactly one JSON value without unknown fields.
func decodeStrict(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("bytes after the value")
	}
	return nil
}

// WritePrivate writes a file that only its owner may read, whole or not at all,
// durably.
func WritePrivate(path string, data []byte) error {
	incoming := path + ".incoming"
	f, err := os.OpenFile(incoming, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err == nil {
		_, err = f.Write(data)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err == nil {
		err = os.Rename(incoming, path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		_ = os.Remove(incoming) // half a secret serves nobody
		return tap.Wrap("cluster.write", tap.Unavailable, err, "the file %s cannot be written", path)
	}
	return nil
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// absent says whether there is no file at path.
func absent(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}
