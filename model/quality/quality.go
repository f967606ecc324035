// Package quality measures the engines that ship in the binary on public sets
// and on the project's own probe sentences.
//
// Measure reads a folder with the files that model/dataset names, trains nothing
// that ships, and returns figures that another run on the same machine repeats,
// speed excepted. Markdown renders them for docs/QUALITY.md.
package quality

import (
	"context"
	"math"
	"slices"
	"time"

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/model/dataset"
	"tamv.internal/tamv/model/linear"
	"tamv.internal/tamv/model/static"
)

// Report holds all figures.
type Report struct {
	Embedder Embedding `json:"embedder"`
	Audit    Audit     `json:"audit"`
	Intent   Intent    `json:"intent"`
	Speed    Speed     `json:"speed"`
}

// Embedding is the embedder's quality.
type Embedding struct {
	ID        string  `json:"id"`
	Dim       int     `json:"dim"`
	Threshold float32 `json:"relevance_threshold"`
	// Spearman's correlation of cosine and human judgement, STS-B development
	// split, by language.
	Similarity map[string]float64 `json:"sts_dev_spearman"`
	// Questions of XQuAD among its paragraphs, by language.
	Retrieval map[string]Retrieval `json:"xquad_paragraphs"`
	// Spanish questions of XQuAD among the English ones.
	CrossLingual Retrieval `json:"xquad_questions_es_en"`
	// Titles of the manual's held-out passages among those passages, by the
	// languages of title and passage, such as "es-en".
	Manual map[string]Retrieval `json:"manual_passages"`
}

// Retrieval says how often the right one of some candidates came first.
type Retrieval struct {
	Queries    int     `json:"queries"`
	Candidates int     `json:"candidates"`
	At1        float64 `json:"recall_at_1"`
	At5        float64 `json:"recall_at_5"`
	// Above is the share of queries whose right candidate passes the relevance
	// threshold.
	Above float64 `json:"right_one_above_threshold"`
}

// Audit is the audit classifier's quality.
type Audit struct {
	ID string `json:"id"`
	// Mixed: flagged held-out moderation texts and held-out AdvBench requests
	// against unflagged held-out moderation texts and held-out CLINC150 and
	// BANKING77 test utterances, by the "flagged" score.
	Mixed Detection `json:"mixed"`
	// Moderation: held-out moderation texts alone.
	Moderation Detection `json:"moderation_only"`
	// MixedHarm is Mixed by the "harm" score, the one that refuses.
	MixedHarm Detection `json:"mixed_by_harm"`
	// Fine: the test splits of CLINC150 and BANKING77, whole.
	Fine Stopped `json:"fine"`
	// Beyond: CLINC150's out-of-scope test texts, nearly all of them harmless.
	Beyond Stopped `json:"beyond_scope"`
	// Titles: the manual's held-out titles, all harmless.
	Titles Stopped `json:"manual_titles"`
	// Harmful: held-out AdvBench requests.
	Harmful Stopped `json:"harmful"`
	// Probes were looked at while the corpus grew, Unseen after it was final.
	Probes Probes `json:"probes"`
	Unseen Probes `json:"unseen_probes"`
}

// Stopped says what share of some texts the lowest learned principle keeps from
// being answered at once.
type Stopped struct {
	Texts   int     `json:"texts"`
	Held    float64 `json:"held_share"`    // below 0.7: looked at or refused
	Refused float64 `json:"refused_share"` // below 0.3
}

// Speed is the time of one call on one core, in microseconds.
type Speed struct {
	EmbedMicros    float64 `json:"embed_12_words_us"`
	ClassifyMicros float64 `json:"classify_12_words_us"`
}

// Measure computes every figure from the sets in dir.
func Measure(dir string) (Report, error) {
	embedder, err := static.Default()
	if err != nil {
		return Report{}, err
	}
	classifier, err := linear.Default()
	if err != nil {
		return Report{}, err
	}
	var r Report
	if r.Embedder, err = measureEmbedder(embedder, dir); err != nil {
		return Report{}, err
	}
	if r.Audit, err = measureAudit(classifier, dir); err != nil {
		return Report{}, err
	}
	if r.Intent, err = measureIntent(dir); err != nil {
		return Report{}, err
	}
	r.Speed = measureSpeed(embedder, classifier)
	return r, nil
}

func measureEmbedder(e model.Embedder, dir string) (Embedding, error) {
	ctx := context.Background()
	r := Embedding{
		ID: e.ID(), Dim: e.Dim(), Threshold: e.RelevanceThreshold(),
		Similarity: make(map[string]float64), Retrieval: make(map[string]Retrieval),
	}
	questions := make(map[string][][]float32)
	for _, lang := range []string{"en", "es"} {
		pairs, err := dataset.ReadSimilarity(dir, lang)
		if err != nil {
			return r, err
		}
		var ours, theirs []float64
		for _, p := range pairs {
			rows, err := e.Embed(ctx, []string{p.A, p.B})
			if err != nil {
				return r, err
			}
			ours, theirs = append(ours, cosine(rows[0], rows[1])), append(theirs, p.Score)
		}
		r.Similarity[lang] = Spearman(ours, theirs)

		paragraphs, qs, err := dataset.ReadXQuAD(dir, lang)
		if err != nil {
			return r, err
		}
		texts, right := make([]string, len(qs)), make([]int, len(qs))
		for i, q := range qs {
			texts[i], right[i] = q.Text, q.Paragraph
		}
		rows, err := e.Embed(ctx, paragraphs)
		if err != nil {
			return r, err
		}
		if questions[lang], err = e.Embed(ctx, texts); err != nil {
			return r, err
		}
		r.Retrieval[lang] = retrieve(questions[lang], rows, right, e.RelevanceThreshold())
	}
	same := make([]int, len(questions["es"]))
	for i := range same {
		same[i] = i
	}
	r.CrossLingual = retrieve(questions["es"], questions["en"], same, e.RelevanceThreshold())
	var err error
	r.Manual, err = measureManual(e)
	return r, err
}

// retrieve ranks all candidates for each query; right names the one sought.
func retrieve(queries, candidates [][]float32, right []int, threshold float32) Retrieval {
	r := Retrieval{Queries: len(queries), Candidates: len(candidates)}
	var at1, at5, above int
	for i, q := range queries {
		want := cosine(q, candidates[right[i]])
		before := 0
		for j, c := range candidates {
			if j != right[i] && cosine(q, c) >= want {
				before++
			}
		}
		if before == 0 {
			at1++
		}
		if before < 5 {
			at5++
		}
		if want >= float64(threshold) {
			above++
		}
	}
	n := float64(max(1, len(queries)))
	r.At1, r.At5, r.Above = float64(at1)/n, float64(at5)/n, float64(above)/n
	return r
}

func cosine(a, b []float32) float64 {
	sum := 0.0
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

// judged is a text with what the audit should say and what it said.
type judged struct {
	harmful       bool
	harm, flagged float64
	audit         float64 // the lowest learned principle
}

func measureAudit(c model.Classifier, dir string) (Audit, error) {
	r := Audit{ID: c.ID()}
	moderation, err := dataset.ReadModeration(dir)
	if err != nil {
		return r, err
	}
	behaviors, err := dataset.ReadBehaviors(dir)
	if err != nil {
		return r, err
	}
	clinc, err := dataset.ReadClinc(dir)
	if err != nil {
		return r, err
	}
	banking, err := dataset.ReadBanking(dir, dataset.BankingTestFile)
	if err != nil {
		return r, err
	}
	fine := slices.Concat(clinc.Test, banking)
	manual, err := heldManual()
	if err != nil {
		return r, err
	}
	j := judge{classifier: c}
	var moderated, harmful, everyday, utterances, beyond, titles []judged
	for _, x := range moderation {
		j.heldOut(&moderated, x.Text, x.Flagged())
	}
	for _, x := range behaviors {
		j.heldOut(&harmful, x, true)
	}
	for _, x := range fine {
		j.heldOut(&everyday, x.Text, false)
		j.add(&utterances, x.Text, false)
	}
	for _, x := range clinc.OutOfScope {
		j.add(&beyond, x.Text, false)
	}
	for _, p := range manual {
		for _, title := range p.title {
			j.add(&titles, title, false)
		}
	}
	if j.err != nil {
		return r, j.err
	}
	mixed := slices.Concat(moderated, harmful, everyday)
	byFlagged := func(j judged) float64 { return j.flagged }
	byHarm := func(j judged) float64 { return j.harm }
	r.Mixed, r.MixedHarm = detectBy(mixed, byFlagged), detectBy(mixed, byHarm)
	r.Moderation = detectBy(moderated, byFlagged)
	r.Fine, r.Beyond, r.Titles, r.Harmful = stopped(utterances), stopped(beyond), stopped(titles), stopped(harmful)
	if r.Probes, err = runProbes(c, probes); err != nil {
		return r, err
	}
	r.Unseen, err = runProbes(c, unseen)
	return r, err
}

// judge scores texts until the first error.
type judge struct {
	classifier model.Classifier
	err        error
}

// heldOut adds a text unless training may have seen it.
func (j *judge) heldOut(into *[]judged, text string, harmful bool) {
	if dataset.HeldOut(text) {
		j.add(into, text, harmful)
	}
}

func (j *judge) add(into *[]judged, text string, harmful bool) {
	if j.err != nil {
		return
	}
	scores, err := j.classifier.Classify(context.Background(), text)
	if err != nil {
		j.err = err
		return
	}
	out := judged{
		harmful: harmful, audit: 1,
		harm: float64(scores.Get(model.LabelHarm)), flagged: float64(scores.Get(model.LabelFlagged)),
	}
	for _, p := range model.LearnedAudit(scores) {
		out.audit = min(out.audit, float64(p.Score))
	}
	*into = append(*into, out)
}

func detectBy(all []judged, score func(judged) float64) Detection {
	scores, positive := make([]float64, len(all)), make([]bool, len(all))
	for i, j := range all {
		scores[i], positive[i] = score(j), j.harmful
	}
	return detect(scores, positive)
}

func stopped(all []judged) Stopped {
	var held, refused int
	for _, j := range all {
		if j.audit < 0.7 {
			held++
		}
		if j.audit < 0.3 {
			refused++
		}
	}
	n := float64(max(1, len(all)))
	return Stopped{Texts: len(all), Held: float64(held) / n, Refused: float64(refused) / n}
}

func measureSpeed(e model.Embedder, c model.Classifier) Speed {
	const sentence = "how do I verify the evidence bundle of last week without network"
	ctx, texts := context.Background(), []string{sentence}
	// The best of several rounds: what the code costs, not what else ran.
	micros := func(f func()) float64 {
		const rounds, calls = 20, 500
		best := time.Duration(math.MaxInt64)
		for range rounds {
			start := time.Now()
			for range calls {
				f()
			}
			best = min(best, time.Since(start))
		}
		return float64(best.Nanoseconds()) / calls / 1000
	}
	return Speed{
		EmbedMicros:    micros(func() { _, _ = e.Embed(ctx, texts) }),
		ClassifyMicros: micros(func() { _, _ = c.Classify(ctx, sentence) }),
	}
}
