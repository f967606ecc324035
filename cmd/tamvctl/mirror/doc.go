// Package mirror copies a transparency log into a folder of static files, with the
// paths of package bookpi (C2SP tlog-tiles and our companions), which any web server
// can serve and bookpi.Audit can walk without the site.
//
// # What is written, and when
//
// A copy goes from the signed checkpoint downwards: first the right edge of the tree,
// whose hashes give the signed root; then the tiles, each against its hash in the tile
// above; then the entries, each bundle against its hash. So no file is written that the
// checkpoint does not vouch for, an interrupted copy goes on where it was, and the next
// one takes only what is new. Tiles of leaf hashes are not fetched: they are made from
// the entries.
//
// Each file is written in one step. The checkpoint follows when all that it calls for
// is on stable storage; only then the partial tiles and bundles of the checkpoint before
// are removed, and checkpoints recorded earlier are added.
//
// # What is checked
//
// That the checkpoint is signed by the log, as the policy says and the key history
// allows; that it extends the one that the folder has; that tiles, entries and payloads
// are those that it vouches for; that checkpoints recorded earlier are signed and have
// the root of their size. The files "key" and "policy" are copied as they are, for
// people.
//
// A contradiction is a *bookpi.BrokenError and leaves the folder's checkpoint as it
// was. It wraps bookpi.ErrSplitView, bookpi.ErrRolledBack or bookpi.ErrOtherLog where
// the log contradicts the folder. A checkpoint that does is kept beside the mirror's, as
// "checkpoint.conflict". Other errors are the source's and those of package os.
package mirror
