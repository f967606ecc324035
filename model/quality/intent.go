package quality

import (
	"math"
	"math/rand/v2"

	"tamv.internal/tamv/model/dataset"
	"tamv.internal/tamv/model/lexical"
	"tamv.internal/tamv/model/linear"
)

// Intent is the result of a linear intent classifier over the audit's features,
// trained on the training split each time it is measured. Its weights would take
// ten megabytes, so they are not shipped.
type Intent struct {
	Classes    int     `json:"classes"`
	Test       int     `json:"test"`
	Accuracy   float64 `json:"accuracy"`
	OutOfScope float64 `json:"out_of_scope_auroc"` // in-scope against out-of-scope by the best class's probability
}

const (
	intentEpochs = 5
	intentRate   = 0.3
	intentSeed   = 3
)

// softmax is a multinomial logistic regression over hashed features.
type softmax struct {
	classes  int
	weight   []float32 // bucket x class
	squares  []float32 // AdaGrad
	words    lexical.Words
	features linear.Features
	p        []float64
}

func measureIntent(dir string) (Intent, error) {
	clinc, err := dataset.ReadClinc(dir)
	if err != nil {
		return Intent{}, err
	}
	class := make(map[string]int)
	for _, x := range clinc.Train {
		if _, ok := class[x.Class]; !ok {
			class[x.Class] = len(class)
		}
	}
	size := linear.Buckets * len(class)
	m := &softmax{
		classes: len(class), p: make([]float64, len(class)),
		weight: make([]float32, size), squares: make([]float32, size),
	}
	rng := rand.New(rand.NewPCG(intentSeed, 0))
	for range intentEpochs {
		for _, i := range rng.Perm(len(clinc.Train)) {
			m.learn(clinc.Train[i].Text, class[clinc.Train[i].Class])
		}
	}
	result := Intent{Classes: len(class), Test: len(clinc.Test)}
	var confidence []float64
	var inScope []bool
	correct := 0
	for _, x := range clinc.Test {
		best := m.predict(x.Text)
		if want, known := class[x.Class]; known && best == want {
			correct++
		}
		confidence, inScope = append(confidence, m.p[best]), append(inScope, true)
	}
	for _, x := range clinc.OutOfScope {
		best := m.predict(x.Text)
		confidence, inScope = append(confidence, m.p[best]), append(inScope, false)
	}
	result.Accuracy = float64(correct) / float64(len(clinc.Test))
	result.OutOfScope = detect(confidence, inScope).AUROC
	return result, nil
}

// predict fills m.p with the classes' probabilities and returns the best class.
func (m *softmax) predict(text string) int {
	m.words.Cut(text)
	m.features.Extract(&m.words, 0, m.words.Len())
	clear(m.p)
	words, grams := m.features.Scales()
	m.add(m.features.Words, words)
	m.add(m.features.Grams, grams)
	best := 0
	for k, z := range m.p {
		if z > m.p[best] {
			best = k
		}
	}
	largest, sum := m.p[best], 0.0
	for k, z := range m.p {
		m.p[k] = math.Exp(z - largest)
		sum += m.p[k]
	}
	for k := range m.p {
		m.p[k] /= sum
	}
	return best
}

func (m *softmax) add(buckets []uint32, scale float32) {
	for _, b := range buckets {
		row := m.weight[int(b)*m.classes : int(b+1)*m.classes]
		for k, w := range row {
			m.p[k] += float64(scale * w)
		}
	}
}

func (m *softmax) learn(text string, class int) {
	m.predict(text)
	m.p[class]--
	words, grams := m.features.Scales()
	m.step(m.features.Words, words)
	m.step(m.features.Grams, grams)
}

// step moves the weights of the classes that are noticeably wrong.
func (m *softmax) step(buckets []uint32, scale float32) {
	for k, g := range m.p {
		if math.Abs(g) < 1e-3 {
			continue
		}
		d := float32(g) * scale
		for _, b := range buckets {
			at := int(b)*m.classes + k
			m.squares[at] += d * d
			m.weight[at] -= intentRate * d / float32(math.Sqrt(float64(m.squares[at])+1e-9))
		}
	}
}
