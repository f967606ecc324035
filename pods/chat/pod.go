package chat

import (
	"context"
	"fmt"
	"strings"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/tap"
)

// Pod is the chat pod. It has no routes and keeps nothing but a memory of
// passages it took apart.
type Pod struct{ reader *reader }

// New makes the pod.
func New() *Pod { return &Pod{newReader()} }

// Manifest describes the pod.
func (p *Pod) Manifest() pods.Manifest {
	return pods.Manifest{
		Name: "chat",
		Summary: tap.Text{
			EN: "Answers questions from memory, with citations",
			ES: "Responde preguntas desde la memoria, con citas",
		},
		Intent: p.answer,
	}
}

var (
	nothingText = tap.Text{
		EN: "Memory holds nothing relevant to this question.",
		ES: "La memoria no contiene nada relevante para esta pregunta.",
	}
	noQuestionText = tap.Text{EN: "there is no text to answer", ES: "no hay texto que responder"}
)

// answer is the pod's part of an intent: the best sentences of in.Passages.
func (p *Pod) answer(ctx context.Context, c *pods.Call, in *pods.Intent) (*pods.Part, error) {
	if strings.TrimSpace(in.Parsed.Text) == "" {
		return &pods.Part{Degraded: noQuestionText.In(c.Lang)}, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, tap.AsError(err)
	}
	lang := answerLanguage(c.Lang, in.Parsed.Text)
	chosen := choose(p.reader, in.Parsed.Text, inLanguage(in.Passages, lang))
	if len(chosen) == 0 {
		return &pods.Part{Text: nothingText.In(lang)}, nil
	}
	part := &pods.Part{}
	var text strings.Builder
	numbers := map[int]int{} // passage to the number of its citation
	for i, s := range chosen {
		n, cited := numbers[s.passage]
		if !cited {
			n = len(part.Citations) + 1
			numbers[s.passage] = n
			from := s.source
			part.Citations = append(part.Citations, pods.Citation{
				DocumentID: from.DocumentID, Title: from.Metadata["title"], Quote: s.text, Similarity: from.Similarity,
			})
		} else {
			part.Citations[n-1].Quote += " " + s.text
		}
		if i > 0 {
			text.WriteByte(' ')
		}
		fmt.Fprintf(&text, "%s [%d]", s.text, n)
	}
	part.Text = text.String()
	return part, nil
}
