// Package share holds the rules of one share partition (KIP-932): which records of a partition a share group has been given, to whom, how
// often, and what became of them. It has no clock, no lock and no I/O: it is told the time, and coordinator/delivery owns the rest.
//
// # A share partition
//
//	      start                                            end
//	        │                                               │
//	────────┼───────────┬──────────┬───────────┬────────────┼──────────────▶ offsets
//	 done   │ acquired  │ archived │ available │ acquired   │ never given out
//	        │ by A, 1st │          │ 2 times   │ by B, 1st  │
//
// Everything below start is done with. From start to end, spans tile the offsets; each is Available, Acquired, Acknowledged or Archived, with
// the number of times it was given out. Neighbours that are alike are one span, so that memory goes with what differs, not with the number
// of records. A span that is done (Acknowledged, Archived) at the start moves it.
//
// Acquire gives records to a member for a time; Acknowledge, Release and Expire take them back. What was accepted is Acknowledged, what was
// rejected or is no record Archived, what was released or whose time is over Available again, unless it was given out as often as it may be:
// then it is Archived.
//
// # What is durable
//
// Take tells what has changed since it was last called, as StateBatches to be laid over the earlier ones (Overlay). Acquisitions are not
// among them: a partition that is restored has what was acquired as Available, with the count it had before, as Kafka's has after a change of
// leader. So a record whose acknowledgement was stored is never given out again, and none is lost.
//
// # Invariants
//
//   - spans tile [start, end), in order, without a gap; the first is not done, neighbours differ.
//   - A member, and an end of the time, stand in Acquired spans and nowhere else.
//   - start never falls, but by a new Partition.
//   - A failed Acknowledge changes nothing.
//   - Restore(start, Overlay of all that Take told) is the partition, with what is Acquired as Available and counted once less.
package share
