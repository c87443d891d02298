// Package recordbatch reads, judges and writes Kafka's record batches, message format v2: what producers send, what the
// log stores and what consumers get, byte for byte.
//
// # Format
//
// The format is Kafka's (https://kafka.apache.org/documentation/#recordbatch; KIP-98, KIP-534). Integers are big-endian.
//
//	byte  size  field
//	   0     8  baseOffset            0 from a producer; patched when the offset is assigned
//	   8     4  length                bytes that follow this field: a batch has 12 + length
//	  12     4  partitionLeaderEpoch  patched with the offset
//	  16     1  magic                 2
//	  17     4  crc                   CRC-32C of everything from byte 21 to the end
//	  21     2  attributes            bits 0-2 codec: none, gzip, snappy, lz4, zstd
//	                                  bit 3 timestampType: 0 CreateTime, 1 LogAppendTime
//	                                  bit 4 isTransactional, bit 5 isControl, bit 6 hasDeleteHorizon
//	  23     4  lastOffsetDelta       the batch covers baseOffset to baseOffset + lastOffsetDelta
//	  27     8  baseTimestamp         milliseconds; the delete horizon where bit 6 is set
//	  35     8  maxTimestamp          milliseconds; with LogAppendTime that of every record
//	  43     8  producerId            -1 for none
//	  51     2  producerEpoch
//	  53     4  baseSequence          sequences wrap from 2^31-1 to 0
//	  57     4  recordCount           0 where compaction has left only the range of offsets
//	  61        records               compressed together if the codec says so
//
// A record is, in zigzag varints where no size is given:
//
//	length of what follows, attributes (1 byte, none defined), timestampDelta, offsetDelta,
//	key length (-1: null), key, value length (-1: null), value,
//	header count, and for each header: key length, key, value length (-1: null), value
//
// The CRC leaves out the first 21 bytes so that a broker can assign offsets without touching it. Snappy comes in two
// forms, a bare block (C clients) or Java's xerial framing; both are read, the second is written. LZ4 is one LZ4 frame.
//
// # Guarantees
//
//   - No input makes this package panic, or inflate more than the limit it was given plus a codec's own constant buffers:
//     ErrTooLarge comes as soon as the limit is passed, or before where the payload tells its size.
//   - What Validate accepts with Limits.Deep, Records walks to its end without an error.
//   - Every error matches one of the five sentinels, unless it is a callback's or an option's.
//   - Parsing, validating without inflating, assigning offsets and iterating allocate nothing per record or batch.
//   - Compress, Decompress and Rebatcher change how records are stored, never the records.
//
// # What it leaves to others
//
// Sequences and duplicates, transactions, offsets' order across batches, the topic's configuration and Kafka's error
// codes. All functions may be called concurrently, as long as nobody patches bytes that another reads; Builder, Reader,
// Rebatcher and Scratch belong to one goroutine at a time.
package recordbatch
