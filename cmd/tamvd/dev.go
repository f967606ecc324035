package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/appliance"
	"tamv.internal/tamv/tap"
)

// devCommand runs a site that needs nothing: for trying, and for development.
func (a *app) devCommand() *cobra.Command {
	var n node
	var nodes int
	c := &cobra.Command{Use: "dev", Short: devTexts.In(a.lang), Args: cobra.NoArgs}
	n.flags(a, c, "")
	openLog := c.Flags().Lookup("open-log")
	openLog.DefValue, n.OpenLog = "true", true
	c.Flags().IntVar(&nodes, "nodes", 1, nodesTexts.In(a.lang))
	c.Flags().BoolVar(&n.NewLedgerKey, "new-log-key", false, newLogKeyTexts.In(a.lang))
	c.RunE = func(c *cobra.Command, _ []string) error {
		if !c.Flags().Changed("data") {
			folder, remove, err := temporaryFolder()
			if err != nil {
				return err
			}
			defer remove()
			n.Data = folder
		}
		cfg, err := n.config(a)
		if err != nil {
			return err
		}
		if nodes == 1 {
			if err := ofSize(cfg.Data, 1); err != nil {
				return err
			}
			return appliance.Run(c.Context(), cfg)
		}
		return runSite(c.Context(), nodes, cfg, func(s *site) { siteBanner(a.stdout, a.lang, s) })
	}
	return c
}

// banner says what runs, where, and what to do next.
func banner(w io.Writer, lang tap.Lang, r appliance.Running) {
	fmt.Fprintf(w, "tamvd %s  node %s  ready in %d ms   data %s\n", tap.Release, r.Node, r.Took.Round(time.Millisecond).Milliseconds(), r.Data)
	fmt.Fprintf(w, "  API   https://%s\n", r.Address)
	fmt.Fprintf(w, "  TAP   wss://%s/tap   quic://%s\n", r.Address, r.Address)
	next := "demo"
	if !r.Operator { // whose key is on another node
		next = "ready"
	}
	fmt.Fprintf(w, "  %-5s %s --context %s %s\n", nextTexts.In(lang), tamvctl(), r.Context, next)
	fmt.Fprintln(w, stopTexts.In(lang))
}

// tamvctl is how the person at this terminal calls it: by its name, or by its path
// when it lies beside this program and on no search path, as after a build.
func tamvctl() string {
	const name = "tamvctl"
	if _, err := exec.LookPath(name); err == nil {
		return name
	}
	self, err := os.Executable()
	if err != nil {
		return name
	}
	beside := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(beside); err != nil {
		return name
	}
	if here, err := os.Getwd(); err == nil {
		if short, err := filepath.Rel(here, beside); err == nil && len(short) < len(beside) {
			return short
		}
	}
	return beside
}
