// Package snapshot keeps the snapshots of a replicated state machine as folders of files, and moves them between machines
// file by file.
//
// A large state is mostly files that never change, such as the sealed segments of a ledger. A snapshot that is a folder
// shares them with the state and with other snapshots by hard links, and a receiver fetches only the files it lacks, by
// their SHA-256, resuming in the middle of one after a broken connection. What Raft itself sends between members is the
// manifest, a short list of the files.
//
// # On disk
//
//	snapshots/<term>-<index>-<number>/   one snapshot; the three numbers are decimal, the last tells equal ones apart
//	    meta.json                        {"meta": {...}, "sha256": hex of the bytes of meta}
//	    manifest                         the list of the files, see below
//	    <name>...                        the files
//	snapshots/<name>.tmp/                a snapshot that is being made; removed on Open
//	snapshots/<name>.damaged/            one that failed its verification; removed once a good one is as new
//	staging/<sha256>                     a file received for a snapshot to come, complete
//	staging/<sha256>.part                its beginning
//
// A snapshot is made under its temporary name and renamed when all of it is on disk. A process or machine that dies in
// between leaves either no snapshot or a whole one.
//
// # The manifest
//
// Text, at most 8 MiB, one form for one content:
//
//	tamv-snapshot 1\n
//	<SHA-256, 64 hexadecimal digits> <size, decimal> <name>\n     for each file, ordered by name
//	end <number of files>\n
//
// A name has 1 to 100 of the characters a-z, 0-9, '.', '_' and '-', and begins with a letter or digit.
//
// # Guarantees
//
//   - A file is part of a snapshot only if its bytes had the SHA-256 of the manifest when they arrived here.
//   - [Store.Verify] reads all of a snapshot again. [Store.Discard] takes a damaged one out of use but keeps its name, so that
//     [Store.Lost] still tells how far it reached until a good one reaches as far.
//   - A snapshot that is open ([Store.Open], [Store.Locate]) is not removed.
//
// [Store] implements raft.SnapshotStore of github.com/hashicorp/raft, whose FileSnapshotStore is one file per snapshot.
package snapshot
