package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"tamv.internal/tamv/appliance"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// site is a development site: several nodes on this machine, each a process of
// its own, kept running until the end.
type site struct {
	folder  string
	nodes   []*child
	started time.Time
}

// maxNodes is the most members that a development site has: one more voter
// than five makes a cluster slower and no safer.
const maxNodes = 5

// devFile lists the processes, for who wants to kill one.
const devFile = "dev.json"

// runSite runs a development site of several nodes until ctx ends.
func runSite(ctx context.Context, count int, cfg appliance.Config, announce func(*site)) error {
	if count < 2 || count > maxNodes {
		return tap.E("tamvd.dev", tap.Invalid, "--nodes is from 1 to %d", maxNodes)
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return tap.Wrap("tamvd.dev", tap.Unavailable, err, "the data folder %s cannot be made", cfg.Data)
	}
	release, err := appliance.Occupy(cfg.Data)
	if err != nil {
		return err
	}
	defer release()
	if err := ofSize(cfg.Data, count); err != nil {
		return err
	}
	s := &site{folder: cfg.Data, started: time.Now()}
	addresses, err := siteAddresses(cfg, count)
	if err != nil {
		return err
	}
	flags := []string{"--open-log=" + strconv.FormatBool(cfg.OpenLog), "--memory-tier=" + cfg.MemoryTier}
	for i, address := range addresses {
		name := "n" + strconv.Itoa(i+1)
		s.nodes = append(s.nodes, &child{name: name, folder: filepath.Join(cfg.Data, name), address: address, flags: flags})
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err = s.start(ctx, cancel, cfg)
	if err == nil {
		announce(s)
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if errors.Is(err, context.Canceled) { // asked to stop, perhaps before all nodes were up
		err = nil
	}
	for _, c := range s.nodes {
		err = errors.Join(err, c.stop())
	}
	return err
}

// members are the processes of the site that was in this folder before, if any.
func members(folder string) []process {
	raw, err := os.ReadFile(filepath.Join(folder, devFile))
	var known struct {
		Nodes []process `json:"nodes"`
	}
	if err != nil || json.Unmarshal(raw, &known) != nil {
		return nil
	}
	return known.Nodes
}

// ofSize refuses a folder that has a site of another number of nodes: new ones
// beside what is there would be a second site that nobody asked for.
func ofSize(folder string, count int) error {
	there := len(members(folder))
	if there == 0 && count > 1 && appliance.FoundedAt(folder) {
		there = 1
	}
	if there == 0 || there == count {
		return nil
	}
	return tap.E("tamvd.dev", tap.Conflict, "the folder %s has a site whose number of nodes is %d, not %d", folder, there, count).WithCode(codeSite)
}

// siteAddresses are where the nodes listen: where they did before, because nodes
// that all moved at once would not find each other; else as asked.
func siteAddresses(cfg appliance.Config, count int) ([]string, error) {
	var before []string
	for _, p := range members(cfg.Data) {
		before = append(before, p.Address)
	}
	if _, port, err := net.SplitHostPort(cfg.Listen); before != nil && (cfg.Listen == "" || err == nil && port == "0") {
		return before, nil
	}
	if cfg.Listen == "" {
		cfg.Listen = appliance.DefaultListen
	}
	asked, err := freeAddresses(cfg.Listen, count)
	if err == nil && before != nil && !slices.Equal(asked, before) {
		return nil, tap.E("tamvd.dev", tap.Conflict, "the nodes of the site in %s listen on %s and cannot all move at once; leave --listen out", cfg.Data, strings.Join(before, ", ")).WithCode(codeSite)
	}
	return asked, err
}

// start brings every node up: the first founds the site, the others join it,
// and all of them vote at the end. Those that were members before run first,
// because a site needs its majority before it answers.
func (s *site) start(ctx context.Context, fail context.CancelCauseFunc, cfg appliance.Config) error {
	first := s.nodes[0]
	if !appliance.FoundedAt(first.folder) {
		cfg.Data, cfg.Listen, cfg.Node = first.folder, first.address, first.name
		if _, err := appliance.Init(cfg); err != nil {
			return err
		}
	}
	var strangers []*child
	for _, c := range s.nodes {
		if !appliance.FoundedAt(c.folder) {
			strangers = append(strangers, c)
			continue
		}
		if err := c.run(ctx, fail, "", s.save); err != nil {
			return err
		}
	}
	operator, err := s.connect(ctx, first)
	if err != nil {
		return err
	}
	defer operator.Close()
	for _, c := range strangers {
		token, err := invite(ctx, operator, c.name)
		if err != nil {
			return err
		}
		if err := c.run(ctx, fail, token, s.save); err != nil {
			return err
		}
	}
	if err := s.awaitVoters(ctx, operator); err != nil {
		return err
	}
	return s.saveContext()
}

// connect waits until the node serves, and is its operator then.
func (s *site) connect(ctx context.Context, c *child) (*client.Client, error) {
	if err := c.awaitReady(ctx); err != nil {
		return nil, err
	}
	as, err := client.Load(filepath.Join(c.folder, "context.json"))
	if err != nil {
		return nil, err
	}
	config, err := as.Config()
	if err != nil {
		return nil, err
	}
	return client.New(config)
}

// invite asks for a token that lets one node join.
func invite(ctx context.Context, operator *client.Client, node string) (string, error) {
	reply, err := operator.Do(ctx, "POST", "/v1/cluster/invitations", nil, map[string]any{"node": node, "expiresSeconds": 600})
	if err != nil {
		return "", err
	}
	var body struct{ Token string }
	return body.Token, errors.Join(reply.Decode(&body), nil)
}

// awaitVoters waits until every node counts for the majority.
func (s *site) awaitVoters(ctx context.Context, operator *client.Client) error {
	late, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		reply, err := operator.Do(late, "GET", "/v1/cluster", nil, nil)
		var body struct {
			Nodes []struct{ Voter, Reachable bool }
		}
		if err == nil {
			err = reply.Decode(&body)
		}
		voters := 0
		for _, m := range body.Nodes {
			if m.Voter && m.Reachable {
				voters++
			}
		}
		if voters >= len(s.nodes) {
			return nil
		}
		select {
		case <-ticker.C:
		case <-late.Done():
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return tap.Wrap("tamvd.dev", tap.Unavailable, errors.Join(err, late.Err()), "%d of %d nodes vote; the logs are in %s", voters, len(s.nodes), s.folder)
		}
	}
}

// saveContext writes the context file with every node's address.
func (s *site) saveContext() error {
	c, err := client.Load(filepath.Join(s.nodes[0].folder, "context.json"))
	if err != nil {
		return err
	}
	c.Addresses = nil
	for _, n := range s.nodes {
		c.Addresses = append(c.Addresses, "https://"+n.address)
	}
	return c.Save(filepath.Join(s.folder, "context.json"))
}

// freeAddresses are as many addresses as nodes: the one given and the ports
// behind it, or any free ones for port 0.
func freeAddresses(listen string, count int) ([]string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, tap.E("tamvd.dev", tap.Invalid, "the listen address %q is not HOST:PORT", listen)
	}
	base, err := strconv.Atoi(port)
	if err != nil || base < 0 || base >= 1<<16 {
		return nil, tap.E("tamvd.dev", tap.Invalid, "the listen address %q is not HOST:PORT with a port from 0 to 65535", listen)
	}
	if base+count > 1<<16 {
		return nil, tap.E("tamvd.dev", tap.Invalid, "%d nodes need as many ports, and only %d are left from %d on", count, 1<<16-base, base)
	}
	var addresses []string
	var held []io.Closer // so that no two are the same
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	for i := range count {
		if base != 0 {
			addresses = append(addresses, net.JoinHostPort(host, strconv.Itoa(base+i)))
			continue
		}
		tcp, udp, err := holdPort(host)
		if err != nil {
			return nil, tap.Wrap("tamvd.dev", tap.Unavailable, err, "no free port on %s", host)
		}
		held = append(held, tcp, udp)
		addresses = append(addresses, tcp.Addr().String())
	}
	return addresses, nil
}

// holdPort takes a port, TCP and UDP, below those that the kernel hands out, so that
// it is still free when a node comes back to it.
func holdPort(host string) (tcp net.Listener, udp net.PacketConn, err error) {
	const attempts = 50
	for range attempts {
		address := net.JoinHostPort(host, strconv.Itoa(20_000+rand.IntN(10_000)))
		if tcp, err = net.Listen("tcp", address); err != nil {
			continue
		}
		if udp, err = net.ListenPacket("udp", address); err == nil {
			return tcp, udp, nil
		}
		_ = tcp.Close()
	}
	return nil, nil, err
}

// siteBanner says what runs and what to do next.
func siteBanner(w io.Writer, lang tap.Lang, s *site) {
	fmt.Fprintf(w, "tamvd %s  %d nodes  ready in %d ms   data %s\n", tap.Release, len(s.nodes), time.Since(s.started).Milliseconds(), s.folder)
	for _, c := range s.nodes {
		fmt.Fprintf(w, "  %-5s https://%s   pid %d\n", c.name, c.address, c.pid())
	}
	fmt.Fprintf(w, "  %-5s %s --context %s demo --nodes %d\n", nextTexts.In(lang), tamvctl(), filepath.Join(s.folder, "context.json"), len(s.nodes))
	fmt.Fprintln(w, stopTexts.In(lang))
}

// save writes who runs where.
func (s *site) save() error {
	var list struct {
		Nodes []process `json:"nodes"`
	}
	for _, c := range s.nodes {
		list.Nodes = append(list.Nodes, process{c.name, c.pid(), c.address, c.folder})
	}
	return writeJSON(filepath.Join(s.folder, devFile), list)
}

// process is one row of dev.json.
type process struct {
	Node    string `json:"node"`
	PID     int    `json:"pid"`
	Address string `json:"address"`
	Data    string `json:"data"`
}

// temporaryFolder is a site's folder when none is given.
func temporaryFolder() (folder string, remove func(), err error) {
	folder, err = os.MkdirTemp("", "tamvd-")
	if err != nil {
		return "", nil, tap.Wrap("tamvd.dev", tap.Unavailable, err, "no temporary folder")
	}
	return folder, func() { _ = os.RemoveAll(folder) }, nil
}
