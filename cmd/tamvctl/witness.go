package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/cmd/tamvctl/durable"
	"tamv.internal/tamv/cmd/tamvctl/witness"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// Codes of a witness's refusals, besides codeSplitView and codeBroken.
const (
	codeUnknownLog = "unknown_log"      // NotFound: no key of that log is trusted
	codeStale      = "stale_checkpoint" // Refused: the request starts from another size
	codeLocked     = "locked"           // Unavailable: another process has the folder
	codeWitness    = "witness_folder"   // Invalid: no witness's folder, or a damaged one
)

func (a *app) witnessCommand() *cobra.Command {
	return a.group("witness", textWitness, a.witnessInit(), a.witnessTrust(), a.witnessCosign(), a.witnessShow())
}

// witnessError gives an error of a witness's folder its kind.
func witnessError(err error) error {
	var conflict *witness.ConflictError
	e := tap.E("tamvctl.witness", tap.Invalid, "%v", err).WithCode(codeInput)
	var refused *bookpi.RefusedError
	switch {
	case errors.As(err, &conflict) && errors.Is(err, bookpi.ErrSplitView):
		e.Kind, e.Code = tap.Conflict, codeSplitView
		e.WithDetail("file", conflict.File)
	case errors.Is(err, durable.ErrLocked):
		e.Kind, e.Code = tap.Unavailable, codeLocked
	case errors.Is(err, witness.ErrFolder):
		e.Code = codeWitness
	case errors.Is(err, bookpi.ErrUnknownLog):
		e.Kind, e.Code = tap.NotFound, codeUnknownLog
	case errors.Is(err, bookpi.ErrUnsigned), errors.Is(err, bookpi.ErrProof):
		e.Kind, e.Code = tap.Unauthenticated, codeBroken
		if conflict != nil {
			e.WithDetail("file", conflict.File)
		}
	case errors.Is(err, bookpi.ErrStale), errors.Is(err, bookpi.ErrSmaller):
		e.Kind, e.Code = tap.Refused, codeStale
		if errors.As(err, &refused) {
			e.WithDetail("size", refused.Size)
		}
	case errors.As(err, &refused), errors.Is(err, bookpi.ErrKey):
	default:
		return fileError(err)
	}
	return e
}

// witnessKeys are a witness's public keys.
type witnessKeys struct {
	Name   string   `json:"name"`
	Folder string   `json:"folder"`
	Keys   []string `json:"verifierKeys"`
}

func keyTexts(keys []bookpi.VerifierKey) []string {
	texts := make([]string, len(keys))
	for i, k := range keys {
		texts[i] = k.String()
	}
	return texts
}

func (a *app) witnessInit() *cobra.Command {
	return a.verb("init NAME DIR", textWitnessInit, cobra.ExactArgs(2), func(_ context.Context, args []string) error {
		keys, err := witness.Init(a.path(args[1]), args[0], rand.Reader)
		if err != nil {
			return witnessError(err)
		}
		v := witnessKeys{args[0], args[1], keyTexts(keys)}
		return a.printValue(v, func(t *table) {
			for _, k := range v.Keys {
				t.line(k)
			}
		})
	})
}

func (a *app) witnessTrust() *cobra.Command {
	return a.verb("trust DIR LOGKEY|@FILE", textWitnessTrust, cobra.ExactArgs(2), func(_ context.Context, args []string) error {
		raw, err := a.argument(args[1])
		if err != nil {
			return err
		}
		w, err := witness.Open(a.path(args[0]))
		if err != nil {
			return witnessError(err)
		}
		defer w.Close()
		keys, err := logKeysIn(raw, w.Logs())
		if err != nil {
			return err
		}
		added, err := w.Trust(keys...)
		if err != nil {
			return witnessError(err)
		}
		v := struct {
			Added []string `json:"added"`
			Logs  []string `json:"logs"`
		}{keyTexts(added), keyTexts(w.Logs())}
		return a.printValue(v, func(t *table) {
			t.head(textLog, textAlgorithm, textKeyID)
			for _, k := range w.Logs() {
				t.row(k.Name(), k.Algorithm().String(), k.ID())
			}
		})
	})
}

// logKeysIn reads log keys, one a line, or a log's key history, which somebody who
// trusts one of its keys may believe.
func logKeysIn(raw []byte, trusted []bookpi.VerifierKey) ([]bookpi.VerifierKey, error) {
	if strings.HasPrefix(string(raw), "tamv-log-keys/") {
		for _, known := range trusted {
			history, err := bookpi.OpenKeyHistory(raw, known)
			if err != nil {
				continue
			}
			var keys []bookpi.VerifierKey
			for _, r := range history.Records {
				keys = append(keys, r.Keys...)
			}
			return keys, nil
		}
		return nil, tap.E("tamvctl.witness", tap.Unauthenticated, "no trusted key vouches for this key history").WithCode(codeBroken)
	}
	var keys []bookpi.VerifierKey
	for line := range strings.Lines(strings.TrimSpace(string(raw))) {
		key, err := bookpi.ParseVerifierKey(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, badInput("%v", err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, badInput("no key is given")
	}
	return keys, nil
}

// cosignedRequest is what became of a request to a witness.
type cosignedRequest struct {
	Request      string `json:"request"`
	Log          string `json:"log"`
	Size         uint64 `json:"ledgerSize"`
	Root         string `json:"root"`
	File         string `json:"file,omitempty"`
	Cosignatures string `json:"cosignatures"`
}

func (a *app) witnessCosign() *cobra.Command {
	var out string
	var qr string
	c := a.verb("cosign DIR REQUEST|PICTURE... [--out FILE|DIR|-] [--qr DIR|-]", textWitnessCosign, cobra.MinimumNArgs(2), func(_ context.Context, args []string) error {
		requests, err := a.carried(args[1:], textRequestFile)
		if err != nil {
			return err
		}
		if out == "-" && qr == "-" || len(requests) > 1 && qr != "" {
			return usage("--qr draws one answer, and standard output takes one thing")
		}
		w, err := witness.Open(a.path(args[0]))
		if err != nil {
			return witnessError(err)
		}
		defer w.Close()
		return a.cosignAll(w, requests, out, qr)
	})
	c.Flags().StringVar(&out, "out", "", textFlagCosignOut.In(a.lang))
	c.Flags().StringVar(&qr, "qr", "", textFlagQR.In(a.lang))
	return c
}

// cosignAll answers every request; the error is of the first that was refused, after
// the others were answered.
func (a *app) cosignAll(w *witness.Folder, requests []carriedFile, out, qr string) error {
	var answered []cosignedRequest
	var first error
	for _, r := range requests {
		v, err := a.cosignOne(w, r, out, qr, len(requests) > 1)
		switch {
		case err == nil:
			answered = append(answered, v)
		case first == nil:
			first = err
		default:
			fmt.Fprintf(a.errOut, "%s: %s\n", r.name, oneLine(tap.AsError(err).Message))
		}
	}
	if first != nil && tap.AsError(first).StableCode() == codeSplitView {
		fmt.Fprintf(a.errOut, "*** %s ***\n", textSplitViewLoud.In(a.lang))
	}
	if len(answered) == 0 || out == "-" || qr == "-" {
		return first
	}
	return errors.Join(first, a.printValue(answered, func(t *table) {
		t.head(textRequest, textLog, textLedgerSize, textFile)
		for _, v := range answered {
			t.row(v.Request, v.Log, fmt.Sprint(v.Size), v.File)
		}
		if out == "" && qr == "" {
			for _, v := range answered {
				t.line("")
				t.paragraph(v.Cosignatures)
			}
		}
	}))
}

// cosignOne answers one request.
func (a *app) cosignOne(w *witness.Folder, r carriedFile, out, qr string, several bool) (cosignedRequest, error) {
	done, err := w.Cosign(r.data, time.Now())
	if err != nil {
		return cosignedRequest{}, witnessError(err)
	}
	v := cosignedRequest{
		Request: r.name, Log: done.Checkpoint.Origin, Size: done.Checkpoint.Size, Root: done.Checkpoint.Root.String(),
		Cosignatures: string(done.Lines),
	}
	switch {
	case out == "-":
		if _, err := a.out.Write(done.Lines); err != nil {
			return v, fileError(err)
		}
	case out != "":
		v.File = out
		if info, err := os.Stat(a.path(out)); err == nil && info.IsDir() {
			v.File = filepath.Join(out, filepath.Base(r.name)+".cosignatures")
		} else if several {
			return v, usage("--out must be a folder when there are several requests")
		}
		if err := writeFile(a.path(v.File), done.Lines); err != nil {
			return v, err
		}
	}
	if qr != "" {
		return v, a.drawFrames(done.Lines, qr)
	}
	return v, nil
}

// witnessState is what a witness knows.
type witnessState struct {
	Name      string       `json:"name"`
	Keys      []string     `json:"verifierKeys"`
	Logs      []witnessLog `json:"logs"`
	Conflicts []string     `json:"conflicts"`
}

type witnessLog struct {
	Log  string   `json:"log"`
	Keys []string `json:"verifierKeys"`
	Size uint64   `json:"ledgerSize"` // that it cosigned last; 0 if none
	Root string   `json:"root,omitempty"`
}

func (a *app) witnessShow() *cobra.Command {
	return a.verb("show DIR", textWitnessShow, cobra.ExactArgs(1), func(_ context.Context, args []string) error {
		w, err := witness.Open(a.path(args[0]))
		if err != nil {
			return witnessError(err)
		}
		defer w.Close()
		v := witnessState{Name: w.Keys()[0].Name(), Keys: keyTexts(w.Keys()), Logs: []witnessLog{}}
		places := map[string]int{}
		for _, k := range w.Logs() {
			i, seen := places[k.Name()]
			if !seen {
				record, err := w.Record(k.Name())
				if err != nil {
					return witnessError(err)
				}
				l := witnessLog{Log: k.Name(), Size: record.Size}
				if record.Size > 0 {
					l.Root = record.Root.String()
				}
				i = len(v.Logs)
				places[k.Name()], v.Logs = i, append(v.Logs, l)
			}
			v.Logs[i].Keys = append(v.Logs[i].Keys, k.String())
		}
		if v.Conflicts, err = w.Conflicts(); err != nil {
			return witnessError(err)
		}
		return a.printValue(v, v.draw)
	})
}

func (v witnessState) draw(t *table) {
	t.field(textWitnessName, v.Name)
	for _, k := range v.Keys {
		t.field(textVerifierKey, k)
	}
	t.line("")
	t.head(textLog, textLedgerSize, textMerkleRoot)
	for _, l := range v.Logs {
		t.row(l.Log, fmt.Sprint(l.Size), l.Root)
	}
	for _, c := range v.Conflicts {
		t.line(textConflict.In(t.lang) + ": " + c)
	}
}
