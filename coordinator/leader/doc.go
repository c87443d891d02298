// Package leader owns the metadata log's tail: it sequences what everybody submits.
//
// Run takes over by appending LeaderStart with the next epoch, marked as a fence, and then appends entries one at a time.
// While one append is under way, submissions gather; the next entry takes them all (group commit). An entry that is durable is
// applied to the leader's own replica, without being decoded again, its submitters are answered, and it is told to other
// processes as a hint.
//
// What it guarantees:
//
//   - One writer: whoever finds an entry of a higher epoch at its next sequence stops at once (ErrFenced), and answers
//     nothing that it has not seen durable.
//   - Ambiguity is settled: an append without an answer is repeated with the same bytes at the same sequence; on a conflict
//     the entry there is read. Until then nothing is answered.
//   - Submissions are in the log in order, all of one or, where the leader stops in between, an error that says so.
//   - State time only grows: by the monotonic clock, drawn towards the wall clock by at most a tenth.
//   - Everything is bounded: commands and bytes that wait, the bytes of an entry.
//   - An idle cluster writes nothing: a Tick is appended only when the state has something due.
//
// Snapshots are written beside it, and the log is cut behind the older of the two that are kept. A log outside the bucket is
// copied there by coordinator/archive.
//
// File map: leader.go taking over and the loop; append.go one entry, settled; queue.go what waits; clock.go state time;
// upkeep.go ticks; liveness.go which nodes live; snapshots.go; notify.go hints; barrier.go; jobs.go tiering's questions; handlers.go
// the internal listener's methods.
package leader
