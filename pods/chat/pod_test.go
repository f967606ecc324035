package chat

import (
	"context"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/tap"
)

func manual() []pods.Passage {
	return []pods.Passage{
		{
			DocumentID: "money-en", Similarity: 0.71, Metadata: map[string]string{"lang": "en", "title": "Money"},
			Content: "The 75/25 rule\nEvery transaction is split at once. 75 % goes to the impact fund and 25 % to operations. " +
				"The split is exact in ten decimals.",
		},
		{
			DocumentID: "money-es", Similarity: 0.69, Metadata: map[string]string{"lang": "es"},
			Content: "Cada transacción se reparte al instante. El 75 % va al fondo de impacto y el 25 % a operaciones.",
		},
		{
			DocumentID: "identity-en", Similarity: 0.52,
			Content: "An operator revokes an identity with tamvctl. What is the reason is recorded. A revoked identity is refused from then on.",
		},
		{
			DocumentID: "identity-es", Similarity: 0.5,
			Content: "Un operador revoca una identidad con tamvctl. Desde ese momento se rechaza todo lo que firma.",
		},
		{
			DocumentID: "rooms-en", Similarity: 0.4, Metadata: map[string]string{"language": "en"},
			Content: "A room keeps its objects and the ordered history of what was done with them.",
		},
	}
}

func ask(t testing.TB, lang tap.Lang, question string, passages []pods.Passage) *pods.Part {
	t.Helper()
	in := &pods.Intent{Parsed: pods.ParsedInput{Text: question}, Passages: passages}
	part, err := New().Manifest().Intent(t.Context(), &pods.Call{Lang: lang}, in)
	if err != nil {
		t.Fatal(err)
	}
	return part
}

func TestAnswersFromPassages(t *testing.T) {
	for _, tt := range []struct {
		lang           tap.Lang
		question, from string
		want           string
	}{
		{tap.English, "How much of a transaction goes to the impact fund?", "money-en", "75 % goes to the impact fund and 25 % to operations."},
		{tap.Spanish, "¿Cuánto va al fondo de impacto?", "money-es", "El 75 % va al fondo de impacto y el 25 % a operaciones."},
		{tap.English, "¿Cuánto va al fondo de impacto?", "money-es", "El 75 % va al fondo de impacto y el 25 % a operaciones."},
		{tap.Spanish, "What goes to the impact fund?", "money-es", "El 75 % va al fondo de impacto"},
		{tap.English, "Who revokes identities?", "identity-en", "An operator revokes an identity with tamvctl."},
		{tap.English, "¿Quién revoca una identidad?", "identity-es", "Un operador revoca una identidad con tamvctl."},
		{tap.English, "what does a room keep", "rooms-en", "A room keeps its objects"},
	} {
		part := ask(t, tt.lang, tt.question, manual())
		if len(part.Citations) == 0 || part.Citations[0].DocumentID != tt.from || !strings.Contains(part.Text, tt.want) {
			t.Errorf("%s %q: got %q citing %v, want %q from %s", tt.lang, tt.question, part.Text, part.Citations, tt.want, tt.from)
		}
	}
	part := ask(t, tap.English, "What is the 75/25 rule?", manual()[:1])
	if part.Citations[0].Title != "Money" || strings.HasPrefix(part.Text, "The 75/25 rule [1]") {
		t.Errorf("the title is missing, or a heading answers: %+v", part)
	}
}

// A caller whose language memory does not have is answered in the other.
func TestOtherLanguageWhenThereIsNone(t *testing.T) {
	part := ask(t, tap.Spanish, "¿Qué guarda una sala?", manual()[4:])
	if len(part.Citations) != 1 || part.Citations[0].DocumentID != "rooms-en" {
		t.Errorf("got %+v", part)
	}
}

func TestSaysWhenMemoryHoldsNothing(t *testing.T) {
	for lang, want := range map[tap.Lang]string{tap.English: nothingText.EN, tap.Spanish: nothingText.ES} {
		if part := ask(t, lang, "quantum chromodynamics", nil); part.Text != want || part.Citations != nil {
			t.Errorf("%s: got %+v", lang, part)
		}
	}
	opposite := []pods.Passage{{DocumentID: "x", Content: "Nothing in common.", Similarity: -0.2}}
	if part := ask(t, tap.English, "quantum chromodynamics", opposite); part.Text != nothingText.EN {
		t.Errorf("an irrelevant passage was cited: %+v", part)
	}
	if part := ask(t, tap.Spanish, " \n", manual()); part.Degraded != noQuestionText.ES || part.Text != "" {
		t.Errorf("no question: %+v", part)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	in := &pods.Intent{Parsed: pods.ParsedInput{Text: "why?"}}
	_, err := New().answer(ctx, &pods.Call{}, in)
	podtest.WantKind(t, err, tap.Unavailable, "")
}

// Nothing is invented: every piece of an answer stands in a passage that is cited.
func TestNeverInvents(t *testing.T) {
	word := rapid.SampledFrom(strings.Fields("fund impact node ledger sala fondo identidad the of de el 75 %. proof! ¿qué? room.\n… # x"))
	rapid.Check(t, func(rt *rapid.T) {
		text := func(label string, most int) string {
			return strings.Join(rapid.SliceOfN(word, 1, most).Draw(rt, label), rapid.SampledFrom([]string{" ", ". ", "\n"}).Draw(rt, "separator"))
		}
		var passages []pods.Passage
		for i := range rapid.IntRange(0, 8).Draw(rt, "passages") {
			passages = append(passages, pods.Passage{
				DocumentID: string(rune('a' + i)), Content: text("content", 300),
				Similarity: float32(rapid.Float64Range(-1, 1).Draw(rt, "similarity")),
			})
		}
		part := ask(t, tap.English, text("question", 12), passages)
		if len(part.Citations) == 0 && part.Text != nothingText.EN && part.Text != nothingText.ES {
			rt.Fatalf("an answer without citations: %q", part.Text)
		}
		rest := part.Text
		for i, c := range part.Citations {
			source := passages[c.DocumentID[0]-'a'].Content
			for _, piece := range strings.Split(rest, " ["+string(rune('1'+i))+"]") {
				piece = strings.TrimSuffix(strings.TrimSpace(piece), " …")
				if piece != "" && !strings.Contains(piece, "[") && !strings.Contains(source, piece) {
					rt.Fatalf("%q does not stand in %q", piece, source)
				}
			}
		}
	})
}

func TestSentences(t *testing.T) {
	got := sentences("# Heading\n- One. Two costs 3.5 euros. ¿Tres? Sí! 4 more.\n\n  \n")
	want := []string{"Heading", "One.", "Two costs 3.5 euros.", "¿Tres?", "Sí!", "4 more."}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q", got)
	}
	long := shorten(strings.Repeat("palabra ", 200))
	if len(long) > maxSentence+len(" …") || !strings.HasSuffix(long, "palabra …") {
		t.Errorf("got %q", long)
	}
	if unbroken := shorten(strings.Repeat("ñ", 400)); unbroken != strings.Repeat("ñ", 300)+" …" {
		t.Errorf("got %q", unbroken)
	}
	if many := sentences(strings.Repeat("No. ", 1000)); len(many) != maxSentences {
		t.Errorf("%d sentences", len(many))
	}
}

func TestLanguage(t *testing.T) {
	for text, want := range map[string]tap.Lang{
		"the proof of an entry": tap.English, "la prueba de una entrada": tap.Spanish, "mañana": tap.Spanish,
		"bookpi tcep": "", "no a": "",
	} {
		if got := plainly(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestManifest(t *testing.T) {
	podtest.Conform(t, podtest.NewState(), New(), nil)
}

func BenchmarkAnswer(b *testing.B) {
	passages := manual()
	for b.Loop() {
		ask(b, tap.English, "How much of a transaction goes to the impact fund and what is recorded?", passages)
	}
}
