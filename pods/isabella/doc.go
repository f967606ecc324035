// Package isabella is the kernel: it judges what a citizen asks, serves it with
// the pods that can, and answers once.
//
// # The way of an intent
//
//  1. The input is read ([pods.Input]): what is damaged or unsafe is refused as
//     Invalid with the code "input", before anything looks at its meaning.
//  2. The ethical audit judges it. Nothing else runs before: no memory, no pod.
//     Below 0.3 the intent is refused, below 0.7 it is held for a guardian.
//  3. An input that is not what it says it is gets a question back, and nothing
//     is done.
//  4. Memory recalls at most five passages above the embedder's threshold.
//  5. The plan names the capabilities; they run in parallel, each behind its
//     [pods.Guard]. One that is absent, slow or ill degrades the answer, and the
//     reply says so. Not even the failure of all of them is an error.
//  6. The parts are joined in the plan's order, and everything they want changed
//     is committed together with one evidence entry, intent.process.
//
// # The audit
//
// Eight principles are scored from 0 to 1, 1 being no concern. Each score names
// its basis: "learned" (a trained classifier spoke: only for nonMaleficence,
// dignity and fairness), "rule" (a row of the table in rules.go spoke) or "none".
// A score with the basis none is 1 and says nothing; it is never presented as a
// judgement. The overall score is the lowest of the eight. The safety profile can
// only add rules, never move the thresholds. Without a classifier, only what the
// rules can clear by themselves is served; the rest is held.
//
// The rules look for words near each other, in English and Spanish, after undoing
// the usual disguises: case, accents, invisible characters, look-alike letters,
// digits for letters. They are a net with known holes: whoever paraphrases gets
// through to the classifier, and whoever gets through both is still bound by
// roles, by the exact effects of each pod and by the evidence. The content of
// images and sound is not judged at all, and STRICT_DEKATEOTL therefore holds it.
//
// # Guardians
//
// A held intent is kept whole, under a ticket equal to its request id, until a
// guardian other than the submitter approves or denies it. Approval runs it in the
// submitter's name, with the submitter's language and roles as they were, and
// commits the decision, the effects and both evidence entries as one batch. The
// intent's text is deleted with the decision; its digest stays.
//
// Evidence never holds the text of an intent: it holds SHA-256 digests of the
// input and the context as sent, the scores, what ran and what it cited.
package isabella
