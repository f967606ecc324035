package bookpi

import (
	"cmp"
	"context"
	"io"
	"math"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

const (
	textType  = "text/plain; charset=utf-8"
	bytesType = "application/octet-stream"
	// Tiles of a recorded checkpoint never change; who needs no signature to see
	// them may keep them for everybody.
	foreverForAll = "public, max-age=31536000, immutable"
	foreverForOne = "private, max-age=31536000, immutable"
)

// logRoutes are the routes below /log/: the site's evidence ledger as a C2SP
// tlog-tiles log, and what this appliance adds to it.
func (p *Pod) logRoutes() []pods.Route {
	anyone, auditors := []tap.Role{tap.Anyone}, []tap.Role{tap.Auditor}
	if p.config.OpenLog {
		auditors = anyone
	}
	get := func(path, summary string, roles []tap.Role, run pods.Func) pods.Route {
		return pods.Route{Method: "GET", Pattern: "/log/" + path, Summary: summary, Roles: roles, Run: run}
	}
	return []pods.Route{
		get("checkpoint", "The newest recorded checkpoint (C2SP tlog-checkpoint)", anyone, p.logCheckpoint),
		get("tile/{path...}", "A tile of hashes (C2SP tlog-tiles)", anyone, p.logTile),
		get("tile/entries/{path...}", "A bundle of entries (C2SP tlog-tiles)", auditors, p.logEntries),
		get("payloads/{path...}", "The payloads of a bundle of entries", auditors, p.logPayloads),
		get("checkpoints", "The sizes of the checkpoints that are kept, one a line", auditors, p.logSizes),
		get("checkpoints/{size}", "A checkpoint that was recorded for a size", auditors, p.logRecorded),
		get("key", "The log's verifier keys, one a line", anyone, p.logKey),
		get("keys", "The signed history of the log's keys (tamv-log-keys/1)", anyone, p.logKeys),
		get("policy", "What this site suggests to trust (C2SP tlog-policy)", anyone, p.logPolicy),
	}
}

func text(s string) *pods.Result { return &pods.Result{Raw: []byte(s), Type: textType} }

// forever is the caching of what never changes.
func forever(c *pods.Call) map[string]string {
	if c.Principal == nil {
		return map[string]string{"Cache-Control": foreverForAll}
	}
	return map[string]string{"Cache-Control": foreverForOne}
}

// logCheckpoint serves the newest recorded checkpoint, at most a second old while
// the ledger grows. It proposes one only for a log that has none.
func (p *Pod) logCheckpoint(ctx context.Context, _ *pods.Call) (*pods.Result, error) {
	_, note, err := p.notary.Covering(ctx, 0)
	if err != nil {
		return nil, err
	}
	return text(string(note)), nil
}

func noFile() *tap.Error {
	return tap.E("bookpi.log", tap.NotFound, "the log has no such file, or not yet")
}

// published is the size up to which tiles and bundles are served: what a recorded
// checkpoint vouches for.
func (p *Pod) published(ctx context.Context) (uint64, error) {
	cp, _, err := p.notary.Covering(ctx, 0)
	return cp.Size, err
}

// span holds a tile or bundle against the published size. Any width that it has
// reached is served: a partial tile is the beginning of the full one, and some
// checkpoint may have called for it.
func (p *Pod) span(ctx context.Context, level uint8, index uint64, width int) error {
	size, err := p.published(ctx)
	if err != nil {
		return err
	}
	if width > bookpi.TileSpan(level, index, size) {
		return noFile()
	}
	return nil
}

// logTile serves the hashes of a tile.
func (p *Pod) logTile(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	tile, err := bookpi.ParseTilePath("tile/" + c.Params["path"])
	if err != nil {
		return nil, noFile()
	}
	if err := p.span(ctx, tile.Level, tile.Index, tile.Width); err != nil {
		return nil, err
	}
	raw, err := p.ledger.TileBytes(tile.Level, tile.Index, tile.Width)
	if err != nil {
		return nil, err
	}
	return &pods.Result{Raw: raw, Type: bytesType, Header: forever(c)}, nil
}

// logEntries serves entries as they are under the hash.
func (p *Pod) logEntries(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	index, width, err := bookpi.ParseEntriesPath("tile/entries/" + c.Params["path"])
	if err != nil {
		return nil, noFile()
	}
	if err := p.span(ctx, 0, index, width); err != nil {
		return nil, err
	}
	var raw []byte
	err = p.each(ctx, index*bookpi.TileWidth, width, func(r store.Record) error {
		raw = bookpi.AppendBundled(raw, r.Entry)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &pods.Result{Raw: raw, Type: bytesType, Header: forever(c)}, nil
}

// logPayloads serves the payloads of a bundle, those of other tenants withheld. A
// bundle can have 128 MiB: it is streamed.
func (p *Pod) logPayloads(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	index, width, err := bookpi.ParsePayloadsPath("payloads/" + c.Params["path"])
	if err != nil {
		return nil, noFile()
	}
	if err := p.span(ctx, 0, index, width); err != nil {
		return nil, err
	}
	tenant := cmp.Or(c.Tenant, p.tenant)
	stream := func(ctx context.Context, w io.Writer, flush func() error) error {
		err := p.each(ctx, index*bookpi.TileWidth, width, func(r store.Record) error {
			e, err := parse(r)
			if err != nil {
				return err
			}
			payload := bookpi.BundledPayload{Data: r.Payload}
			if e.Tenant != tenant {
				payload = bookpi.BundledPayload{Withheld: true}
			}
			_, err = w.Write(bookpi.AppendPayload(nil, payload))
			return err
		})
		return errorOr(err, flush())
	}
	return &pods.Result{Stream: stream, Type: bytesType, Header: forever(c)}, nil
}

// each calls fn for n entries from first on, all of which must be there.
func (p *Pod) each(ctx context.Context, first uint64, n int, fn func(store.Record) error) error {
	var failed error
	err := p.ledger.Records(first, false, func(r store.Record) bool {
		if n == 0 {
			return false
		}
		n--
		failed = cmp.Or(fn(r), ctx.Err())
		return failed == nil
	})
	if err = cmp.Or(err, failed); err == nil && n > 0 {
		err = noFile()
	}
	return err
}

// logSizes lists the checkpoints that are kept.
func (p *Pod) logSizes(context.Context, *pods.Call) (*pods.Result, error) {
	var sizes []uint64
	err := p.ledger.Checkpoints(func(cp bookpi.Checkpoint, _ []byte) bool {
		sizes = append(sizes, cp.Size)
		return true
	})
	if err != nil {
		return nil, err
	}
	return text(string(bookpi.AppendSizes(nil, sizes))), nil
}

// logRecorded serves the checkpoint of exactly one size.
func (p *Pod) logRecorded(_ context.Context, c *pods.Call) (*pods.Result, error) {
	size, err := bookpi.ParseRecordedPath("checkpoints/" + c.Params["size"])
	if err != nil {
		return nil, noFile()
	}
	cp, note, ok, err := p.ledger.CheckpointFor(size)
	if err != nil {
		return nil, err
	}
	if !ok || cp.Size != size {
		return nil, noFile()
	}
	return text(string(note)), nil
}

// logPolicy suggests a policy: the log's present keys, the witnesses that this
// site knows, and how many of them its own proofs wait for. Whoever verifies
// decides for themselves what to believe.
func (p *Pod) logPolicy(_ context.Context, c *pods.Call) (*pods.Result, error) {
	present, _, err := p.notary.verifiers(math.MaxInt64)
	if err != nil {
		return nil, err
	}
	known, err := p.witnesses(c.View)
	if err != nil {
		return nil, err
	}
	policy, err := p.policy(present, known)
	if err != nil {
		return nil, tap.Wrap("bookpi.policy", tap.Internal, err, "the witnesses' keys make no policy")
	}
	return text(string(policy.Encode())), nil
}

// policy is what the site suggests to those who trust these witnesses.
func (p *Pod) policy(present []bookpi.VerifierKey, known []witness) (bookpi.Policy, error) {
	var keys []bookpi.VerifierKey
	for _, w := range known {
		keys = append(keys, w.Keys...)
	}
	return bookpi.SuggestPolicy(present, keys, min(p.quorum(len(known)), len(known)))
}
