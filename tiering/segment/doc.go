// Package segment is the format of the immutable objects in which partitions come to rest: record batches sorted by partition
// and offset, an index of the batches of each part, and a directory that names every part, so that an object can be read, and the
// metadata be rebuilt, from the object alone. FORMAT.md gives the bytes.
//
// A part is a contiguous range of one partition's offsets. One object may hold one part of a busy partition or many parts of
// quiet ones; readers treat both alike. Batches stand in their final form: absolute base offsets, so that a reader hands them to a
// Kafka client as they are.
//
// What a decoder returns was covered by a checksum: the directory and each index by their own CRC32C, batches by Kafka's.
// Truncated, corrupt and unknown formats are different errors. The package does no I/O.
package segment
