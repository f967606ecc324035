// Package disk keeps a node from filling its own disk.
//
// A [Watch] looks at the file system of the data folder each second. Below the
// low mark [State] says Low, and whoever asks refuses to write; expiry goes on.
// Above one and a quarter of the mark it is over, without a restart. The mark is 5 % of the file system, at most
// 1 GiB, or what the configuration asks for when that is more.
//
// # The reserve
//
// The watch keeps a file of 64 MiB, at most 2 % of the file system, whose blocks
// are written with bytes that nothing compresses. When less than a quarter of
// the mark is left, whoever took it, the file is removed, so that the flush, the
// log and a snapshot that are under way can finish. What was given back counts
// as used: it neither ends the episode nor is it spent twice. When there is room
// again the file is made anew.
//
// A file system that cannot be asked, and a reserve that cannot be made, stop
// nothing: they are conditions for [Watch.Health]. On systems other than Linux
// nothing is watched, and Health says so.
//
// Numbers of bytes are uint64 throughout, as the kernel counts them.
package disk
