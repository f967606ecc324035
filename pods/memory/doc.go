// Package memory is the civilizational memory: documents that the appliance
// answers from, found by meaning.
//
// # A document
//
// A document has an id (the curator's, or one derived from the request), a type
// (CODEX, COMPENDIO, ISABELLA_DOC, MANUAL or the operator's own in the same
// form), 1 byte to 8 KiB of text, and up to sixteen pairs of metadata. Its record
// holds the vector of its text beside the id of the model that made it, so one
// write replicates both. The metadata "title", when there is one, is embedded
// with the text.
//
// # Search
//
// Every tenant has an index in memory, fed by the store from within Apply: a
// document is searchable when its commit returns, and gone when its removal
// does. A search takes the documents whose cosine with the query is at least the
// threshold (the embedder's own unless the caller names one), and among those
// keeps the best by cosine and shared words together: BM25 with the constants of
// Robertson and Zaragoza ("The Probabilistic Relevance Framework", 2009; k1 =
// 1.2, b = 0.75), scaled to [0,1]. So the embedder says what is relevant and the
// words say which of that is meant; the constant wordWeight has the figures. The
// similarity reported is always the cosine. [Pod.Recall] returns the best first;
// the search route sorts what was chosen by similarity.
//
// Vectors of another model are not comparable. A document that carries one is
// not searched; it counts as stale in [Pod.Status] and is found again once it is
// written anew.
//
// # Units and errors
//
// Similarities and thresholds are cosines, -1 to 1. Times are microseconds since
// the Unix epoch in records, RFC 3339 in replies. Errors are [*tap.Error]:
// Invalid for text that breaks a rule (codes "text", "too_large", "duplicate"),
// NotFound, Unavailable when the embedder fails.
package memory
