// Package corpus holds the training text that the project wrote itself, in
// English and Spanish.
//
// The files are lists of short requests. A line "[harm hate]" gives labels to
// the lines after it, "[none]" says that they are fine, "#" starts a comment,
// and {a|b|c} stands for each of its alternatives in turn, so that a line with
// two groups of three is nine texts. Harmful requests name what is asked and
// never how it is done.
package corpus

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed *.txt *.tsv
var files embed.FS

// Text is one request with its audit labels, none if it is fine.
type Text struct {
	Text   string
	Lang   string // "en" or "es"
	Labels []string
	Group  int // texts with the same number come from the same line
}

// Texts returns every request of the corpus.
func Texts() ([]Text, error) {
	var out []Text
	group := 0
	for _, lang := range []string{"en", "es"} {
		for _, kind := range []string{"benign", "harmful"} {
			name := kind + "." + lang + ".txt"
			raw, err := files.ReadFile(name)
			if err != nil {
				return nil, err
			}
			texts, err := parse(string(raw), lang, &group)
			if err != nil {
				return nil, fmt.Errorf("corpus: %s: %w", name, err)
			}
			out = append(out, texts...)
		}
	}
	return out, nil
}

func parse(raw, lang string, group *int) ([]Text, error) {
	var out []Text
	var labels []string
	inSection := false
	for n, line := range strings.Split(raw, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			labels = strings.Fields(strings.Trim(line, "[]"))
			if len(labels) == 1 && labels[0] == "none" {
				labels = nil
			}
			inSection = true
		case !inSection:
			return nil, fmt.Errorf("line %d comes before the first section", n+1)
		default:
			texts, err := expand(line)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n+1, err)
			}
			for _, text := range texts {
				out = append(out, Text{Text: text, Lang: lang, Labels: labels, Group: *group})
			}
			*group++
		}
	}
	return out, nil
}

// expand returns the texts that a line with {a|b} groups stands for.
func expand(line string) ([]string, error) {
	open := strings.IndexByte(line, '{')
	if open < 0 {
		if strings.ContainsAny(line, "}|") {
			return nil, fmt.Errorf("unbalanced braces")
		}
		return []string{line}, nil
	}
	size := strings.IndexByte(line[open:], '}')
	if size < 0 {
		return nil, fmt.Errorf("unbalanced braces")
	}
	tails, err := expand(line[open+size+1:])
	if err != nil {
		return nil, err
	}
	var out []string
	for _, choice := range strings.Split(line[open+1:open+size], "|") {
		for _, tail := range tails {
			out = append(out, line[:open]+choice+tail)
		}
	}
	return out, nil
}

// Pair is the same sentence in English and Spanish.
type Pair struct {
	English, Spanish string
}

// Pairs returns the aligned sentences.
func Pairs() ([]Pair, error) {
	rows, err := table("pairs.tsv", 2)
	if err != nil {
		return nil, err
	}
	out := make([]Pair, 0, len(rows))
	for _, row := range rows {
		out = append(out, Pair{English: row[0], Spanish: row[1]})
	}
	return out, nil
}

// Answer is a question and the passage that answers it.
type Answer struct {
	Question, Passage string
}

// Calibration returns questions with their passages in English and Spanish, in
// the same order. Nothing is trained on them: the embedder's relevance
// threshold is read from them.
func Calibration() (english, spanish []Answer, err error) {
	rows, err := table("calibration.tsv", 4)
	if err != nil {
		return nil, nil, err
	}
	for _, row := range rows {
		english = append(english, Answer{Question: row[0], Passage: row[1]})
		spanish = append(spanish, Answer{Question: row[2], Passage: row[3]})
	}
	return english, spanish, nil
}

func table(name string, columns int) ([][]string, error) {
	raw, err := files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for n, line := range strings.Split(string(raw), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		row := strings.Split(line, "\t")
		if len(row) != columns {
			return nil, fmt.Errorf("corpus: %s: line %d has %d columns, want %d", name, n+1, len(row), columns)
		}
		rows = append(rows, row)
	}
	return rows, nil
}
