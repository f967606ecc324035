package client

import (
	"context"
	"math"
	"math/bits"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"tamv.internal/tamv/tap"
)

const (
	// maxNodes is how many fit into a nodeSet.
	maxNodes = 64
	// nodeRest is how long a node that could not be reached comes last.
	nodeRest = 10 * time.Second

	// A node's share of the context's time is not less than minTry, because
	// most routes may take two seconds, and not more than maxTry, because
	// none may take longer than ten.
	minTry = 3 * time.Second
	maxTry = 12 * time.Second
	// uploadRate is the slowest link, in bytes per second, that a body is
	// given time for.
	uploadRate = 128 << 10
)

// node is one of the appliance's addresses.
type node struct {
	base  url.URL
	rests atomic.Int64 // Unix time in ns until which other nodes are asked before it
}

// nodesAt reads the addresses; empty ones and repetitions are left out.
func nodesAt(addresses []string) ([]*node, error) {
	var nodes []*node
	for _, address := range addresses {
		if address == "" {
			continue
		}
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
			return nil, tap.E("client.new", tap.Invalid, "an appliance's address has the form https://HOST:PORT")
		}
		base := url.URL{Scheme: "https", Host: u.Host}
		if !slices.ContainsFunc(nodes, func(n *node) bool { return n.base == base }) {
			nodes = append(nodes, &node{base: base})
		}
	}
	if len(nodes) == 0 || len(nodes) > maxNodes {
		return nil, tap.E("client.new", tap.Invalid, "an appliance has 1 to %d addresses of the form https://HOST:PORT", maxNodes)
	}
	return nodes, nil
}

// nodeSet is a set of indexes of nodes.
type nodeSet uint64

func (s nodeSet) has(i int) bool     { return s&(1<<i) != 0 }
func (s nodeSet) with(i int) nodeSet { return s | 1<<i }
func (s nodeSet) count() int         { return bits.OnesCount64(uint64(s)) }

// next is the node to ask after those that were tried: the one that worked
// last, then in order, and those that rest at the end. One at least is untried.
func (c *Client) next(tried nodeSet) int {
	current, now, resting := int(c.current.Load()), time.Now().UnixNano(), -1
	for k := range c.nodes {
		i := (current + k) % len(c.nodes)
		switch {
		case tried.has(i):
		case c.nodes[i].rests.Load() <= now:
			return i
		case resting < 0:
			resting = i
		}
	}
	return resting
}

// answered notes that a node can be reached and, unless the error sends the
// request elsewhere, that it works. Many requests end here at once, so what is
// right already is left alone.
func (c *Client) answered(i int, err error) {
	if n := c.nodes[i]; n.rests.Load() != 0 {
		n.rests.Store(0)
	}
	if !elsewhere(err) && c.current.Load() != int32(i) {
		c.current.Store(int32(i))
	}
}

// patience is how long the node may go without progress before the next one is
// asked; 0 = as long as the context lasts.
func (c *Client) patience(ctx context.Context, r *tap.Request, tried nodeSet) time.Duration {
	if len(c.nodes) == 1 {
		return 0
	}
	remains := time.Duration(math.MaxInt64)
	if deadline, ok := ctx.Deadline(); ok {
		remains = time.Until(deadline)
	}
	limit := c.config.TryTimeout
	if limit == 0 {
		nodes := len(c.nodes) - tried.count() + 1 // this one is in tried
		limit = min(maxTry, max(minTry, remains/time.Duration(nodes)))
	}
	limit += time.Duration(len(r.Body)) * time.Second / uploadRate
	if limit >= remains {
		return 0
	}
	return limit
}
