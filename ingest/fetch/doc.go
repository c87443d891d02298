// Package fetch reads committed records from wherever they are: the node's own hot log, a peer's, or the bucket.
//
// A read is planned over the node's replica of the state under one short view, without I/O, and then carried out: hot
// runs with few, large preads into pooled memory, everything remote concurrently and bounded beside it. What is returned are whole batches
// with their final offsets, never copied a second time.
//
//	Read ──▶ plan (View) ──▶ local hot log: merge neighbours, pread, cut to whole batches, assign offsets ──┐
//	  ▲          │                                                                                         ├──▶ Response
//	  │          └────────▶ peers, chunks and segments in the bucket: concurrent, until the wait is over ──┘
//	  └── Watch: woken at commit, plans again only what moved
//
// # What it guarantees
//
//   - Whole batches only, and at least one of the first partition that has any, whatever the byte limits (KIP-74).
//   - Partitions share the response's bytes in an order that rotates from request to request, so none starves. A cold read never
//     holds back hot data; what it has asked the cache for is there for the next request.
//   - Monotonic views: the first read of a partition on a connection, and any answer that an offset or a partition does not
//     exist, is given behind a barrier. Where the barrier fails, the answer is OffsetNotAvailable once the wait is over.
//   - Missing bytes are never a wrong answer: the read is planned again behind a barrier and repeated; at last the
//     partition, and no other, gets StorageError. A hole that is final is served as an empty batch.
//   - Memory is bounded: the bytes of all responses that are not released.
//
// # What it leaves to others
//
// Fetch sessions, quotas, Kafka's error codes (ingest/kafka), caching and read-ahead of objects (tiering/blockcache), where
// a batch stands within a stored part (tiering/segment). Batches' checksums are for their consumers, as in Kafka.
package fetch
