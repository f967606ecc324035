package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/raft"
)

const (
	metaName     = "meta.json"
	manifestName = "manifest"
	metaFormat   = 1
	maxMeta      = 1 << 20
)

var errMeta = errors.New("snapshot: malformed " + metaName)

// name identifies a snapshot and is its folder's name.
type name struct {
	term, index, number uint64
}

func (n name) String() string {
	return fmt.Sprintf("%d-%d-%d", n.term, n.index, n.number)
}

// parseName accepts exactly what String writes.
func parseName(s string) (n name, ok bool) {
	parts := strings.Split(s, "-")
	if len(parts) != 3 {
		return n, false
	}
	for i, p := range []*uint64{&n.term, &n.index, &n.number} {
		v, err := strconv.ParseUint(parts[i], 10, 64)
		if err != nil {
			return n, false
		}
		*p = v
	}
	return n, n.String() == s
}

// newer orders snapshots: the later index first, of equal ones the one made last.
func (n name) newer(other name) bool {
	if n.index != other.index {
		return n.index > other.index
	}
	if n.term != other.term {
		return n.term > other.term
	}
	return n.number > other.number
}

// meta is the content of meta.json.
type meta struct {
	Format             int      `json:"format"`
	Index              uint64   `json:"index"`
	Term               uint64   `json:"term"`
	Servers            []server `json:"servers"`
	ConfigurationIndex uint64   `json:"configuration_index"`
	ManifestSize       int64    `json:"manifest_size"`
	ManifestSum        string   `json:"manifest_sha256"`
}

// server is a member of the configuration in force at the snapshot's index.
type server struct {
	ID      string `json:"id"`
	Address string `json:"address"`
	Voter   bool   `json:"voter"`
}

// sealed is a meta with the hash of its bytes.
type sealed struct {
	Meta json.RawMessage `json:"meta"`
	Sum  string          `json:"sha256"`
}

func newMeta(n name, configuration raft.Configuration, configurationIndex uint64, manifest []byte) meta {
	sum := sha256.Sum256(manifest)
	m := meta{
		Format: metaFormat, Index: n.index, Term: n.term, ConfigurationIndex: configurationIndex,
		ManifestSize: int64(len(manifest)), ManifestSum: hex.EncodeToString(sum[:]),
	}
	for _, s := range configuration.Servers {
		m.Servers = append(m.Servers, server{string(s.ID), string(s.Address), s.Suffrage == raft.Voter})
	}
	return m
}

func (m meta) encode() ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	return json.Marshal(sealed{body, hex.EncodeToString(sum[:])})
}

// parseMeta reads meta.json of the snapshot called n, strictly: it accepts exactly what encode writes. Errors wrap errMeta.
func parseMeta(n name, data []byte) (meta, error) {
	var s sealed
	var m meta
	err := json.Unmarshal(data, &s)
	if err == nil {
		err = json.Unmarshal(s.Meta, &m)
	}
	if err != nil {
		return m, fmt.Errorf("%w: %v", errMeta, err)
	}
	if again, err := m.encode(); err != nil || !bytes.Equal(again, data) {
		return m, fmt.Errorf("%w: wrong checksum or another form", errMeta)
	}
	if m.Format != metaFormat || m.Index != n.index || m.Term != n.term || m.ManifestSize < 0 || m.ManifestSize > MaxManifest {
		return m, fmt.Errorf("%w: format %d, index %d, term %d, manifest of %d bytes in %s", errMeta, m.Format, m.Index, m.Term, m.ManifestSize, n)
	}
	return m, nil
}

// raft returns the meta as Raft sees it; what Raft takes for the state is the manifest.
func (m meta) raft(n name) *raft.SnapshotMeta {
	r := &raft.SnapshotMeta{
		Version: raft.SnapshotVersionMax, ID: n.String(), Index: m.Index, Term: m.Term,
		ConfigurationIndex: m.ConfigurationIndex, Size: m.ManifestSize,
	}
	for _, s := range m.Servers {
		suffrage := raft.Nonvoter
		if s.Voter {
			suffrage = raft.Voter
		}
		r.Configuration.Servers = append(r.Configuration.Servers,
			raft.Server{Suffrage: suffrage, ID: raft.ServerID(s.ID), Address: raft.ServerAddress(s.Address)})
	}
	return r
}
