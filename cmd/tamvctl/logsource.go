package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"

	"tamv.internal/tamv/cmd/tamvctl/mirror"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// logPrefix is where an appliance serves its log.
const logPrefix = "/log/"

// logSource is where a log is read from: a mirror folder, a URL, or the appliance of
// the context when place is empty. A URL of the context's appliance is asked as the
// context's identity; any other is a web server with a mirror and is asked as nobody.
func (a *app) logSource(place string) (bookpi.Source, error) {
	if place == "" {
		c, err := a.client()
		return applianceLog{a, c}, err
	}
	if strings.HasPrefix(place, "https://") || strings.HasPrefix(place, "http://") {
		u, err := url.Parse(place)
		if err != nil || u.Host == "" || u.RawQuery != "" || u.User != nil {
			return nil, usage("%q is not the URL of a log", place)
		}
		if own, err := a.ownAddress(u); own || err != nil {
			if err != nil {
				return nil, err
			}
			c, err := a.client()
			return applianceLog{a, c}, err
		}
		return webLog{a, strings.TrimSuffix(u.String(), "/") + "/"}, nil
	}
	info, err := os.Stat(a.path(place))
	if err != nil {
		return nil, fileError(err)
	}
	if !info.IsDir() {
		return nil, badInput("%s is no folder; a log's mirror is one", place)
	}
	return bookpi.DirSource(os.DirFS(a.path(place))), nil
}

// ownAddress reports whether a URL is that of the log of the context's appliance.
func (a *app) ownAddress(u *url.URL) (bool, error) {
	if a.contextFile == "" && a.getenv(client.ContextVariable) == "" {
		return false, nil
	}
	c, err := a.load()
	if err != nil {
		return false, err
	}
	if strings.Trim(u.Path, "/") != strings.Trim(logPrefix, "/") {
		return false, nil
	}
	for _, address := range append([]string{c.Address}, c.Addresses...) {
		if own, err := url.Parse(address); err == nil && own.Scheme == u.Scheme && own.Host == u.Host {
			return true, nil
		}
	}
	return false, nil
}

// applianceLog is the log of the context's appliance.
type applianceLog struct {
	app    *app
	client *client.Client
}

// Fetch implements bookpi.Source.
func (l applianceLog) Fetch(ctx context.Context, path string, limit int64) ([]byte, error) {
	reply, err := l.app.requestAs(ctx, l.client, ask{path: logPrefix + path})
	err = archivedError(err)
	switch {
	case errors.Is(err, mirror.ErrArchived):
		return nil, err
	case tap.IsKind(err, tap.NotFound):
		return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case err != nil:
		return nil, err
	case int64(len(reply.Body)) > limit:
		return nil, bookpi.ErrOversize
	}
	return reply.Body, nil
}

// webLog is a mirror behind a web server.
type webLog struct {
	app  *app
	base string
}

// Fetch implements bookpi.Source. A mirror as files has no list of recorded
// checkpoints; a server answers with an error or a page of its own.
func (l webLog) Fetch(ctx context.Context, path string, limit int64) ([]byte, error) {
	if path == bookpi.CheckpointsPath {
		return nil, fs.ErrNotExist
	}
	ctx, cancel := context.WithTimeout(ctx, l.app.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, l.base+path, nil)
	if err != nil {
		return nil, badInput("%v", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return nil, tap.AsError(ctx.Err())
		}
		return nil, tap.Wrap("tamvctl.log", tap.Unavailable, err, "the log cannot be reached").WithCode(client.CodeUnreachable)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone:
		return nil, fs.ErrNotExist
	default:
		return nil, tap.E("tamvctl.log", tap.Unavailable, "%s%s: the server answered %s", l.base, path, response.Status).WithCode(client.CodeReply)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return nil, tap.Wrap("tamvctl.log", tap.Unavailable, err, "the answer broke off").WithCode(client.CodeUnreachable)
	}
	if int64(len(data)) > limit {
		return nil, bookpi.ErrOversize
	}
	return data, nil
}

// logError gives an error of an audit or a copy its kind.
func logError(err error) error {
	var typed *tap.Error
	var where *bookpi.BrokenError
	switch {
	case errors.As(err, &where):
		return broken(err)
	case errors.As(err, &typed):
		return typed
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return tap.AsError(err)
	}
	return fileError(err)
}
