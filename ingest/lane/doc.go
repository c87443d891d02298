// Package lane turns validated record batches into durable, committed runs, and answers for each of them.
//
// A Set is one node's way in. It has three lanes, each a sequence of chunks: local, whose chunks are appended to the
// node's hot log, replicated, whose chunks are sent to another node's as well, and object, whose chunks are PUT into the bucket. A topic's
// durability class says which one its batches take. It also takes copies of other nodes' chunks into the hot log (AcceptCopy), and lets state know of
// segments to which nothing will be added that anybody could refer to.
//
//	Append ──▶ queue ──▶ sort by partition, header + run table ──▶ hot log (one write, one fdatasync) ──┐ flushed,
//	   │         ▲        (object lane: PUTs in a bounded window, hedged)                              │ not committed
//	   │         └── fills while the chunk before it is flushed: group commit                          ▼
//	Pending ◀─────────────── verdicts from the node's own replica ◀── log ◀── one submission in flight
//
// # What it guarantees
//
//   - Order. Batches of one partition are committed in the order of the Append calls. Chunks of a lane are committed in
//     order, whatever the order in which their bytes became durable. A partition whose topic changed class stays in its
//     lane until its unanswered batches have drained.
//   - Bytes before metadata. A chunk is submitted only after its bytes are durable.
//   - Ambiguity is settled. A submission that failed or whose answer was lost is repeated until its verdict is applied here or
//     the epoch has ended; state judges by (epoch, lane, seq), so a repeat changes nothing. A producer that gives up earlier
//     gets a timeout, which says that its records may or may not be there.
//   - A chunk whose PUT was hedged is submitted with the key that won. Both keys hold the same bytes; the command says which keys to let go of.
//   - After a failed write or fsync, and after an object that cannot be stored, the chunk and everything behind it in
//     its lane fail and the node takes a new epoch. A full disk refuses producers without a new epoch, and the lane goes on
//     when there is space.
//   - Everything is bounded: bytes between Append and verdict by a budget at which Append waits, chunks that are flushed and
//     not committed, uploads, commands in a submission.
//
// Delay tells the caller how long a client should wait, so that producers slow down before a bound is reached; what waits for something beyond
// the node has half of the budget at most, and is refused above it.
//
// # What it leaves to others
//
// Validation and compression (ingest/recordbatch, ingest/kafka), offsets and producer sequences (coordinator/meta), the
// mapping of failures to Kafka's error codes (ingest/kafka), registering epochs and forwarding verdicts (services).
package lane
