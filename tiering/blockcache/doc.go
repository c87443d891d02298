// Package blockcache keeps ranges of immutable objects in memory for readers of segments, and turns their reads into
// few, large, ranged GETs.
//
// What it guarantees:
//
//   - One GET per block at a time: readers of a block that is on its way wait for it together.
//   - A GET outlives its readers. It runs under the cache's own bounded timeout, and what it brings is cached, so a client
//     whose wait is shorter than the store's latency finds the bytes on its next try instead of starting anew for ever.
//   - Memory is bounded: cached and incoming blocks together never exceed CapacityBytes. Readers whose blocks do not fit
//     wait; read-ahead is skipped. The memory is allocated as blocks arrive.
//   - Errors are never cached. Transient ones are tried again inside the fetch, from the byte that was reached.
//   - A scan does not displace what is read repeatedly.
//
// Whoever stores an object that will be read soon gives it to Keep, and its first readers need no GET. Such blocks enter like others, but
// one that nobody has read is evicted at the queue's end.
//
// Objects are taken to be immutable: the cache never asks whether one has changed. It checks no content: whoever reads does, and what is found
// damaged is read from the store again after Forget.
//
// # Blocks
//
// A block is 256 KiB by default. Its size does not decide the size of GETs, since missing neighbours are fetched in one;
// it decides what a small read (a footer, an index, one partition's batches) costs in memory and transfer. At 256 KiB
// that transfer, about 3 ms at S3's usual 80 MB/s a connection, vanishes beside the 100 ms to the first byte, and the
// default 64 MiB hold 256 places of interest; at 1 MiB they would hold 64, fewer than a node has readers.
//
// Blocks are never written after they are filled and never reused. View may therefore hand out slices of them without a
// reference count to get wrong: a slice stays valid for as long as someone holds it, and an evicted block's memory goes
// when the last one does. What callers hold beyond the cache's capacity is theirs to bound.
//
// # Eviction
//
// New blocks enter a queue (first in, first out) and are evicted from its end. A block that is read again twice moves to a
// protected list (least recently used), which may take half of the capacity. Reading on within a block is not reading
// again: a consumer that takes a block in four fetches has read it once. A read-ahead block that reaches the queue's end
// unread goes round once more at the protected list's expense, so that hot blocks which have gone cold give way to scans.
//
// # Read-ahead
//
// A read is sequential if the block before, or the one it begins in, was read up to where it begins. The state stands in
// the blocks themselves, so any number of sequential readers of one object are told apart, and under memory pressure,
// when neighbours are gone, read-ahead ends by itself. It grows with the length of the run to ReadAheadBlocks, and is
// fetched again when half of it is used, in the same GET as missing blocks where they touch.
package blockcache
