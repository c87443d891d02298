// Package meta is the coordinator's deterministic state machine: what the metadata log means.
//
// State applies the log's entries in order and answers what the rest of Varve asks: offsets, producer sequences, topics and
// their configuration, consumer groups and their offsets, nodes, the index of where every offset's bytes are, jobs for the
// tiering worker, and what may be deleted. It reads no clock, does no I/O, starts no goroutine and is not safe for concurrent use
// (package replica guards it): time, randomness and identities come in the commands, so two states that have applied the
// same entries have the same Hash.
//
// # Guarantees
//
//   - One sequencer: an offset is given by applying CommitChunk and by nothing else. Chunks of a lane are taken in exactly
//     the order of their seq within the node's current epoch; a repeat changes nothing.
//   - A partition's extents (unshipped runs, transaction markers and stored parts) tile [log start, next offset): every offset
//     in there is found exactly once by Locate.
//   - Atomic transactions: one EndTransaction gives markers their offsets in every partition and groups their offsets. A
//     transactional batch is taken only into its producer's open transaction, under its present epoch. The last stable offset
//     passes no open transaction and never decreases; nothing above it is shipped.
//   - One writer: an entry of an older leader epoch is void as a whole.
//   - Fence before delete: a key becomes garbage, and a hot segment released, only when no offset can lead to it any more.
//   - A command that does not fit the state is refused with a Code and changes nothing. Apply does not panic on anything
//     that decodes.
//
// # Left to others
//
// Making entries durable (metalog), keeping a State up (replica), deciding commands (leader), the group
// protocol (group), deleting bytes (tiering, ingest nodes), Kafka's error codes (ingest/kafka).
//
// # File map
//
// state.go the state and Apply; one file per subject for its commands (nodes.go, commit.go, topics.go, configs.go,
// groups.go, jobs.go, tick.go); partition.go the index of one partition; producers.go Kafka's sequence rules; container.go
// what holds runs; transactions.go transactional ids and their commands, markers.go what partitions keep of transactions,
// transaction_offsets.go groups' offsets in them; objects.go stored objects and garbage; configdefs.go the table of configurations; locate.go look-ups;
// snapshot*.go and FORMAT.md the snapshot; entry.go the encoding of entries; frames.go continuation frames.
package meta
