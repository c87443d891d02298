// Package hotlog is an ingest node's only durable log: one append-only sequence of chunks for all partitions, in segments on
// the local disk. FORMAT.md is the specification of what it writes.
//
// # What it guarantees
//
//   - When Append returns, its chunks are durable: one write, one fdatasync. After a crash at any moment Open finds every chunk that
//     was acknowledged, unless its segment was removed, at its place and in order.
//   - What Open finds was appended at some time by somebody. Chunks that were not acknowledged may be found as well: a
//     write may reach the disk before the crash that kept its success from being told. Chunks that failed before an Abandon
//     that returned are not found, as long as the segment that followed has not been removed before theirs.
//   - Open is idempotent: what one recovery reports is durable when it returns, and the next reports the same.
//   - Damage to what was durable is refused by name (*CorruptionError), never cut, wherever the log itself can prove it; the last
//     group of a log that was not closed is the one place where it cannot.
//   - A segment id is never given out twice, a place is never reused.
//   - Readers see durable bytes only.
//
// # Why it survives a crash
//
// The file system promises that what was synced stays, and nothing about what was not: not the order of writes, not that a
// write arrives as a whole, not that a name survives (package vfs). Five rules follow.
//
// Names. A segment gets its name after its header is synced, and takes its first chunk after the directory is. So a
// named segment without a valid header is damage, and an acknowledged chunk cannot vanish with its file's name.
//
// Frames. Each frame's header has a checksum of its own, mixed with a random salt of the segment and the frame's position, and
// holds that of the payload. What was left by an earlier failed write, copied from elsewhere, or sent by a producer who likes
// magic numbers is not taken for a frame; a length is believed only when the header is.
//
// Durable ends. A group is written only after the one before it is durable, and every frame of it says up to where the segment was
// durable when it was written. Where scanning meets bytes that are no frame, anything found behind them settles what
// they are: a frame that was written when these bytes had been durable proves damage; without one they were never
// acknowledged, or are the last group of all, and are cut. A segment's first frame says the same of the segment before.
//
// New segments. A process never appends to a segment that it did not create, so nothing is written behind a tail that was cut; recovery
// writes what may never have been synced once more, syncs it, and seals the segment with a footer.
//
// Poison. After a failed write or fsync nothing is known about the pages in between, so the segment is never written or synced again.
// Everything above its durable end has failed. Abandon begins a new segment, whose first frame states that end durably.
// A write refused for lack of space is no such failure: nothing was acknowledged, and the next group overwrites what part of it was
// written, with higher sequence numbers, so that no remainder of the old one can follow the new one.
//
// # Sealing and removing
//
// A segment is sealed when the next chunk does not fit, by Roll (the caller's timer), by Close, or by recovery. A sealed
// segment ends in a footer that repeats what its frames say, so that Open reads two pages of it; Verify and
// Config.VerifySealed read all. Remove deletes one; readers that hold it keep reading. The files of up to eight are kept, unless they are read
// or the disk fills up, and overwritten by later segments: that costs a file system less than writing new blocks does.
//
// # What it leaves to others
//
// What is in a chunk, which segments may be removed and when, epochs, the age at which to roll, how long a group gathers
// before it is appended, and serving bytes over the network.
package hotlog
