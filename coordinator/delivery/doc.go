// Package delivery gives the records of share partitions to the members of share groups and takes their acknowledgements (KIP-932). It runs
// beside the leader of the metadata log; coordinator/share has the rules, coordinator/group the members.
//
// # Data flow
//
//	ingest node                                     leader
//	───────────                                     ──────
//	ShareFetch ──Offer(partitions, wait)──▶  waits until a share partition has something to give: an offset below the high watermark
//	                                         (read_committed: the last stable offset) that is available or was never given out
//	           ◀─(partition, offset, reservation)─
//	reads the batches at these offsets from wherever they are (ingest/fetch)
//	           ──Take(reservation, batches)──▶  acquires what is available of them, for the group's lock duration; gives up the reservation
//	           ◀─(ranges, delivery counts)─
//	ShareAcknowledge, or in a ShareFetch
//	           ──Acknowledge(ranges, types)──▶  Partition.Acknowledge ─▶ StoreShareState ─▶ metalog
//	           ◀─ once it is durable ─
//
// The bytes never pass the leader, and the leader never reads any: it knows from its state where partitions begin and end. What it does not
// know, the first record of a time (share.auto.offset.reset=by_duration), it asks the node to find.
//
// A reservation keeps others from reading what one node reads already. It is a courtesy: it runs out after a while, and Take gives
// nothing that is not available, whoever asks.
//
// # What is durable
//
// Where a share partition begins is stored with the first offer, so that nothing is passed over when the leader changes before anything is
// acknowledged. Acknowledgements, releases and ends of locks are stored as coordinator/share tells them, all that has gathered of a
// group in one command while the one before was on its way. Who has what, and the reservations, are memory: at a change of leader they are
// gone, and what was acquired is available again.
//
// A change names the incarnation and the version of the share partition that it was decided on. Where its outcome is not known, or it was
// refused, those who wait for it are told that it failed and the partition is read anew from the state: what comes late is refused then. The
// same is done where the state has another incarnation than the memory, because the group was deleted or its offsets were altered.
//
// # Invariants
//
//   - An acknowledgement is answered with DELIVERY_OK only when it is durable; then no other of its records is, and they are not given to the group
//     again. A leader that was succeeded in its sleep may give them out until it notices, as clients have records in their buffers that were theirs
//     before the leader changed: acknowledgements of those fail.
//   - A record is with one member at a time, within one leader's time.
//   - A record that is not acknowledged is available again: when its lock ends, when its member's session ends, when the leader changes.
//   - Everything is bounded: what is kept of a partition by group.share.partition.max.record.locks, the partitions by those of the state,
//     commands on their way by one for each group.
//
// # Failures
//
//	the leader dies           clients' requests fail and are repeated; what was acquired is available at the next leader
//	an ingest node dies       its reservations run out, its members' locks end
//	a member dies             its connection ends, and its session with it: what it has is released; else the locks end
//	the log does not answer   acknowledgements fail, and their records are given out again
package delivery
