package quality

import (
	"context"
	_ "embed" // the held-out passages
	"fmt"
	"strings"

	"tamv.internal/tamv/model"
)

// manual holds the passages of the appliance's manual that training leaves out,
// as the training program wrote them.
//
//go:embed manual.tsv
var manual string

// passage is one of them, each field in English and Spanish.
type passage struct {
	id             string
	title, content [2]string
}

func heldManual() ([]passage, error) { return parseManual(manual) }

// parseManual reads lines of identifier, titles and passages, parted by tabs.
func parseManual(table string) ([]passage, error) {
	var out []passage
	for n, line := range strings.Split(table, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 5 {
			return nil, fmt.Errorf("quality: manual.tsv: line %d has %d columns, want 5", n+1, len(f))
		}
		out = append(out, passage{id: f[0], title: [2]string{f[1], f[2]}, content: [2]string{f[3], f[4]}})
	}
	return out, nil
}

// measureManual looks for each held-out title's passage in both languages.
func measureManual(e model.Embedder) (map[string]Retrieval, error) {
	passages, err := heldManual()
	if err != nil {
		return nil, err
	}
	languages := [2]string{"en", "es"}
	var titles, contents [2][][]float32
	right := make([]int, len(passages))
	for k := range languages {
		var t, c []string
		for i, p := range passages {
			t, c, right[i] = append(t, p.title[k]), append(c, p.content[k]), i
		}
		if titles[k], err = e.Embed(context.Background(), t); err != nil {
			return nil, err
		}
		if contents[k], err = e.Embed(context.Background(), c); err != nil {
			return nil, err
		}
	}
	out := make(map[string]Retrieval)
	for from, asked := range languages {
		for to, answered := range languages {
			out[asked+"-"+answered] = retrieve(titles[from], contents[to], right, e.RelevanceThreshold())
		}
	}
	return out, nil
}
