package faults

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// Times that the harness waits at most; on a busy machine everything is slow, and
// only a cluster that hangs should fail for it.
const (
	startTime  = 60 * time.Second  // from the start of a process until it serves
	stopTime   = 20 * time.Second  // from SIGTERM to the end
	settleTime = 120 * time.Second // until every node is up to date after the last fault
	askTime    = 2 * time.Second   // for a node to say how it is
	pollEvery  = 50 * time.Millisecond
)

// MaxRecovery is how soon writes must get through once a majority is connected
// again.
const MaxRecovery = 30 * time.Second

// Node is a member of a site, or was one.
type Node struct {
	*Process
	Name string
}

// Site is a cluster on loopback with everything needed to break it. Adding and
// removing members is for one goroutine; workloads may run meanwhile.
type Site struct {
	Dir     string
	Network *Network
	port    int

	mu       sync.Mutex // guards all below
	nodes    []*Node    // in the order of their numbers, the removed ones too
	removed  map[string]bool
	small    map[*Node]bool           // whose folders are small disks
	next     func() (string, error)   // the binary of the next release; nil = there is none
	people   map[string]client.Config // identities by name; the operator is one
	sessions map[[2]string]*client.Client
}

const operator = "operator"

// NewSite founds a site of several nodes in a folder and waits until all of them
// serve.
func NewSite(ctx context.Context, dir string, count int) (*Site, error) {
	s := &Site{
		Dir: dir, Network: NewNetwork(), removed: map[string]bool{}, small: map[*Node]bool{}, people: map[string]client.Config{},
		sessions: map[[2]string]*client.Client{},
	}
	var err error
	if s.port, err = freePort(); err != nil {
		return s, err
	}
	for range count {
		if _, err := s.Add(ctx); err != nil {
			return s, err
		}
	}
	return s, nil
}

// portAttempts is how often a port is looked for that every node can have.
const portAttempts = 20

// freePort is a port below those that the kernel gives to outgoing connections, so
// that a node that was killed finds it free again.
func freePort() (int, error) {
	var failed error
	for range portAttempts {
		port := 20_000 + mathrand.IntN(10_000)
		held := make([]net.Listener, 0, 2)
		for _, host := range []string{listenHost(1), advertiseHost(1)} {
			l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
			if failed = err; err != nil {
				break
			}
			held = append(held, l)
		}
		for _, l := range held {
			failed = errors.Join(failed, l.Close())
		}
		if failed == nil {
			return port, nil
		}
	}
	return 0, failed
}

func listenHost(number int) string    { return fmt.Sprintf("127.0.0.%d", 10+number) }
func advertiseHost(number int) string { return fmt.Sprintf("127.0.0.%d", 110+number) }

// Add makes one more node a member and waits until it votes. The first node founds
// the site.
func (s *Site) Add(ctx context.Context) (*Node, error) {
	n, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	return n, s.join(ctx, n)
}

// begin starts the process of one more node, and does not wait for it.
func (s *Site) begin(ctx context.Context) (*Node, error) {
	number := len(s.Nodes()) + 1
	name := "n" + strconv.Itoa(number)
	port := strconv.Itoa(s.port)
	n := &Node{Name: name, Process: &Process{Log: filepath.Join(s.Dir, name+".log"), Spec: Spec{
		Node: name, Data: filepath.Join(s.Dir, name),
		Listen: net.JoinHostPort(listenHost(number), port), Advertise: net.JoinHostPort(advertiseHost(number), port),
	}}}
	if err := s.Network.Attach(name, n.Spec.Listen, n.Spec.Advertise); err != nil {
		return nil, err
	}
	action := Found
	if number > 1 {
		action = Join
		var err error
		if n.Spec.Token, err = s.invite(ctx, name); err != nil {
			return nil, err
		}
	}
	// The folder may be a mount already.
	if err := os.MkdirAll(n.Spec.Data, 0o700); err != nil {
		return nil, err
	}
	if err := n.Start(action); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes = append(s.nodes, n)
	return n, nil
}

// join waits until a node that was begun serves and is a member.
func (s *Site) join(ctx context.Context, n *Node) error {
	if err := n.await(ctx); err != nil {
		return err
	}
	if n == s.Nodes()[0] {
		return s.adoptOperator(n)
	}
	return s.awaitVoter(ctx, n.Name)
}

// await waits until the node serves.
func (n *Node) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	return n.Ready(ctx)
}

// adoptOperator takes the operator's identity from the first node's folder.
func (s *Site) adoptOperator(n *Node) error {
	file, err := client.Load(filepath.Join(n.Spec.Data, "context.json"))
	if err != nil {
		return err
	}
	config, err := file.Config()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.people[operator] = config
	return nil
}

// Enrol makes an identity that every node knows.
func (s *Site) Enrol(ctx context.Context, name string, roles ...tap.Role) error {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	body := map[string]any{"name": name, "publicKey": base64.StdEncoding.EncodeToString(public), "roles": roles}
	if _, err := s.Ask(ctx, "POST", "/v1/identities", body, nil); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	config := s.people[operator]
	config.KeyID, config.Key = tap.JoinKeyID(tap.DefaultTenant, name), key
	s.people[name] = config
	return nil
}

// Nodes are all nodes that ever were, in the order of their numbers.
func (s *Site) Nodes() []*Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.nodes)
}

// Members are the nodes that were not removed.
func (s *Site) Members() []*Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.nodes), func(n *Node) bool { return s.removed[n.Name] })
}

// Client is an identity's connection to one node.
func (s *Site) Client(who string, n *Node) *client.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := [2]string{who, n.Name}
	if s.sessions[key] == nil {
		config := s.people[who]
		config.Address, config.Retries = "https://"+n.Spec.Listen, -1
		c, err := client.New(config)
		if err != nil {
			panic(err) // the address is the harness's own
		}
		s.sessions[key] = c
	}
	return s.sessions[key]
}

// As is what a workload's caller needs: the identity's connections to the members.
func (s *Site) As(who string) Nodes {
	return func() []*client.Client {
		var all []*client.Client
		for _, n := range s.Members() {
			all = append(all, s.Client(who, n))
		}
		return all
	}
}

// ByName is the identity's connections to the members, by name.
func (s *Site) ByName(who string) func() map[string]*client.Client {
	return func() map[string]*client.Client {
		all := map[string]*client.Client{}
		for _, n := range s.Members() {
			all[n.Name] = s.Client(who, n)
		}
		return all
	}
}

// Ask sends a request of the operator to the members in turn until one answers,
// and decodes the reply into v, if that is not nil.
func (s *Site) Ask(ctx context.Context, method, path string, body, v any) (*client.Reply, error) {
	caller := Caller{Nodes: s.As(operator), Journal: NewJournal()}
	a := caller.Do(ctx, Operation{Method: method, Path: path, Body: body, Repeat: true}, 0)
	if a.Outcome != Acknowledged {
		return nil, fmt.Errorf("%s %s: %w", method, path, a.Err)
	}
	if v == nil {
		return a.Reply, nil
	}
	return a.Reply, a.Reply.Decode(v)
}

// Close ends every process and the network, and says what did not end in order.
func (s *Site) Close() error {
	var errs []error
	s.mu.Lock()
	for _, c := range s.sessions {
		c.Close()
	}
	s.mu.Unlock()
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, n := range s.Nodes() {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), stopTime)
			defer cancel()
			if n.Running() {
				_ = n.Resume()
			}
			err := n.Stop(ctx)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	all.Wait()
	s.Network.Close()
	return errors.Join(errs...)
}
