// Package dataset reads the public sets on which the engines are trained and
// measured. Every reader takes the folder that holds them; nothing is
// downloaded. Which sets may train is the caller's business and is written down
// in model/weights/PROVENANCE.md.
package dataset

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"tamv.internal/tamv/model"
)

// Files that the readers look for in their folder.
const (
	ClincFile         = "clinc150_full.json"
	BankingTrainFile  = "banking77_train.csv"
	BankingTestFile   = "banking77_test.csv"
	ModerationFile    = "openai_moderation_1680.jsonl"
	BehaviorsFile     = "advbench_behaviors.csv"
	OutOfScope        = "oos" // the class of texts beyond the 150 intents
	maxModerationLine = 1 << 20
)

// HeldOut says whether a text belongs to the tenth that training never sees. It
// depends on nothing but the text, so it is the same in every program and a
// text that occurs in two sets is held out of both.
func HeldOut(text string) bool {
	sum := sha256.Sum256([]byte(text))
	return (uint(sum[0])<<8|uint(sum[1]))%10 == 0
}

// ManualHeldOut says the same of a passage of the appliance's manual, by its
// identifier: both languages are held out together, whatever their wording.
func ManualHeldOut(id string) bool { return HeldOut("manual " + id) }

// Labeled is a text with its class.
type Labeled struct {
	Text, Class string
}

// Clinc is the CLINC150 intent set. Out-of-scope texts have the class "oos".
type Clinc struct {
	Train, Test, OutOfScope []Labeled
	// Others are the texts of the validation split and the out-of-scope texts that
	// are not for testing.
	Others []Labeled
}

// ReadClinc reads CLINC150; OutOfScope is the out-of-scope test split.
func ReadClinc(dir string) (Clinc, error) {
	var splits map[string][][2]string
	if err := readJSON(dir, ClincFile, &splits); err != nil {
		return Clinc{}, err
	}
	take := func(name string) []Labeled {
		out := make([]Labeled, 0, len(splits[name]))
		for _, row := range splits[name] {
			out = append(out, Labeled{Text: row[0], Class: row[1]})
		}
		return out
	}
	c := Clinc{Train: take("train"), Test: take("test"), OutOfScope: take("oos_test")}
	for _, name := range []string{"val", "oos_train", "oos_val"} {
		c.Others = append(c.Others, take(name)...)
	}
	if len(c.Train) == 0 || len(c.Test) == 0 {
		return Clinc{}, fmt.Errorf("dataset: %s has no train or no test split", ClincFile)
	}
	return c, nil
}

// ReadBanking reads a split of BANKING77, BankingTrainFile or BankingTestFile.
func ReadBanking(dir, file string) ([]Labeled, error) {
	rows, err := readCSV(dir, file, 2)
	if err != nil {
		return nil, err
	}
	out := make([]Labeled, 0, len(rows))
	for _, row := range rows[1:] {
		out = append(out, Labeled{Text: row[0], Class: row[1]})
	}
	return out, nil
}

// ReadBehaviors reads AdvBench's harmful behaviours.
func ReadBehaviors(dir string) ([]string, error) {
	rows, err := readCSV(dir, BehaviorsFile, 1)
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, len(rows))
	for _, row := range rows[1:] {
		out = append(out, row[0])
	}
	return out, nil
}

// Moderated is a text of the moderation set. A label that the annotators left
// out is absent from Labels: unknown, not false.
type Moderated struct {
	Text   string
	Labels map[string]bool
}

// Flagged reports whether any label is set.
func (m Moderated) Flagged() bool {
	for _, on := range m.Labels {
		if on {
			return true
		}
	}
	return false
}

// ReadModeration reads OpenAI's moderation evaluation set. Its eight columns
// become six labels of the audit, the more specific columns folded into the
// general ones, and "minors" for sexual content with minors.
func ReadModeration(dir string) ([]Moderated, error) {
	raw, err := os.ReadFile(filepath.Join(dir, ModerationFile))
	if err != nil {
		return nil, fmt.Errorf("dataset: %w", err)
	}
	columns := map[string][]string{
		"S": {model.LabelSexual}, "S3": {model.LabelSexual, LabelMinors},
		"H": {model.LabelHate}, "H2": {model.LabelHate},
		"V": {model.LabelViolence}, "V2": {model.LabelViolence},
		"HR": {model.LabelHarassment}, "SH": {model.LabelSelfHarm},
	}
	var out []Moderated
	decoder := json.NewDecoder(bytes.NewReader(raw))
	for {
		var row map[string]any
		if err := decoder.Decode(&row); err == io.EOF {
			return out, nil
		} else if err != nil {
			return nil, fmt.Errorf("dataset: %s: %w", ModerationFile, err)
		}
		text, ok := row["prompt"].(string)
		if !ok || len(text) > maxModerationLine {
			return nil, fmt.Errorf("dataset: %s: row %d has no usable prompt", ModerationFile, len(out)+1)
		}
		m := Moderated{Text: text, Labels: make(map[string]bool)}
		for column, labels := range columns {
			if value, known := row[column].(float64); known {
				for _, label := range labels {
					m.Labels[label] = m.Labels[label] || value != 0
				}
			}
		}
		out = append(out, m)
	}
}

// LabelMinors marks sexual content with minors in the moderation set.
const LabelMinors = "minors"

// Similar is a pair of sentences with a human judgement of their similarity,
// from 0 (unrelated) to 5 (equivalent).
type Similar struct {
	A, B  string
	Score float64
}

// ReadSimilarity reads the development split of STS-B in a language, "en" or "es".
func ReadSimilarity(dir, lang string) ([]Similar, error) {
	rows, err := readCSV(dir, "stsb-"+lang+"-dev.csv", 3)
	if err != nil {
		return nil, err
	}
	out := make([]Similar, 0, len(rows))
	for i, row := range rows {
		score, err := strconv.ParseFloat(row[2], 64)
		if err != nil {
			return nil, fmt.Errorf("dataset: stsb-%s-dev.csv: row %d: %w", lang, i+1, err)
		}
		out = append(out, Similar{A: row[0], B: row[1], Score: score})
	}
	return out, nil
}

// Question asks for something that paragraph number Paragraph answers.
type Question struct {
	Text      string
	Paragraph int
}

// ReadXQuAD reads the paragraphs and questions of XQuAD in a language, "en" or
// "es". The same positions hold the same content in both languages.
func ReadXQuAD(dir, lang string) (paragraphs []string, questions []Question, err error) {
	var file struct {
		Data []struct {
			Paragraphs []struct {
				Context string
				QAs     []struct{ Question string }
			}
		}
	}
	if err := readJSON(dir, "xquad-first-half."+lang+".json", &file); err != nil {
		return nil, nil, err
	}
	for _, article := range file.Data {
		for _, p := range article.Paragraphs {
			for _, qa := range p.QAs {
				questions = append(questions, Question{Text: qa.Question, Paragraph: len(paragraphs)})
			}
			paragraphs = append(paragraphs, p.Context)
		}
	}
	return paragraphs, questions, nil
}

func readJSON(dir, file string, into any) error {
	raw, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return fmt.Errorf("dataset: %w", err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("dataset: %s: %w", file, err)
	}
	return nil
}

// readCSV reads a whole file, of which every row has at least the given columns.
func readCSV(dir, file string, columns int) ([][]string, error) {
	f, err := os.Open(filepath.Join(dir, file))
	if err != nil {
		return nil, fmt.Errorf("dataset: %w", err)
	}
	defer f.Close()
	reader := csv.NewReader(f)
	reader.FieldsPerRecord = -1
	rows, err := reader.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", file, err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("dataset: %s is empty", file)
	}
	for i, row := range rows {
		if len(row) < columns {
			return nil, fmt.Errorf("dataset: %s: row %d has %d columns, want %d", file, i+1, len(row), columns)
		}
	}
	return rows, nil
}
