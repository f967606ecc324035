package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/store/bookpi"
)

const (
	anchorsPath   = evidencePath + "/anchors"
	witnessesPath = evidencePath + "/witnesses"
)

// knownWitness is a witness as the appliance shows it.
type knownWitness struct {
	Name         string               `json:"name"`
	Keys         []bookpi.VerifierKey `json:"keys"`
	Size         uint64               `json:"size"`
	Time         string               `json:"time"`
	EntriesSince uint64               `json:"entriesSince"`
}

// anchored is a checkpoint that witnesses cosigned.
type anchored struct {
	Size      uint64   `json:"size"`
	Root      string   `json:"root"`
	Witnesses []string `json:"witnesses"`
	New       []string `json:"new"`
	Duplicate bool     `json:"duplicate"`
}

// anchorList is who saw what.
type anchorList struct {
	Size      uint64         `json:"size"`
	Quorum    int            `json:"quorum"`
	Anchored  uint64         `json:"anchored"`
	Witnesses []knownWitness `json:"witnesses"`
	Anchors   []anchored     `json:"anchors"`
}

func (v anchorList) draw(t *table) {
	t.field(textLedgerSize, fmt.Sprint(v.Size))
	t.field(textAnchored, fmt.Sprintf("%d (-%d)", v.Anchored, v.Size-min(v.Size, v.Anchored)))
	t.field(textQuorum, fmt.Sprint(v.Quorum))
	t.line("")
	t.drawWitnesses(v.Witnesses)
	if len(v.Anchors) == 0 {
		return
	}
	t.line("")
	t.head(textLedgerSize, textMerkleRoot, textCosignedBy)
	for _, c := range v.Anchors {
		t.row(fmt.Sprint(c.Size), c.Root, strings.Join(c.Witnesses, " "))
	}
}

func (t *table) drawWitnesses(all []knownWitness) {
	t.head(textWitnessName, textSeen, textTime, textSince, textAlgorithm)
	for _, w := range all {
		var algorithms []string
		for _, k := range w.Keys {
			algorithms = append(algorithms, k.Algorithm().String())
		}
		t.row(w.Name, fmt.Sprint(w.Size), w.Time, fmt.Sprint(w.EntriesSince), strings.Join(algorithms, " "))
	}
}

func (a *app) evidenceAnchors() *cobra.Command {
	c := a.group("anchors", textAnchors, a.anchorsRequest(), a.anchorsAdd(), a.verb("list", textAnchorsList, cobra.NoArgs, a.listAnchors))
	c.RunE = func(c *cobra.Command, _ []string) error { return a.listAnchors(c.Context(), nil) }
	return c
}

func (a *app) listAnchors(ctx context.Context, _ []string) error {
	return show(ctx, a, ask{path: anchorsPath}, func(t *table, v anchorList) { v.draw(t) })
}

func (a *app) anchorsRequest() *cobra.Command {
	var out, qr, old string
	c := a.verb("request WITNESS (--out FILE|- | --qr DIR|-) [--old N]", textAnchorsRequest, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		reply, err := a.request(ctx, ask{path: anchorsPath + "/" + url.PathEscape(args[0]) + "/request", query: filled("old", old)})
		if err != nil {
			return err
		}
		if qr != "" {
			return a.drawFrames(reply.Body, qr)
		}
		if out == "-" {
			_, err := a.out.Write(reply.Body)
			return err
		}
		r, err := bookpi.ParseAddCheckpointRequest(reply.Body)
		if err != nil {
			return badInput("the appliance's answer: %v", err)
		}
		if err := writeFile(a.path(out), reply.Body); err != nil {
			return err
		}
		v := struct {
			File    string `json:"file"`
			Bytes   int    `json:"bytes"`
			Log     string `json:"log"`
			OldSize uint64 `json:"oldSize"`
			Size    uint64 `json:"ledgerSize"`
		}{out, len(reply.Body), r.Claimed.Origin, r.OldSize, r.Claimed.Size}
		return a.printValue(v, func(t *table) {
			t.field(textFile, v.File)
			t.field(textBytes, fmt.Sprint(v.Bytes))
			t.field(textLog, v.Log)
			t.field(textLedgerSize, fmt.Sprintf("%d -> %d", v.OldSize, v.Size))
		})
	})
	c.Flags().StringVar(&out, "out", "", textFlagOut.In(a.lang))
	c.Flags().StringVar(&qr, "qr", "", textFlagQR.In(a.lang))
	c.Flags().StringVar(&old, "old", "", textFlagOld.In(a.lang))
	c.MarkFlagsOneRequired("out", "qr")
	c.MarkFlagsMutuallyExclusive("out", "qr")
	return c
}

func (a *app) anchorsAdd() *cobra.Command {
	var request string
	c := a.verb("add FILE|PICTURE... [--request FILE]", textAnchorsAdd, cobra.MinimumNArgs(1), func(ctx context.Context, args []string) error {
		files, err := a.carried(args, textCosignatureFile)
		if err != nil {
			return err
		}
		checkpoint := ""
		if request != "" {
			if checkpoint, err = a.requestCheckpoint(request); err != nil {
				return err
			}
		}
		var taken []anchored
		for _, f := range files {
			body := map[string]string{"cosignatures": string(f.data)}
			if checkpoint != "" {
				body["checkpoint"] = checkpoint
			}
			reply, err := a.request(ctx, ask{method: http.MethodPost, path: anchorsPath, body: body})
			if err != nil {
				return err
			}
			var v anchored
			if err := reply.Decode(&v); err != nil {
				return err
			}
			taken = append(taken, v)
		}
		return a.printValue(taken, func(t *table) {
			t.head(textLedgerSize, textMerkleRoot, textCosignedBy, textDuplicate)
			for _, v := range taken {
				t.row(fmt.Sprint(v.Size), v.Root, strings.Join(v.New, " "), yesNo(t, v.Duplicate))
			}
		})
	})
	c.Flags().StringVar(&request, "request", "", textFlagRequestFile.In(a.lang))
	return c
}

// requestCheckpoint is the checkpoint of a courier's request, or a checkpoint's file
// itself.
func (a *app) requestCheckpoint(name string) (string, error) {
	raw, err := a.readFile(name)
	if err != nil {
		return "", err
	}
	if r, err := bookpi.ParseAddCheckpointRequest(raw); err == nil {
		return string(r.Checkpoint), nil
	}
	if _, err := bookpi.ParseCheckpoint(raw); err != nil {
		return "", badInput("%s is neither a request to a witness nor a checkpoint", name)
	}
	return string(raw), nil
}

func (a *app) evidenceWitness() *cobra.Command {
	return a.group("witness", textSiteWitness,
		a.verb("add KEY|@FILE", textSiteWitnessAdd, cobra.ExactArgs(1), a.addWitness),
		a.verb("remove NAME", textSiteWitnessRemove, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
			return show(ctx, a, ask{method: http.MethodDelete, path: witnessesPath + "/" + url.PathEscape(args[0])}, func(t *table, v knownWitness) {
				t.drawWitnesses([]knownWitness{v})
			})
		}),
		a.verb("list", textSiteWitnessList, cobra.NoArgs, func(ctx context.Context, _ []string) error {
			return show(ctx, a, ask{path: anchorsPath}, func(t *table, v anchorList) { t.drawWitnesses(v.Witnesses) })
		}))
}

// addWitness registers each key that is given, one a line: a witness has one of each
// algorithm.
func (a *app) addWitness(ctx context.Context, args []string) error {
	raw, err := a.argument(args[0])
	if err != nil {
		return err
	}
	var keys []string
	for line := range strings.Lines(strings.TrimSpace(string(raw))) {
		key, err := bookpi.ParseVerifierKey(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return badInput("%v", err)
		}
		keys = append(keys, key.String())
	}
	if len(keys) == 0 {
		return badInput("no key is given")
	}
	var last knownWitness
	for _, key := range keys {
		reply, err := a.request(ctx, ask{method: http.MethodPost, path: witnessesPath, body: map[string]string{"key": key}})
		if err != nil {
			return err
		}
		if err := reply.Decode(&last); err != nil {
			return err
		}
	}
	return a.printValue(last, func(t *table) { t.drawWitnesses([]knownWitness{last}) })
}
