package appliance_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/cluster"
	"tamv.internal/tamv/pods/anubis"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// anyone is the roster of a node that trusts whatever the authority signed.
type anyone struct{}

func (anyone) Pin(string) (pin [32]byte, ok bool) { return pin, false }
func (anyone) NodeAt(string) (string, bool)       { return "", false }
func (anyone) Removed(string) bool                { return false }
func (anyone) RevokedKey([32]byte) bool           { return false }
func (anyone) Expected(string) bool               { return true }

// impostor is a link under a fresh name and key, with a certificate signed by
// the authority whose key lies in a member's folder.
func impostor(t *testing.T, folder, name string) *cluster.Link {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "ca"), os.DirFS(filepath.Join(folder, "ca"))); err != nil {
		t.Fatal(err)
	}
	authority, err := cluster.OpenAuthority(filepath.Join(dir, "ca"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certificates, err := cluster.OpenCertificates(cluster.CertificateConfig{
		Authority: authority, Dir: filepath.Join(dir, "own"), Node: name, Names: cluster.ServerNames("127.0.0.1"),
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	link := cluster.NewLink(cluster.LinkConfig{
		Authority: authority, Certificates: certificates, Roster: anyone{}, Address: "127.0.0.1:1", Now: time.Now,
		Refused: func(cluster.Refusal) {},
	})
	t.Cleanup(func() { link.Close() })
	return link
}

// forwarded is a frame by which member from hands a command to the leader; see
// package consensus for its form.
func forwarded(from string, command []byte) []byte {
	body := append(binary.BigEndian.AppendUint16(nil, uint16(len(from))), from...)
	body = binary.BigEndian.AppendUint32(body, 1)
	body = append(binary.AppendUvarint(body, uint64(len(command))), command...)
	const forward = 2
	head := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32([]byte{'C'}, uint32(9+len(body))), 1)
	return append(append(head, forward), body...)
}

// A removed member keeps the authority's key. It is refused under a fresh name
// and under another member's, and does not become an operator.
func TestARemovedMemberSignsItselfANewName(t *testing.T) {
	machines, operator := site(t, "alfa", "beta", "gama")
	alfa, gama := machines[0], machines[2]
	if _, err := operator.Do(t.Context(), "DELETE", "/v1/cluster/members/gama", nil, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "gama is gone", func() bool { _, still := nodes(t, operator)["gama"]; return !still })
	gama.stop(t)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	enrolment, err := anubis.Enrolment{
		Tenant: tap.DefaultTenant, Name: "intruder", Key: public, Roles: tap.Roles(), By: "system", At: time.Now(), RequestID: uuid.Must(uuid.NewV7()),
	}.Batch()
	if err != nil {
		t.Fatal(err)
	}
	command, err := store.EncodeBatch(enrolment)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nobody-knows-me", "beta", "gama"} {
		conn, err := impostor(t, gama.cfg.Data, name).Dial(alfa.running.Address, 5*time.Second)
		if err == nil { // what it could do then
			_, err = conn.Write(forwarded("beta", command))
			t.Errorf("%s was let in; its command: %v", name, err)
			conn.Read(make([]byte, 64))
			conn.Close()
		}
	}
	c := config(t, alfa.running.Context)
	c.KeyID, c.Key = tap.DefaultTenant+"/intruder", private
	intruder, err := client.New(c)
	if err != nil {
		t.Fatal(err)
	}
	defer intruder.Close()
	if _, err := intruder.Do(t.Context(), "GET", "/v1/cluster", nil, nil); !tap.IsKind(err, tap.Unauthenticated) {
		t.Errorf("the intruder: %v", err)
	}
}
