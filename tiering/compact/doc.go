// Package compact carries out rounds of compaction: it takes one from the leader, finds for each key in the part of the log that is new
// since the last round the offset of its last record, goes through the partition from its log start, and stores anew what holds records
// that a later one of their key has superseded, without them.
//
// What stays is as it was: offset, timestamp, key, value, headers, order. The rules are those of Apache Kafka's cleaner:
//
//   - Records of aborted transactions go, and supersede nothing. So do records without a key, which no compacted topic takes.
//   - A batch with tombstones, or with the marker of a transaction of which nothing is left, gets a delete horizon in its header
//     (KIP-534): the time of the first round that finds it so, and delete.retention.ms. A later round drops them once that time has come.
//     Consumers that read slower than that may miss a deletion, as with Kafka. The horizon lives in the batch and not in the metadata:
//     it moves with its records, costs nothing where there are none, and the bucket alone tells of it.
//   - A tombstone or marker is dropped only below the offset up to which a whole round has come before, so that nothing which it hides
//     can be left in a part that a broken round did not reach.
//
// Producers' sequences are in the metadata, so that no batch is kept for their sake.
//
// A round is reported range by range. Each report is one command, which puts one stored object in the place of the parts it was made of;
// the leader alone judges it. A worker that dies leaves a round half done, which is as good a log as before: every record that is gone
// has its successor. Small parts next to each other become one; a large one in which nothing changes stays as it is.
//
// Where a topic is not compacted, a round merges: it goes over a row of small parts in the same way, drops nothing, and puts them, and small
// batches in them, together.
//
// Memory is bounded by Config.MapBytes, one object being built, and one batch. Where the keys do not fit, a round goes as far as they do,
// and the next one goes on from there.
package compact
