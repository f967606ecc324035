// Package memory is the civilizational memory: documents that the appliance
// answers from, found by meaning and by words.
//
// # A document
//
// A document has an id (the curator's, one derived from the request or, in a
// batch, from the content), a type (CODEX, COMPENDIO, ISABELLA_DOC, MANUAL or the
// operator's own in the same form), 1 byte to 8 KiB of text, and up to sixteen
// pairs of metadata. Its record holds the vector of its text beside the id of the
// model that made it: the node that takes the request runs the model, the others
// index what they are sent. The metadata "title", when there is one, is embedded
// with the text.
//
// A document may come with a vector of its own, of a model that the caller names.
// Vectors of different models are never compared; those of each have an index. The
// first vector of a model decides how many dimensions the others have, until none
// is left: record (tenant, "memory-index", "dimensions", model), in decimal, which
// makes requests that would all be the first take turns.
//
// # Writing
//
// A write replaces the whole document and gives its record another version, which
// a request may name to be refused when the document has changed meanwhile. A
// batch stores what can be stored of up to [MaxBatch] documents in one commit and
// leaves alone what is stored, or in the batch, already just so, so that an import
// can be repeated.
// The ledger has digests of what was written and removed, not the text.
//
// # Search
//
// Every tenant has indexes in memory, fed by the store from within Apply: a
// document is searchable when its commit returns, and gone when its removal does.
// A search collects the nearest documents by cosine and those with the best words
// by BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009;
// k1 = 1.2, b = 0.75), and orders them by both together; rank.go has the formula
// and the figures it was chosen by. Filters by type, metadata and time leave
// min(limit, matches) results, never fewer: what few documents pass is compared
// whole, in some ten nanoseconds for each.
//
// A document is relevant when its cosine is at least the threshold: the
// embedder's own unless the caller names one. It is relevant too, by its words
// alone, when it has a rare word of the query and covers most of the rest, or has
// a code that is in the query: names and codes mean nothing to an embedder. The
// similarity of a result is the cosine, or for one found by its words the share of
// the query that it covers, and is never below the threshold.
//
// # Indexes of vectors
//
// A tenant has one index for each model. It grows by what is committed, and is made
// anew at markers: records in the log, proposed by the leader's [Pod.Maintain] when
// much was added or removed, at which every node builds the index of the documents
// that are there at that moment, in the order of their ids, in batches of 256, with
// the marker's seed. Searches and Apply go on; changes meanwhile are made up for
// before the new index takes the place of the old. What was built is saved and has
// the same bytes on every node: one records its SHA-256 as evidence (actions
// "memory.consolidated" and "memory.snapshot"), the others compare ([Pod.Health]).
//
// A start maps the saved index and compares it with the records by version and
// checksum: only what differs is indexed again. What is damaged or of another
// history is made anew from the records; when that is most of a large index, one
// without a graph, whose vectors are all compared, answers until a job is done
// ([Status] says how far it is). The seed is 32 random bytes that the first
// marker brought; it decides the levels of the graph, so that nobody can choose ids
// that spoil it, and is shown nowhere. Vectors of removed documents stay in the
// saved file, which nobody searches for them, until the next marker.
//
// While an index is made there are two in memory, and a copy of its vectors in a
// nameless file of Config.Dir.
//
// A document whose vector is of another version of the embedder is stale: it is
// found by its words until it is written anew. [Pod.Status] counts such documents.
//
// # Units and errors
//
// Similarities and thresholds are cosines or shares, -1 to 1. Times are
// microseconds since the Unix epoch in records, RFC 3339 in requests and replies.
// Errors are [*tap.Error]: Invalid for what breaks a rule (codes "text",
// "too_large", "duplicate", "vector", "model", "time", "threshold", "recall"; of a
// document in a batch also "schema" and "batch_full"), Conflict with the code
// "version", NotFound, Unavailable when the embedder fails.
package memory
