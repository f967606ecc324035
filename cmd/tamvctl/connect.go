package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/cmd/cli"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// load reads the context that the command line or the environment names.
func (a *app) load() (*client.Context, error) {
	if a.as != nil {
		return a.as, nil
	}
	file := a.contextFile
	if file == "" {
		file = a.getenv(client.ContextVariable)
	}
	if file == "" {
		return nil, tap.E("tamvctl.context", tap.Invalid, "%s", textNoContext.In(a.lang)).WithCode(codeNoContext)
	}
	var err error
	a.as, err = client.Load(a.path(file))
	return a.as, coded(err, codeContext)
}

// config is who the context speaks for.
func (a *app) config() (client.Config, error) {
	c, err := a.load()
	if err != nil {
		return client.Config{}, err
	}
	config, err := c.Config()
	config.Lang = a.lang
	return config, coded(err, codeContext)
}

// client connects as the context says, once.
func (a *app) client() (*client.Client, error) {
	if a.open != nil {
		return a.open, nil
	}
	config, err := a.config()
	if err != nil {
		return nil, err
	}
	a.open, err = client.New(config)
	return a.open, coded(err, codeContext)
}

// ask is what a verb asks the appliance for.
type ask struct {
	method string // "" = GET
	path   string
	query  url.Values // may be nil
	body   any        // nil = none; []byte goes as it is, the rest as JSON
}

// request sends one signed request, within the time that the command line
// allows.
func (a *app) request(ctx context.Context, what ask) (*client.Reply, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	return a.requestAs(ctx, c, what)
}

// requestAs is request for any client.
func (a *app) requestAs(ctx context.Context, c *client.Client, what ask) (*client.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	method, query := cmp.Or(what.method, http.MethodGet), what.query
	if method == http.MethodGet && a.consistency != "" && !alwaysOwn(what.path) {
		query = maps.Clone(query)
		if query == nil {
			query = url.Values{}
		}
		query.Set("consistency", a.consistency)
	}
	reply, err := c.Do(ctx, method, what.path, query, what.body)
	return reply, named(reply, err)
}

// alwaysOwn says whether a path is answered with what the asked node knows,
// whatever --consistency says: about the node itself, and what is public.
func alwaysOwn(path string) bool {
	switch path {
	case "/v1/cluster", "/v1/status", "/ready", "/health", "/metrics", "/openapi.json",
		"/v1/evidence/checkpoint", "/v1/evidence/consistency", "/v1/evidence/key":
		return true
	}
	return strings.HasPrefix(path, "/log/")
}

// send is request for one with headers, or an id, of its own.
func (a *app) send(ctx context.Context, r *tap.Request) (*client.Reply, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	r.Lang = a.lang
	reply, err := c.Send(ctx, r)
	return reply, named(reply, err)
}

// named adds the request's id to the error that the appliance answered with.
func named(reply *client.Reply, err error) error {
	var e *tap.Error
	if err == nil || reply == nil || !errors.As(err, &e) {
		return err
	}
	return &replyError{e, reply.RequestID}
}

// show requests a document and prints it; draw gets it decoded.
func show[T any](ctx context.Context, a *app, what ask, draw func(*table, T)) error {
	reply, err := a.request(ctx, what)
	if err != nil {
		return err
	}
	return printReply(a, reply, draw)
}

// printReply prints a reply; draw gets it decoded.
func printReply[T any](a *app, reply *client.Reply, draw func(*table, T)) error {
	var v T
	if err := reply.Decode(&v); err != nil {
		return err
	}
	return a.print(reply.Body, func(t *table) { draw(t, v) })
}

// argument is a value given on the command line, in a file (@FILE) or on
// standard input (@-).
func (a *app) argument(value string) ([]byte, error) {
	if len(value) == 0 || value[0] != '@' {
		return []byte(value), nil
	}
	return a.readFile(value[1:])
}

// maxInput bounds what is read into memory: a bundle is the largest.
const maxInput = 65 << 20

// readFile reads a file, or standard input for "-".
func (a *app) readFile(name string) ([]byte, error) {
	in := a.in
	if name != "-" {
		f, err := os.Open(a.path(name))
		if err != nil {
			return nil, fileError(err)
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	if err != nil {
		return nil, fileError(err)
	}
	if len(raw) > maxInput {
		return nil, badInput("%s is longer than %d bytes", name, maxInput)
	}
	return raw, nil
}

// fileError gives an error about a file its kind. The end of the command while a
// file, or a person, was waited for is no error of the file.
func fileError(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	kind, code := tap.Invalid, codeFile
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		kind, code = tap.Unavailable, codeNoSpace
	case errors.Is(err, os.ErrNotExist):
		kind = tap.NotFound
	case errors.Is(err, os.ErrExist):
		kind = tap.Conflict
	case errors.Is(err, os.ErrPermission):
		kind = tap.Forbidden
	}
	return tap.E("tamvctl.file", kind, "%s", cli.Plain(err)).WithCode(code)
}

// paging is the flags of a list.
type paging struct {
	limit uint
	after string
}

func (p *paging) flags(a *app, c *cobra.Command) {
	c.Flags().UintVar(&p.limit, "limit", 0, textFlagLimit.In(a.lang))
	c.Flags().StringVar(&p.after, "after", "", textFlagAfter.In(a.lang))
}

// query makes a query of the flags and of the pairs of names and values that
// are not empty.
func (p *paging) query(pairs ...string) url.Values {
	q := filled(append(pairs, "after", p.after)...)
	if p.limit > 0 {
		q.Set("limit", strconv.FormatUint(uint64(p.limit), 10))
	}
	return q
}

// filled makes a query of the pairs whose value is not empty.
func filled(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

// cursor is where a list goes on: the appliance sends names or numbers.
type cursor string

// UnmarshalJSON implements json.Unmarshaler.
func (c *cursor) UnmarshalJSON(b []byte) error {
	*c = cursor(strings.Trim(string(b), `"`))
	return nil
}

// more tells how the list goes on.
func (t *table) more(next cursor) {
	if next != "" {
		t.line("… --after " + string(next))
	}
}
