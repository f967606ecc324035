package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/appliance"
	"tamv.internal/tamv/tap"
)

// initCommand founds a site: its keys, its authority, its first node.
func (a *app) initCommand() *cobra.Command {
	var n node
	var from string
	c := &cobra.Command{Use: "init", Short: initTexts.In(a.lang), Args: cobra.NoArgs}
	n.flags(a, c, defaultData)
	n.naming(a, c)
	c.Flags().StringVar(&n.Site, "site", "", siteTexts.In(a.lang))
	c.Flags().StringVar(&from, "from", "", fromTexts.In(a.lang))
	c.RunE = func(*cobra.Command, []string) error {
		cfg, err := n.config(a)
		if err != nil {
			return err
		}
		founded, err := a.found(cfg, from)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(a.stdout, foundedTexts.In(a.lang), founded.Site, founded.Node, cfg.Data, founded.Fingerprint, founded.VerifierKey,
			founded.RecoveryFile, founded.RecoveryCode, cfg.Data); err != nil {
			return tap.Wrap("tamvd.init", tap.Unavailable, err, "the site is founded, but its recovery code, which is shown once, could not be shown").WithCode(codeUnshown)
		}
		return nil
	}
	return c
}

// found makes new keys, or takes those of a recovery file, whose code comes from
// standard input.
func (a *app) found(cfg appliance.Config, from string) (appliance.Founded, error) {
	if from == "" {
		return appliance.Init(cfg)
	}
	file, err := os.ReadFile(from)
	if err != nil {
		return appliance.Founded{}, tap.Wrap("tamvd.init", tap.NotFound, err, "the recovery file cannot be read")
	}
	fmt.Fprint(a.stderr, askCodeTexts.In(a.lang))
	code, err := readLine(a.stdin)
	if err != nil {
		return appliance.Founded{}, err
	}
	return appliance.InitFrom(cfg, file, code)
}

// joinCommand makes this machine a member of a site and runs it.
func (a *app) joinCommand() *cobra.Command {
	var n node
	c := &cobra.Command{Use: "join TOKEN|-", Short: joinTexts.In(a.lang), Args: cobra.ExactArgs(1)}
	n.flags(a, c, defaultData)
	n.naming(a, c)
	c.RunE = func(c *cobra.Command, args []string) error {
		cfg, err := n.config(a)
		if err != nil {
			return err
		}
		token := args[0]
		if token == "-" {
			if token, err = readLine(a.stdin); err != nil {
				return err
			}
		}
		if err := appliance.Join(c.Context(), cfg, token); err != nil {
			return err
		}
		cfg.DiskReserve = diskReserve
		return appliance.Run(c.Context(), cfg)
	}
	return c
}

// diskReserve is the size, in bytes, of the file that a node of a site gives up
// when its disk is full, so that what is under way can end.
const diskReserve = 64 << 20

// maxLine bounds a line of standard input, in bytes.
const maxLine = 64 << 10

// readLine reads a secret that should not stand in the process list.
func readLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxLine)).ReadString('\n')
	if errors.Is(err, context.Canceled) {
		return "", err
	}
	if err != nil && err != io.EOF {
		return "", tap.Wrap("tamvd.stdin", tap.Invalid, err, "standard input cannot be read")
	}
	return strings.TrimSpace(line), nil
}

// runCommand runs a node that was made by init or join.
func (a *app) runCommand() *cobra.Command {
	var n node
	c := &cobra.Command{Use: "run", Short: runTexts.In(a.lang), Args: cobra.NoArgs}
	n.flags(a, c, defaultData)
	c.Flags().StringVar(&n.Advertise, "advertise", "", advertiseTexts.In(a.lang))
	c.Flags().BoolVar(&n.NewLedgerKey, "new-log-key", false, newLogKeyTexts.In(a.lang))
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := n.config(a)
		if err != nil {
			return err
		}
		cfg.Existing, cfg.DiskReserve = true, diskReserve
		return appliance.Run(c.Context(), cfg)
	}
	return c
}

// recoverCommand makes one surviving node a site of its own again.
func (a *app) recoverCommand() *cobra.Command {
	var n node
	var yes bool
	c := &cobra.Command{Use: "recover", Short: recoverTexts.In(a.lang), Args: cobra.NoArgs}
	n.flags(a, c, defaultData)
	c.Flags().BoolVar(&yes, "majority-is-lost", false, majorityTexts.In(a.lang))
	c.RunE = func(*cobra.Command, []string) error {
		if !yes {
			return tap.E("tamvd.recover", tap.Invalid, "%s", confirmTexts.In(a.lang))
		}
		cfg, err := n.config(a)
		if err != nil {
			return err
		}
		if err := appliance.Recover(cfg); err != nil {
			return err
		}
		fmt.Fprintf(a.stdout, recoveredTexts.In(a.lang), cfg.Data)
		return nil
	}
	return c
}
