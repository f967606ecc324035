// Package vector finds the nearest vectors to a query.
//
// An [Index] holds vectors of one length under string ids, each with a tag, a
// kind and a time, and answers "which k are most similar", optionally among
// those that a [Filter] lets through.
//
// # How
//
// Vectors are quantised to one byte a dimension. The codes are linked into a
// Hierarchical Navigable Small World graph (Malkov and Yashunin, IEEE TPAMI
// 2020), in which a search walks towards the query; the best of what it passes
// are compared by their float32 vectors. Of long vectors under Cosine the signs are
// kept as well, one bit a dimension or two: they tell which of the vectors passed
// need not be compared at all. While an index is small, and where a
// filter leaves few vectors, all that match are compared instead, without loss.
// Search chooses between the two by itself: Options.Recall says how much of the
// true answer is wanted, and the index knows from measuring itself how far to
// look for that.
//
// # Guarantees
//
//   - A vector is findable as soon as Add returns, and a search sees the index as
//     it was when the search began: of a batch all or nothing, of an update the old
//     or the new vector, of a deleted one nothing.
//   - Search returns min(K, matches) hits whatever the filter, best first, equal
//     scores by ascending id. With Recall 1 they are exactly the best; otherwise a
//     walk may miss some, and choose among equal vectors as it finds them.
//   - The same calls in the same order make the same index, bit for bit, whatever
//     the processor and the number of threads. Building adds whole numbers, or
//     rounds in a fixed order, as scores do. Snapshots of replicas have equal digests.
//   - No stored or returned score is ever NaN or infinite: components are bounded by
//     [MaxComponent].
//   - One writer and many readers work at once. Writers take turns; searches take
//     no lock and wait for nobody. Stored vectors are copies.
//
// # Memory
//
// Rows lie in arenas outside Go's heap, without pointers: address space is
// reserved for millions of rows and given memory as they come. A vector of d
// dimensions takes d bytes of code, 4d of floats, d/8 to d/4 of signs if it is long
// and the metric Cosine, and some 190 for links, times and its id; [Tier] says what else can be chosen. Deleted rows stay as signposts of
// the graph until Consolidate erases them and reuses their slots.
//
// # Scores
//
// Higher is always better: the cosine in [-1,1] under [Cosine], the dot product
// under [InnerProduct], minus the squared Euclidean distance under [L2].
//
// # Errors
//
// Every error wraps one of the Err variables. A call that fails changes nothing
// that a search can see.
package vector
