package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/model/dataset"
	"tamv.internal/tamv/model/lexical"
	"tamv.internal/tamv/model/linear"
)

// auditLabels is the order of the heads in the weights.
var auditLabels = []string{
	model.LabelHarm, model.LabelHate, model.LabelHarassment, model.LabelViolence,
	model.LabelSelfHarm, model.LabelSexual, model.LabelFlagged,
}

// truth is what is known of a label.
type truth int8

const (
	no truth = iota
	yes
	unknown
)

// example is one window of a text.
type example struct {
	words, grams         []uint32
	wordScale, gramScale float32
	truth                []truth // by auditLabels
	weight               float32
	fold                 int  // examples of one text or template share a fold
	title                bool // of a passage of the manual
}

// auditSettings shape the classifier.
type auditSettings struct {
	Epochs int
	Rate   float64 // AdaGrad step
	Decay  float64 // L2 penalty
	Folds  int     // for calibration
	Seed   uint64
}

// trainAudit returns calibrated heads.
func trainAudit(m material, s auditSettings, log io.Writer) []linear.Head {
	examples := auditExamples(m, s.Folds)
	fmt.Fprintf(log, "audit: %d windows\n", len(examples))
	everything := fit(examples, -1, s)

	// Scores of texts by weights that have not seen their template calibrate.
	held := make([][]float64, len(examples))
	for fold := range s.Folds {
		w := fit(examples, fold, s)
		for i, x := range examples {
			if x.fold == fold {
				held[i] = w.logits(x)
			}
		}
	}
	heads := make([]linear.Head, len(auditLabels))
	for k, label := range auditLabels {
		slope, offset := calibrate(examples, held, k)
		heads[k] = linear.Head{Label: label, Weights: everything.head(k), Slope: float32(slope), Offset: float32(offset)}
		fmt.Fprintf(log, "  %-10s slope %.2f offset %.2f, AUROC of held folds %.3f\n", label, slope, offset, heldAUROC(examples, held, k))
	}
	titles, stopped := titlesStopped(examples, held, heads)
	fmt.Fprintf(log, "  of %d titles of the manual %d would not be allowed by weights that have not seen them\n", titles, stopped)
	return heads
}

// allowed is the lowest score of a principle with which the audit allows a text.
const allowed = 0.7

// titlesStopped counts the manual's titles and those that the audit would hold or
// refuse by the logits given, calibrated like the heads.
func titlesStopped(examples []example, logits [][]float64, heads []linear.Head) (titles, stopped int) {
	for i, x := range examples {
		if !x.title {
			continue
		}
		titles++
		scores := make(model.Scores, len(heads))
		for k, h := range heads {
			scores[k] = model.Score{Name: h.Label, Score: float32(logistic(float64(h.Slope)*logits[i][k] + float64(h.Offset)))}
		}
		for _, p := range model.LearnedAudit(scores) {
			if p.Score < allowed {
				stopped++
				break
			}
		}
	}
	return titles, stopped
}

// How much one text of each source counts; a template of n texts counts as
// sqrt(n) texts.
const (
	weightClinc      = 0.8
	weightBanking    = 0.4
	weightOther      = 0.8
	weightBeyond     = 3 // beyond the 150 intents: few, and like what people ask at large
	weightMessage    = 0.2
	weightTitle      = 1.5
	weightPassage    = 0.3 // a sentence
	weightModeration = 3
	weightBehavior   = 1
	weightTemplate   = 4 // of a fine text
	weightHarmful    = 2 // of a harmful one: the corpus has as many of both, the world has not
)

// exampleSet collects windows of texts with their truths.
type exampleSet struct {
	folds    int
	examples []example
	words    lexical.Words   // scratch of add
	features linear.Features // scratch of add
}

// add cuts a text into windows, which share its weight. Texts of one group fall
// into one fold.
func (s *exampleSet) add(text, group string, weight float64, t []truth) {
	sum := sha256.Sum256([]byte(group))
	fold := int(sum[0]) % s.folds
	s.words.Cut(text)
	first := len(s.examples)
	linear.Windows(s.words.Len(), func(from, to int) {
		s.features.Extract(&s.words, from, to)
		x := example{words: slices.Clone(s.features.Words), grams: slices.Clone(s.features.Grams), truth: t, fold: fold}
		x.wordScale, x.gramScale = s.features.Scales()
		s.examples = append(s.examples, x)
	})
	for i := first; i < len(s.examples); i++ {
		s.examples[i].weight = float32(weight / float64(len(s.examples)-first))
	}
}

// auditExamples turns the material into windows with their truths. Weights keep
// a template with a hundred expansions from drowning one with three.
func auditExamples(m material, folds int) []example {
	s := exampleSet{folds: folds}
	fine := make([]truth, len(auditLabels))
	for _, x := range m.clinc {
		s.add(x.Text, x.Class, weightClinc, fine)
	}
	for _, x := range m.banking {
		s.add(x.Text, x.Class, weightBanking, fine)
	}
	for _, x := range m.clincOthers {
		if x.Class == dataset.OutOfScope {
			s.add(x.Text, x.Text, weightBeyond, fine)
		} else {
			s.add(x.Text, x.Class, weightOther, fine)
		}
	}
	for _, p := range m.manual {
		for k := range languages {
			s.add(p.title[k], "manual "+p.id, weightTitle, fine)
			s.examples[len(s.examples)-1].title = true
			for _, sentence := range sentences(p.content[k]) {
				s.add(sentence, "manual "+p.id, weightPassage, fine)
			}
		}
	}
	for i, x := range m.bitext.messages {
		s.add(x[i%2], x[0], weightMessage, fine)
	}
	for _, x := range m.moderation {
		s.add(x.Text, x.Text, weightModeration, moderationTruth(x))
	}
	request := slices.Repeat([]truth{unknown}, len(auditLabels))
	request[slices.Index(auditLabels, model.LabelHarm)] = yes
	request[slices.Index(auditLabels, model.LabelFlagged)] = yes
	for _, x := range m.behaviors {
		s.add(x, x, weightBehavior, request)
	}
	size := make(map[int]int)
	for _, x := range m.own {
		size[x.Group]++
	}
	for _, x := range m.own {
		weight := float64(weightTemplate)
		if len(x.Labels) > 0 {
			weight = weightHarmful
		}
		s.add(x.Text, fmt.Sprintf("own %d", x.Group), weight/math.Sqrt(float64(size[x.Group])), ownTruth(x.Labels))
	}
	return s.examples
}

// moderationTruth maps the moderation set's labels. Distress and sexual content
// between adults are not harm to others, so there harm is left unknown.
func moderationTruth(m dataset.Moderated) []truth {
	t := slices.Repeat([]truth{unknown}, len(auditLabels))
	for k, label := range auditLabels {
		if on, known := m.Labels[label]; known {
			t[k] = no
			if on {
				t[k] = yes
			}
		}
	}
	harm, flagged := slices.Index(auditLabels, model.LabelHarm), slices.Index(auditLabels, model.LabelFlagged)
	switch {
	case !m.Flagged():
		t[harm], t[flagged] = no, no
	case m.Labels[model.LabelHate], m.Labels[model.LabelHarassment], m.Labels[model.LabelViolence], m.Labels[dataset.LabelMinors]:
		t[harm], t[flagged] = yes, yes
	default:
		t[flagged] = yes
	}
	return t
}

// ownTruth maps the labels of the project's own texts, all of which are known.
func ownTruth(labels []string) []truth {
	t := make([]truth, len(auditLabels))
	for k, label := range auditLabels {
		if slices.Contains(labels, label) {
			t[k] = yes
		}
	}
	if len(labels) > 0 {
		t[slices.Index(auditLabels, model.LabelFlagged)] = yes
		if harm := slices.Index(auditLabels, model.LabelHarm); t[harm] == no {
			t[harm] = unknown
		}
	}
	return t
}

// parameters are the weights of all heads, interleaved by bucket.
type parameters struct {
	heads  int
	weight []float32 // bucket x heads
	bias   []float64
}

func (p *parameters) head(k int) []float32 {
	out := make([]float32, linear.Buckets)
	for b := range out {
		out[b] = p.weight[b*p.heads+k]
	}
	return out
}

// logits returns every head's logit without the bias, which calibration sets.
func (p *parameters) logits(x example) []float64 {
	out := make([]float64, p.heads)
	p.accumulate(out, x.words, float64(x.wordScale))
	p.accumulate(out, x.grams, float64(x.gramScale))
	return out
}

func (p *parameters) accumulate(out []float64, buckets []uint32, scale float64) {
	for _, b := range buckets {
		w := p.weight[int(b)*p.heads : int(b+1)*p.heads]
		for k, c := range w {
			out[k] += float64(scale * float64(c))
		}
	}
}

// fit trains all heads with AdaGrad on the examples outside a fold (-1: on all).
func fit(examples []example, without int, s auditSettings) *parameters {
	heads := len(auditLabels)
	p := &parameters{heads: heads, weight: make([]float32, linear.Buckets*heads), bias: make([]float64, heads)}
	squares := make([]float32, len(p.weight))
	biasSquares := make([]float64, heads)
	rng := rand.New(rand.NewPCG(s.Seed, 2))
	var order []int
	for i, x := range examples {
		if x.fold != without {
			order = append(order, i)
		}
	}
	gradient := make([]float64, heads)
	for range s.Epochs {
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, i := range order {
			x := examples[i]
			logits := p.logits(x)
			for k := range gradient {
				gradient[k] = 0
				if x.truth[k] != unknown {
					gradient[k] = float64(x.weight) * (logistic(logits[k]+p.bias[k]) - float64(x.truth[k]))
				}
				biasSquares[k] += float64(gradient[k] * gradient[k])
				p.bias[k] -= s.Rate * gradient[k] / math.Sqrt(biasSquares[k]+1e-9)
			}
			p.step(squares, x.words, gradient, float64(x.wordScale), s)
			p.step(squares, x.grams, gradient, float64(x.gramScale), s)
		}
	}
	return p
}

func (p *parameters) step(squares []float32, buckets []uint32, gradient []float64, scale float64, s auditSettings) {
	for _, b := range buckets {
		at := int(b) * p.heads
		for k, g := range gradient {
			if g == 0 {
				continue
			}
			g = float64(g*scale) + float64(s.Decay*float64(p.weight[at+k]))
			squares[at+k] += float32(g * g)
			p.weight[at+k] -= float32(s.Rate * g / math.Sqrt(float64(squares[at+k])+1e-9))
		}
	}
}

func logistic(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// calibrate fits probability = logistic(slope logit + offset) by Newton's method.
func calibrate(examples []example, logits [][]float64, k int) (slope, offset float64) {
	slope = 1
	for range 50 {
		var g0, g1, h00, h01, h11 float64
		for i, x := range examples {
			if x.truth[k] == unknown {
				continue
			}
			z, w := logits[i][k], float64(x.weight)
			p := logistic(slope*z + offset)
			d, h := w*(p-float64(x.truth[k])), w*p*(1-p)
			g0 += d * z
			g1 += d
			h00 += h * z * z
			h01 += h * z
			h11 += h
		}
		h00, h11 = h00+1e-6, h11+1e-6
		determinant := h00*h11 - h01*h01
		if determinant < 1e-12 {
			break
		}
		ds, do := (h11*g0-h01*g1)/determinant, (h00*g1-h01*g0)/determinant
		// Newton may overshoot far from the optimum: bound the step.
		slope -= min(max(ds, -1), 1)
		offset -= min(max(do, -2), 2)
		if math.Abs(ds)+math.Abs(do) < 1e-9 {
			break
		}
	}
	return slope, offset
}

// heldAUROC is the probability that a positive window outscores a negative one.
func heldAUROC(examples []example, logits [][]float64, k int) float64 {
	type scored struct {
		score float64
		yes   bool
	}
	var all []scored
	for i, x := range examples {
		if x.truth[k] != unknown {
			all = append(all, scored{logits[i][k], x.truth[k] == yes})
		}
	}
	slices.SortFunc(all, func(a, b scored) int {
		if a.score < b.score {
			return -1
		} else if a.score > b.score {
			return 1
		}
		return 0
	})
	var ranks, positives float64
	for i, x := range all {
		if x.yes {
			ranks += float64(i + 1)
			positives++
		}
	}
	return (ranks - positives*(positives+1)/2) / max(1, positives*(float64(len(all))-positives))
}
