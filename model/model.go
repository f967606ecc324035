// Package model says what local inference looks like to the rest of the appliance.
//
// It holds interfaces and the vocabulary of their answers, nothing that
// computes. Five kinds of engine exist: [Embedder], [Classifier], [Recognizer],
// [Transcriber] and [Generator]. Every engine has an ID that names the exact
// weights behind it ("static-enes-v1-1f3a9c02"); two engines with the same ID
// give the same answers, and whoever stores an answer stores the ID with it, so
// that vectors of different models are never compared.
//
// All engines work offline, in this process or on this site, and are safe for
// use by any number of goroutines.
//
// # Engines in this tree
//
//   - model/static: a bilingual (English, Spanish) static subword [Embedder].
//   - model/linear: a linear [Classifier] for the ethical audit.
//
// Both carry their weights inside the binary (model/weights). There is no
// recognizer, transcriber or generator yet: [Absent] stands in for them and
// answers every call with [ErrNoEngine] instead of an invention.
//
// # Errors
//
// Engines return the sentinel errors of this package, wrapped with details.
// Test them with errors.Is. Texts must be valid UTF-8 ([ErrInvalidText]), hold
// something besides white space ([ErrNoText]) and be at most [MaxText] bytes
// long ([ErrTooLong]). Error texts never quote the input.
package model

import (
	"context"
	"errors"
	"iter"
)

// MaxText is the largest text, in bytes, that an Embedder or a Classifier
// accepts: 256 KiB, about a hundred printed pages.
const MaxText = 256 << 10

// Errors that engines return, to be tested with errors.Is.
var (
	// ErrNoEngine means that no engine of the wanted kind is installed.
	ErrNoEngine = errors.New("model: no engine installed")
	// ErrInvalidText means that a text is not valid UTF-8.
	ErrInvalidText = errors.New("model: text is not valid UTF-8")
	// ErrNoText means that a text is empty or only white space.
	ErrNoText = errors.New("model: text is empty")
	// ErrTooLong means that a text is longer than MaxText bytes.
	ErrTooLong = errors.New("model: text is too long")
	// ErrWeights means that an engine's weights are damaged or of another version.
	ErrWeights = errors.New("model: bad weights")
)

// Embedder turns texts into points whose cosine tells how close their meaning is.
type Embedder interface {
	// ID names the exact weights. Vectors with different IDs must not be compared.
	ID() string
	// Dim is the length of every vector.
	Dim() int
	// Languages lists the BCP 47 tags that the embedder was made for, best first.
	Languages() []string
	// RelevanceThreshold is the cosine above which a passage is worth showing for
	// a question. It was calibrated with this engine and means nothing to another.
	RelevanceThreshold() float32
	// Embed returns one row of length Dim and Euclidean length 1 per text, in
	// order. It fails as a whole: on an error no row is returned.
	Embed(ctx context.Context, texts []string) ([][]float32, error)
}

// Classifier gives a text the probability of each of a fixed set of labels.
type Classifier interface {
	// ID names the exact weights.
	ID() string
	// Labels lists the label names in the order in which Classify reports them.
	Labels() []string
	// Classify returns one entry per label, in the order of Labels.
	Classify(ctx context.Context, text string) (Scores, error)
}

// Score is the probability in [0,1] that a text carries a label. Labels are
// independent: a text may carry none or several.
type Score struct {
	Name  string  `json:"name"`
	Score float32 `json:"score"`
}

// Scores is a classifier's answer, one entry per label.
type Scores []Score

// Get returns the named label's probability, and 0 if there is no such label.
func (s Scores) Get(name string) float32 {
	for i := range s {
		if s[i].Name == name {
			return s[i].Score
		}
	}
	return 0
}

// Recognizer reads the words on an image (optical character recognition).
type Recognizer interface {
	ID() string
	// Recognize reads a PNG or JPEG image.
	Recognize(ctx context.Context, image []byte) (Page, error)
}

// Page is what a Recognizer read, words in reading order.
type Page struct {
	Width, Height int // pixels
	Words         []Word
}

// Word is one recognized word with its bounding box in pixels, origin top left.
type Word struct {
	Text                     string
	Left, Top, Width, Height int
	Confidence               float32 // [0,1]
}

// Transcriber writes down speech.
type Transcriber interface {
	ID() string
	Transcribe(ctx context.Context, audio Audio) (Transcript, error)
}

// Audio is single-channel linear PCM.
type Audio struct {
	SampleRate int // Hz
	PCM        []int16
}

// Transcript is a Transcriber's answer.
type Transcript struct {
	Text       string
	Language   string  // BCP 47, empty if unknown
	Confidence float32 // [0,1]
}

// Generator continues a prompt in natural language.
type Generator interface {
	ID() string
	// Generate yields pieces of the answer as they are made. An error ends the
	// sequence; the pieces yielded before it are what was made until then.
	Generate(ctx context.Context, prompt Prompt) iter.Seq2[string, error]
}

// Prompt is a request to a Generator.
type Prompt struct {
	System    string   // standing instructions
	Passages  []string // sources that the answer must rest on
	Question  string
	MaxTokens int // upper bound of the answer's length; 0 means the engine's own
}

// Absent takes the place of a Recognizer, Transcriber or Generator that is not
// installed. Every call answers ErrNoEngine.
type Absent struct{}

var (
	_ Recognizer  = Absent{}
	_ Transcriber = Absent{}
	_ Generator   = Absent{}
)

// ID returns "none".
func (Absent) ID() string { return "none" }

// Recognize answers ErrNoEngine.
func (Absent) Recognize(context.Context, []byte) (Page, error) { return Page{}, ErrNoEngine }

// Transcribe answers ErrNoEngine.
func (Absent) Transcribe(context.Context, Audio) (Transcript, error) {
	return Transcript{}, ErrNoEngine
}

// Generate yields ErrNoEngine.
func (Absent) Generate(context.Context, Prompt) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) { yield("", ErrNoEngine) }
}
