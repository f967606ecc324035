package judge

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	cosig "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"

	"tamv.internal/tamv/store/bookpi"
)

// leafHashes is what Tessera asks of an application: the hashes of a bundle's entries.
// It reads the bundle with Tessera's own parser, not with ours.
func leafHashes(data []byte) ([][]byte, error) {
	var bundle api.EntryBundle
	if err := bundle.UnmarshalText(data); err != nil {
		return nil, err
	}
	var hashes [][]byte
	for _, entry := range bundle.Entries {
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(entry))
	}
	return hashes, nil
}

// serve returns Tessera's HTTP client for the log's folder.
func serve(t *testing.T, l *siteLog) (*client.HTTPFetcher, note.Verifier) {
	t.Helper()
	server := httptest.NewServer(http.FileServer(http.Dir(l.folder)))
	t.Cleanup(server.Close)
	root, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	fetcher, err := client.NewHTTPFetcher(root, server.Client())
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(l.keys.Verifiers()[0])
	if err != nil {
		t.Fatal(err)
	}
	return fetcher, verifier
}

func TestTesseraChecksOurLog(t *testing.T) {
	for _, size := range []int{1, 255, 256, 257, 700, 65_536 + 300} {
		l := newSiteLog(t)
		l.grow(size)
		l.publish()
		fetcher, verifier := serve(t, l)
		if err := fsck.New(origin, verifier, fetcher, leafHashes, fsck.Opts{N: 2}).Check(t.Context()); err != nil {
			t.Fatalf("%d entries: %v", size, err)
		}
		report, err := bookpi.Audit(t.Context(), bookpi.DirSource(os.DirFS(l.folder)), bookpi.AuditOptions{VerifierKey: l.keys.Verifiers()[1]})
		if err != nil || report.Entries != uint64(size) {
			t.Fatalf("%d entries: %+v, %v", size, report, err)
		}
	}
}

// Both judges refuse the same damage, so neither accepts because it looks at nothing.
func TestBothJudgesRefuseDamage(t *testing.T) {
	l := newSiteLog(t)
	l.grow(600)
	l.publish()
	fetcher, verifier := serve(t, l)
	for _, path := range []string{
		bookpi.CheckpointPath,
		bookpi.EntriesPath(0, 256), bookpi.EntriesPath(2, 88),
		bookpi.Tile{Level: 0, Index: 1, Width: 256}.Path(), bookpi.Tile{Level: 1, Index: 0, Width: 2}.Path(),
	} {
		name := filepath.Join(l.folder, filepath.FromSlash(path))
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		damaged := bytes.Clone(whole)
		damaged[rand.IntN(min(len(damaged), 60))] ^= 1
		l.write(path, damaged)
		// With fewer workers than tiles, fsck waits forever for those that met an error.
		if err := fsck.New(origin, verifier, fetcher, leafHashes, fsck.Opts{N: 8}).Check(t.Context()); err == nil {
			t.Errorf("%s: Tessera accepts damage", path)
		}
		_, err = bookpi.Audit(t.Context(), bookpi.DirSource(os.DirFS(l.folder)), bookpi.AuditOptions{VerifierKey: l.keys.Verifiers()[0]})
		var b *bookpi.BrokenError
		if !errors.As(err, &b) {
			t.Errorf("%s: we accept damage: %v", path, err)
		}
		l.write(path, whole)
	}
}

func TestTesseraProvesFromOurTiles(t *testing.T) {
	l := newSiteLog(t)
	l.grow(300)
	l.publish()
	fetcher, verifier := serve(t, l)
	small := l.checkpoint()
	tracker, err := client.NewLogStateTracker(t.Context(), fetcher.ReadTile, nil, verifier, origin,
		client.UnilateralConsensus(fetcher.ReadCheckpoint))
	if err != nil {
		t.Fatal(err)
	}

	l.grow(1000)
	l.publish()
	large := l.checkpoint()
	if _, _, _, err := tracker.Update(t.Context()); err != nil {
		t.Fatal(err)
	}
	if latest := tracker.Latest(); latest.Size != large.Size || !bytes.Equal(latest.Hash, large.Root[:]) {
		t.Fatalf("the tracker is at %d", latest.Size)
	}

	builder, err := client.NewProofBuilder(t.Context(), large.Size, fetcher.ReadTile)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := builder.ConsistencyProof(t.Context(), small.Size, large.Size)
	if err != nil {
		t.Fatal(err)
	}
	if err := bookpi.VerifyConsistency(small.Size, large.Size, small.Root, large.Root, fromBytes(theirs)); err != nil {
		t.Error(err)
	}
	for _, index := range []uint64{0, 255, 256, 511, 700, 999} {
		theirs, err := builder.InclusionProof(t.Context(), index)
		if err != nil {
			t.Fatal(err)
		}
		leaf := bookpi.LeafHash(l.entries[index])
		if err := bookpi.VerifyInclusion(leaf, index, large.Size, fromBytes(theirs), large.Root); err != nil {
			t.Errorf("entry %d: %v", index, err)
		}
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, large.Size, leaf[:], theirs, large.Root[:]); err != nil {
			t.Errorf("entry %d: %v", index, err)
		}
		bundle, err := client.GetEntryBundle(t.Context(), fetcher.ReadEntryBundle, index/bookpi.TileWidth, large.Size)
		if err != nil || !bytes.Equal(bundle.Entries[index%bookpi.TileWidth], l.entries[index]) {
			t.Errorf("entry %d: %v", index, err)
		}
	}
}

func fromBytes(hashes [][]byte) (out []bookpi.Hash) {
	for _, h := range hashes {
		out = append(out, bookpi.Hash(h))
	}
	return out
}

// A cosignature of our witness is one for those who defined the format.
func TestOthersVerifyOurCosignatures(t *testing.T) {
	l := newSiteLog(t)
	l.grow(10)
	at := time.Unix(1_763_781_234, 0)
	witness, err := bookpi.GenerateSigningKey(rand.NewChaCha8([32]byte{8}), "auditor.test/laptop", bookpi.AlgorithmCosignatureEd25519)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := l.keys.Sign(l.checkpoint(), at)
	if err != nil {
		t.Fatal(err)
	}
	line, err := bookpi.Cosign(l.checkpoint(), witness, at)
	if err != nil {
		t.Fatal(err)
	}
	cosigned, err := bookpi.AddCosignatures(signed, line)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := cosig.NewVerifierForCosignatureV1(witness.Verifier().String())
	if err != nil {
		t.Fatal(err)
	}
	opened, err := note.Open(cosigned, note.VerifierList(verifier))
	if err != nil || len(opened.Sigs) != 1 {
		t.Fatal(err)
	}
	if stated, err := cosig.CoSigV1Timestamp(opened.Sigs[0]); err != nil || !stated.Equal(at) {
		t.Errorf("cosigned at %v, %v", stated, err)
	}
}

// Tessera writes a log of our entries; we audit what it wrote.
func TestWeAuditALogThatTesseraWrote(t *testing.T) {
	l := newSiteLog(t)
	l.grow(600)
	key, err := bookpi.GenerateSigningKey(rand.NewChaCha8([32]byte{9}), origin, bookpi.AlgorithmEd25519)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(key.Text())
	if err != nil {
		t.Fatal(err)
	}
	ctx, folder := t.Context(), t.TempDir()
	driver, err := posix.New(ctx, posix.Config{Path: folder})
	if err != nil {
		t.Fatal(err)
	}
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, tessera.NewAppendOptions().
		WithCheckpointSigner(signer).WithCheckpointInterval(100*time.Millisecond).WithBatching(256, 10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	awaiter := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 20*time.Millisecond)
	var last tessera.IndexFuture
	for _, raw := range l.entries {
		last = appender.Add(ctx, tessera.NewEntry(raw))
	}
	if _, _, err := awaiter.Await(ctx, last); err != nil {
		t.Fatal(err)
	}
	if err := shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	report, err := bookpi.Audit(ctx, bookpi.DirSource(os.DirFS(folder)), bookpi.AuditOptions{VerifierKey: key.Verifier().String()})
	if err != nil || report.Entries != 600 || report.Root != l.tree.Root() {
		t.Fatalf("%+v, %v", report, err)
	}
}
