package client

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

// Config says which appliance a Client talks to, and as whom.
type Config struct {
	Address string // "https://HOST:PORT" of the node that is asked first
	// Addresses are those of the appliance's nodes; Address may be among
	// them, or empty. At most 64 different ones.
	Addresses []string
	CA        *x509.CertPool     // what the appliance's certificate must chain to; nil = the system's
	KeyID     string             // "TENANT/NAME"; empty = requests are sent unsigned
	Key       ed25519.PrivateKey // the identity's key
	Roles     []tap.Role         // narrows the identity's roles; empty = all of them
	Lang      tap.Lang           // language of error hints; empty = English
	// Retries is how often a request is tried again after an error whose
	// kind is retryable, or when no node could be reached; 0 = 3. Negative =
	// a request is never sent twice, only nodes that take no connection are
	// passed over.
	Retries int
	// TryTimeout is how long one of several nodes may leave a request without
	// progress before the next one is asked; 0 = a fair share of the
	// context's time, within 3 and 12 s. A single node has all of it.
	TryTimeout time.Duration
	// IdleConns is how many connections are kept open for reuse; 0 = 256.
	IdleConns int
	Now       func() time.Time // stamps signatures; nil = time.Now
}

const (
	defaultRetries   = 3
	defaultIdleConns = 256
	// maxRetryAfter is the longest wait that the client takes upon itself;
	// the caller hears of longer ones.
	maxRetryAfter = 5 * time.Second
	// MaxReply is the longest reply body that is read, in bytes.
	MaxReply = 64 << 20
)

// The codes of errors that the client makes itself.
const (
	CodeUnreachable = "unreachable"        // Unavailable: no connection, or it broke
	CodeCertificate = "server_certificate" // Unauthenticated: the server is not the appliance
	CodeReply       = "reply"              // any kind: the answer has no error body
)

// Client signs and sends HTTP requests. It is safe for concurrent use; Close
// it when done.
type Client struct {
	config  Config
	nodes   []*node
	current atomic.Int32 // index of the node that worked last
	http    *http.Client
}

// New makes a Client. It connects only when the first request is sent.
func New(c Config) (*Client, error) {
	nodes, err := nodesAt(append([]string{c.Address}, c.Addresses...))
	if err != nil {
		return nil, err
	}
	if _, _, ok := tap.SplitKeyID(c.KeyID); c.KeyID != "" && (!ok || len(c.Key) != ed25519.PrivateKeySize) {
		return nil, tap.E("client.new", tap.Invalid, "signing needs a key id of the form TENANT/NAME and its Ed25519 key")
	}
	if c.Retries == 0 {
		c.Retries = defaultRetries
	}
	if c.IdleConns == 0 {
		c.IdleConns = defaultIdleConns
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	connect := 5 * time.Second
	if len(nodes) > 1 {
		connect = 2 * time.Second
	}
	return &Client{config: c, nodes: nodes, http: &http.Client{
		// A signature is for one path of one appliance: no redirects.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: connect}).DialContext,
			TLSClientConfig:     &tls.Config{RootCAs: c.CA, MinVersion: tls.VersionTLS13},
			TLSHandshakeTimeout: 10 * time.Second,
			MaxIdleConnsPerHost: c.IdleConns,
			IdleConnTimeout:     90 * time.Second,
			DisableCompression:  true,
		},
	}}, nil
}

// Close closes the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Reply is what the appliance answered.
type Reply struct {
	Status      int
	Header      http.Header
	ContentType string
	Body        []byte
	RequestID   string // names the request in the appliance's log and ledger
}

// Decode reads a JSON reply into v.
func (r *Reply) Decode(v any) error {
	if err := json.Unmarshal(r.Body, v); err != nil {
		return tap.Wrap("client.decode", tap.Internal, err, "the reply is not the JSON that was expected").WithCode(CodeReply)
	}
	return nil
}

// Do sends one request under a new request id and returns the reply. The path
// is escaped already (url.PathEscape for each name in it). A body of
// json.RawMessage or []byte is sent as it is, nil sends none, anything else is
// marshalled. See [Client.Send] for errors.
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, body any) (*Reply, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, tap.Wrap("client.do", tap.Internal, err, "no randomness for a request id")
	}
	r := &tap.Request{ID: id, Method: method, Path: path, RawQuery: query.Encode(), Lang: c.config.Lang}
	switch b := body.(type) {
	case nil:
	case json.RawMessage:
		r.Body = b
	case []byte:
		r.Body = b
	default:
		if r.Body, err = json.Marshal(body); err != nil {
			return nil, tap.Wrap("client.do", tap.Invalid, err, "the body cannot be written as JSON")
		}
	}
	return c.Send(ctx, r)
}

// retryable says whether the same request may succeed soon. A status without
// an error body comes from something else than the request's handler; what it
// means is the caller's to judge.
func retryable(err error) bool {
	e := tap.AsError(err)
	return e.Kind.Traits().Retryable && e.Code != CodeReply && e.RetryAfter <= maxRetryAfter
}

// Sign names the request in Idempotency-Key, narrows its roles as configured
// and signs it, now and with a new nonce. Without a key it only names it.
func (c *Client) Sign(r *tap.Request) error {
	if r.Header == nil {
		r.Header = make(map[string]string, 5)
	}
	if r.ID != uuid.Nil {
		r.Header[tap.HeaderRequestID] = r.ID.String()
	}
	if c.config.KeyID == "" {
		return nil
	}
	if len(c.config.Roles) > 0 {
		names := make([]string, len(c.config.Roles))
		for i, role := range c.config.Roles {
			names[i] = string(role)
		}
		r.Header[tap.HeaderRoles] = strings.Join(names, ", ")
	}
	return tap.SignRequest(r, c.config.Key, c.config.KeyID, c.config.Now(), tap.NewNonce())
}

// err is the error that the reply carries; nil for a success.
func (r *Reply) err() error {
	if r.Status < 300 && r.Status != http.StatusAccepted {
		return nil
	}
	e, id, ok := tap.ParseErrorBody(r.Body)
	switch {
	case !ok && r.Status < 300:
		return nil
	case !ok:
		return tap.E("client.reply", kindOfStatus(r.Status), "the server answered %d %s", r.Status, http.StatusText(r.Status)).
			WithCode(CodeReply)
	case r.RequestID == "":
		r.RequestID = id
	}
	if seconds, err := strconv.ParseUint(r.Header.Get("Retry-After"), 10, 16); err == nil && e.RetryAfter == 0 { // the body has it finer
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}

// kindOfStatus is the first kind with that HTTP status; Internal for a status
// that no kind has.
func kindOfStatus(status int) tap.Kind {
	for _, k := range tap.Kinds() {
		if k.Traits().Status == status {
			return k
		}
	}
	return tap.Internal
}
