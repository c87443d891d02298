// Package history decides whether what clients of a cluster saw can have happened on a log that keeps its promises.
//
// A history is a sequence of events, one JSON object a line: what each process (one client instance) sent, polled, committed and
// was told, with the times of its call and of the answer on one monotonic clock. Every record has a value that no other has. Check reads a history twice
// and reports anomalies, each with the events that show it:
//
//   - lost write: an acknowledged record, or one that was read before, is missing below the end of the log;
//   - unseen write: an acknowledged record lies behind the end of the log as it was read at last;
//   - duplicate: one record stands at two offsets, or was consumed by two committed transactions;
//   - inconsistent offset: one offset held two records;
//   - aborted read: a record was read that its producer was refused, or that belongs to an aborted transaction;
//   - foreign read: a record that nobody sent, or whose bytes are not what was sent;
//   - skipped and non-monotonic polls, internal (within one answer) and external (from one answer to the next);
//   - non-monotonic send: a record was given an offset below one that was known before it was sent, or out of its producer's order;
//   - torn transaction: some of a transaction's records are visible and others are not;
//   - last stable offset: a record of an open transaction, or one behind it, was given to a read_committed reader;
//   - watermark: an end of a log, or its start, went back or lies below what was acknowledged;
//   - group offset: a group's committed offset went back, or has passed records that no member was given;
//   - dependency cycle: transactions that each saw what another wrote, or wrote behind what it saw.
//
// Order of writes in a partition is the order of offsets, readers depend on the writers of what they read, and the calls of one process
// are in order. Cycles of writes alone are no anomaly: transactions of Kafka interleave within a partition. Whether a
// record must be visible is judged by complete reads of each log at the end (Log events); partitions without are judged by what anybody saw.
//
// What is declared lost (Lost events), with a disk that nobody else had a copy of, is not missed, unless it was sent afterwards.
//
// The package is pure: it knows no client and no cluster. It leaves to its callers that every value is unique and that nothing is deleted by
// retention or compaction.
package history
