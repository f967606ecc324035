// Package chat answers questions with what memory holds, and with nothing else.
//
// Its part of an intent is made of whole sentences of the recalled passages, as
// they stand, each followed by the number of its citation. When no passage was
// recalled it says so; it never completes, infers or rephrases.
//
// # How sentences are chosen
//
// Passages are cut into sentences. A sentence scores by BM25 (k1 1.2, b 0.75;
// Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009) for the
// question's content words, with document frequencies over the sentences at
// hand, and by its passage's similarity to the question, which also carries
// questions across languages. Words are folded and cut to a common stem.
//
// The answer is in the caller's language as far as passages in it exist, the
// language being that of the call, or Spanish when the question is plainly
// Spanish. A passage's language is its metadata "lang", else what its words say.
package chat
