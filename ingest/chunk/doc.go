// Package chunk is the codec of what an ingest node makes durable at once: a header, a run table and the record batches
// of many partitions, sorted by (topic id, partition), in arrival order inside a partition. FORMAT.md gives it byte by byte.
//
// A Builder gathers batches without copying them and lays a chunk out for one gathering write; it is reused and does not
// allocate in steady state. Parse and ParseTable validate a chunk or a bare run table once; their views then read it
// without further checks and without allocating.
//
// The checksum covers header and run table. Batch bytes are covered by their own CRCs, and in the hot log by the frame's;
// looking inside batches is left to package recordbatch, and what a run means to package meta. The package imports
// nothing of the project, so every layer may use it.
package chunk
