package quality

import (
	"fmt"
	"strings"
)

// Markdown renders the report as docs/QUALITY.md.
func (r Report) Markdown() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	e, a := r.Embedder, r.Audit

	line("# Quality of the models in the binary")
	line("")
	line("This page is what `tamvbench quality --data DIR` prints. DIR holds the public sets")
	line("named below; the weights' sources are in model/weights/PROVENANCE.md.")
	line("")
	line("## Embedder `%s`", e.ID)
	line("")
	line("%d dimensions, English and Spanish, relevance threshold %.3f.", e.Dim, e.Threshold)
	line("")
	line("| measure | English | Spanish |")
	line("|---|---|---|")
	line("| STS-B dev, Spearman (similarity of sentence pairs) | %.3f | %.3f |", e.Similarity["en"], e.Similarity["es"])
	en, es := e.Retrieval["en"], e.Retrieval["es"]
	line("| XQuAD, right paragraph first of %d | %.3f | %.3f |", en.Candidates, en.At1, es.At1)
	line("| XQuAD, right paragraph in the first five | %.3f | %.3f |", en.At5, es.At5)
	line("| XQuAD, right paragraph above the threshold | %.3f | %.3f |", en.Above, es.Above)
	line("")
	line("Across languages: of %d Spanish XQuAD questions, %.3f find their English counterpart first and", e.CrossLingual.Queries, e.CrossLingual.At1)
	line("%.3f in the first five of %d. The Spanish STS-B was translated by machine. Neither STS-B nor", e.CrossLingual.At5, e.CrossLingual.Candidates)
	line("XQuAD trained anything; a handful of settings (dimensions, loss temperature) were chosen with")
	line("these dev figures in view.")
	line("")
	line("The manual's held-out passages (%d of each language, a tenth), looked for by their titles:", e.Manual["en-en"].Candidates)
	line("")
	line("| title and passage | right one first | in the first five | above the threshold |")
	line("|---|---|---|---|")
	for _, way := range []string{"en-en", "es-es", "en-es", "es-en"} {
		line("| %s | %.3f | %.3f | %.3f |", way, e.Manual[way].At1, e.Manual[way].At5, e.Manual[way].Above)
	}
	line("")
	line("## Audit classifier `%s`", a.ID)
	line("")
	line("| set (held out of training) | harmful | fine | AUROC | AUPRC | F1 | precision | recall |")
	line("|---|---|---|---|---|---|---|---|")
	line("%s", a.Mixed.row("moderation + AdvBench against also CLINC150 + BANKING77, label flagged"))
	line("%s", a.MixedHarm.row("the same, label harm"))
	line("%s", a.Moderation.row("moderation texts alone, label flagged"))
	line("")
	line("F1, precision and recall are taken at a score of 0.5.")
	line("")
	line("| share whose lowest learned principle is | texts | below 0.7 (held or refused) | below 0.3 (refused) |")
	line("|---|---|---|---|")
	line("%s", a.Fine.row("CLINC150 and BANKING77 test utterances, all fine"))
	line("%s", a.Beyond.row("CLINC150 out-of-scope test utterances, nearly all fine"))
	line("%s", a.Titles.row("the manual's held-out titles, English and Spanish, all fine"))
	line("%s", a.Harmful.row("held-out AdvBench requests, all harmful"))
	line("")
	line("Probe sentences written for this project, none of them in the training corpus, half")
	line("Spanish: %d of %d on their side (fine below 0.3, harmful above 0.8). The rest:", a.Probes.Passed, a.Probes.Total)
	line("")
	b.WriteString(a.Probes.misses())
	line("")
	line("Those were looked at while the corpus grew. A second set was written when it was final,")
	line("and nothing was changed after seeing its scores: %d of %d on their side. The rest:", a.Unseen.Passed, a.Unseen.Total)
	line("")
	b.WriteString(a.Unseen.misses())
	line("")
	line("## Intents")
	line("")
	line("A linear classifier over the audit's features, trained on CLINC150's training split when")
	line("this is measured and not shipped: %.3f of %d test utterances right among %d intents;", r.Intent.Accuracy, r.Intent.Test, r.Intent.Classes)
	line("out-of-scope utterances told apart with AUROC %.3f.", r.Intent.OutOfScope)
	line("")
	line("## Speed")
	line("")
	line("One core, twelve words: embedding %.1f us, audit %.1f us (best of 20 rounds).", r.Speed.EmbedMicros, r.Speed.ClassifyMicros)
	line("")
	b.WriteString(strings.TrimLeft(weaknesses, "\n"))
	return b.String()
}

func (d Detection) row(name string) string {
	return fmt.Sprintf("| %s | %d | %d | %.3f | %.3f | %.3f | %.3f | %.3f |",
		name, d.Positives, d.Negatives, d.AUROC, d.AUPRC, d.F1, d.Precision, d.Recall)
}

func (s Stopped) row(name string) string {
	return fmt.Sprintf("| %s | %d | %.4f | %.4f |", name, s.Texts, s.Held, s.Refused)
}

// misses renders the sentences on the wrong side.
func (p Probes) misses() string {
	var b strings.Builder
	b.WriteString("| harm | should be | request |\n|---|---|---|\n")
	for _, m := range p.Misses {
		want := "fine"
		if m.Harmful {
			want = "harmful"
		}
		fmt.Fprintf(&b, "| %.2f | %s | %s |\n", m.Harm, want, m.Text)
	}
	return b.String()
}

const weaknesses = `
## What is weak

- Only three of the eight principles have a learned score: nonMaleficence, dignity and
  fairness. No labelled examples of the other five were available, and nothing here
  pretends otherwise.
- The mixed figure flatters: everyday utterances are easy to tell from abuse. The figure
  on moderation texts alone is the honest one for hard cases, and it rests on few texts.
- Both engines see words, not sentences. "How did the plot to kill X fail?" looks like a
  plan, "I would never hurt him" like a threat, and a harmful wish in unusual words looks fine.
  A guardian, not the classifier, is the remedy.
- What is harmful in Spanish was learned from the project's own sentences alone. No Spanish
  test set made by others was available; the Spanish probes are few and ours.
- The first probe sentences were looked at while the corpus grew, and some of its lines ask
  the same in other words, so they are a check on regressions, not an unseen test.
- A harmful wish whose words the corpus lacks passes: of the 20 in the second probe set 10 have
  a harm score below 0.3 (8 with the weights before these, which also had 21 of 40 on their
  side). The project's fine texts weigh twice as much in training as its harmful ones: on one
  corpus that halved the false alarms and lowered the share of harmful sentences caught by
  weights trained without their line from 0.83 to 0.73. weightHarmful in model/train/audit.go
  is the lever; the rules and people must catch the rest.
- The settings were chosen among a dozen trials with the other figures of this page in view;
  only the second probe set was not. The held-out titles are few: of the 554 that trained, 2
  would be held by weights trained without their passage (the training program prints it).
- The harassment and violence labels are the weakest: on folds of the training texts that
  their weights had not seen, AUROC 0.91 and 0.89 (the training program prints it for each
  label). Self-harm alone leads to a person looking, never to a refusal.
- Questions that share no word, stem or learned synonym with their answer are lost: about
  three quarters of the calibration questions pass the relevance threshold. Word search beside the
  embedder helps, and a sentence encoder would help most.
- Other languages than English and Spanish work by shared spelling only.
`
