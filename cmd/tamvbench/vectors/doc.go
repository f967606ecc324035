// Package vectors measures nearest-neighbour indexes beside each other: how many
// queries each answers per second of CPU at which recall, what building it costs
// and how many bytes it takes for a vector.
//
// # Files
//
// The two formats are those of the public nearest-neighbour benchmarks. All
// numbers are little-endian; nothing follows the last row.
//
//	.fbin  int32 n, int32 d, then n rows of d float32     vectors
//	.ibin  int32 n, int32 k, then n rows of k int32       of each of n queries the k nearest rows, nearest first
//
// Reading is strict: a length that contradicts the header, a component that is
// NaN or infinite and a neighbour that is no row of the base are errors that say
// what to do.
//
// # Measuring
//
// A [Contestant] builds an index of the base and answers all queries, one after
// the other on one thread, with a given number of candidates (ef): a pass. Time
// is CPU time of the whole process, user and system (getrusage), because the wall
// clock of a shared machine says little. Two indexes are compared by building
// them one after the other and letting them take turns of three passes, several
// times, so that whatever else the machine does meets both; the best pass counts. Recall is the share of the
// true K nearest rows among the K answered, by id.
//
// Peers are programs with a small protocol, see [Peer].
//
// # Interpolation
//
// QPS at a recall between two measured points is read from the line between them
// with a logarithmic QPS axis, on the points that no other beats in both. Below
// the first point the first point's QPS counts (it is at least that); beyond the
// last there is none.
package vectors

// K is how many neighbours are asked for.
const K = 10
