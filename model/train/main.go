// Command train makes the weights that the engines carry.
//
//	go run ./model/train --data DIR --bitext DIR --manual docs/manual \
//		--out model/weights --held model/quality/manual.tsv
//
// It reads the public sets that may train (see model/weights/PROVENANCE.md) from
// --data, permissively licensed translations from --bitext, the appliance's manual
// from --manual, and the project's own corpus from the source tree. It writes
// static.bin, audit.bin and PROVENANCE.md to --out, the manual's held-out passages
// to the file --held, and nothing else. It uses no clock, no network and one goroutine
// with a fixed seed: the same input gives the same bytes on the same
// architecture.
//
// A tenth of every public set, chosen by a hash of the text, and of the manual, by
// a hash of the passage's identifier, is held out and never trained on;
// model/quality measures on it. Sets that may not train are not
// read at all.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"tamv.internal/tamv/model/dataset"
	"tamv.internal/tamv/model/linear"
	"tamv.internal/tamv/model/static"
	"tamv.internal/tamv/model/train/corpus"
)

func main() {
	var p places
	flag.StringVar(&p.data, "data", "", "folder of the public sets (required)")
	flag.StringVar(&p.bitext, "bitext", "", "folder of unpacked packages with translations (optional)")
	flag.StringVar(&p.manual, "manual", "", "folder of the appliance's manual (optional)")
	flag.StringVar(&p.out, "out", "", "folder for the weights (required)")
	flag.StringVar(&p.held, "held", "", "file for the manual's held-out passages (optional)")
	flag.Parse()
	if err := run(p, defaultSettings, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		os.Exit(1)
	}
}

// places are the folders and files of a run.
type places struct {
	data, bitext, manual, out, held string
}

func run(at places, s settings, log io.Writer) error {
	if at.data == "" || at.out == "" {
		return errors.New("--data and --out are required")
	}
	var prov provenance
	m, held, err := readMaterial(at, &prov)
	if err != nil {
		return err
	}
	weights, err := trainAll(m, s, log)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(at.out, 0o755); err != nil {
		return err
	}
	files := map[string][]byte{
		filepath.Join(at.out, "static.bin"):    weights.static,
		filepath.Join(at.out, "audit.bin"):     weights.audit,
		filepath.Join(at.out, "PROVENANCE.md"): prov.markdown(weights),
	}
	if at.held != "" {
		files[at.held] = heldTable(held)
	}
	for name, content := range files {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(log, "static.bin %d bytes sha256 %s\naudit.bin  %d bytes sha256 %s\n",
		len(weights.static), digest(weights.static), len(weights.audit), digest(weights.audit))
	return nil
}

// settings shape both engines.
type settings struct {
	embedder embedderSettings
	audit    auditSettings
}

// defaultSettings made the weights in model/weights.
var defaultSettings = settings{
	embedder: embedderSettings{
		Dim: 256, Rows: 12500, Common: 1,
		Contrast: contrastive{Steps: 3000, Batch: 128, Temperature: 0.1, Rate: 0.1, Seed: 1},
	},
	audit: auditSettings{Epochs: 8, Rate: 0.1, Folds: 5, Seed: 1},
}

// trained is the result: two files.
type trained struct {
	static, audit []byte
}

func trainAll(m material, s settings, log io.Writer) (trained, error) {
	table := trainEmbedder(m, s.embedder, log)
	if err := setThreshold(&table, m.clinc, log); err != nil {
		return trained{}, err
	}
	audit, err := linear.Pack(trainAudit(m, s.audit, log))
	if err != nil {
		return trained{}, err
	}
	return trained{static: static.Pack(table), audit: audit}, nil
}

// strangerShare is the share of questions without an answer that may find a
// passage above the relevance threshold. A lower one would hide too many answers:
// among the calibration questions about as many are lost as strangers are kept out.
const strangerShare = 0.1

// setThreshold chooses the relevance threshold: CLINC150 utterances, which no
// calibration passage answers, pass it in strangerShare of the cases. It reports
// how many of the calibration questions find their own passage.
func setThreshold(table *static.Table, strangers []dataset.Labeled, log io.Writer) error {
	e, err := static.New(static.Pack(*table))
	if err != nil {
		return err
	}
	english, spanish, err := corpus.Calibration()
	if err != nil {
		return err
	}
	answers := append(english, spanish...)
	questions, passages := make([]string, len(answers)), make([]string, len(answers))
	for i, a := range answers {
		questions[i], passages[i] = a.Question, a.Passage
	}
	ctx := context.Background()
	p, err := e.Embed(ctx, passages)
	if err != nil {
		return err
	}
	q, err := e.Embed(ctx, questions)
	if err != nil {
		return err
	}
	var best []float64
	for _, x := range strangers {
		s, err := e.Embed(ctx, []string{x.Text})
		if err != nil {
			return err
		}
		best = append(best, highest(s[0], p))
	}
	if len(best) == 0 {
		return errors.New("no texts to calibrate the relevance threshold with")
	}
	table.Threshold = float32(quantile(best, 1-strangerShare))
	found := 0
	for i := range q {
		if dot(q[i], p[i]) >= float64(table.Threshold) {
			found++
		}
	}
	fmt.Fprintf(log, "relevance threshold %.3f: %d of %d calibration questions find their passage\n",
		table.Threshold, found, len(q))
	return nil
}

// readMaterial reads what may train, without the held-out tenth, and the part of
// the manual that is held out.
func readMaterial(at places, prov *provenance) (m material, held []passage, err error) {
	data := at.data
	clinc, err := dataset.ReadClinc(data)
	if err != nil {
		return m, nil, err
	}
	banking, err := dataset.ReadBanking(data, dataset.BankingTrainFile)
	if err != nil {
		return m, nil, err
	}
	moderation, err := dataset.ReadModeration(data)
	if err != nil {
		return m, nil, err
	}
	behaviors, err := dataset.ReadBehaviors(data)
	if err != nil {
		return m, nil, err
	}
	for _, name := range []string{dataset.ClincFile, dataset.BankingTrainFile, dataset.ModerationFile, dataset.BehaviorsFile} {
		raw, err := os.ReadFile(filepath.Join(data, name))
		if err != nil {
			return m, nil, err
		}
		prov.source(data, filepath.Join(data, name), raw)
	}
	labeled := func(x dataset.Labeled) string { return x.Text }
	m.clinc, m.clincOthers = seen(clinc.Train, labeled), seen(clinc.Others, labeled)
	m.banking = seen(banking, labeled)
	m.moderation = seen(moderation, func(x dataset.Moderated) string { return x.Text })
	m.behaviors = seen(behaviors, func(x string) string { return x })
	if m.bitext, err = readBitext(at.bitext, prov); err != nil {
		return m, nil, err
	}
	if m.manual, held, err = readManual(at.manual, prov); err != nil {
		return m, nil, err
	}
	if m.own, err = corpus.Texts(); err != nil {
		return m, nil, err
	}
	m.pairs, err = corpus.Pairs()
	return m, held, err
}

// seen returns the texts that are not held out.
func seen[T any](all []T, text func(T) string) []T {
	var out []T
	for _, x := range all {
		if !dataset.HeldOut(text(x)) {
			out = append(out, x)
		}
	}
	return out
}
