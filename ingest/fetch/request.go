package fetch

import (
	"time"

	"github.com/varvelog/varve/coordinator/meta"
)

// Request is one Fetch.
type Request struct {
	Partitions []PartitionRead
	// MinBytes is how much is worth an answer before MaxWait has passed. MaxBytes bounds the whole response, except that a first
	// batch is returned whatever its size.
	MinBytes int
	MaxBytes int
	MaxWait  time.Duration
	// Rotation says at which partition the sharing of MaxBytes begins. A caller that raises it by one with every request of
	// a connection lets every partition come first in turn.
	Rotation uint32
	// Committed bounds the answer to what lies below the last stable offset, and has it tell of the aborted transactions there.
	Committed bool
}

// PartitionRead asks for records of one partition from Offset on.
type PartitionRead struct {
	meta.TopicPartition
	Offset   int64
	MaxBytes int
	// LeaderEpoch is the partition's as the client knows it, -1 for none.
	LeaderEpoch int32
	// Open is set for the first read of the partition on a connection: it is answered behind a barrier.
	Open bool
}

// Code says how the read of one partition ended. ingest/kafka maps it to Kafka's error codes.
type Code uint8

// The outcomes.
const (
	OK Code = iota
	// OffsetOutOfRange: below the log start or above the high watermark.
	OffsetOutOfRange
	// UnknownTopic: there is no such topic or partition.
	UnknownTopic
	// FencedLeaderEpoch and UnknownLeaderEpoch: the client's leader epoch is below, or above, the partition's.
	FencedLeaderEpoch
	UnknownLeaderEpoch
	// OffsetNotAvailable: whether the offset exists cannot be told now. Retriable.
	OffsetNotAvailable
	// StorageError: the bytes cannot be had now. Retriable.
	StorageError
)

var codeNames = [...]string{"ok", "offset out of range", "unknown topic", "fenced leader epoch", "unknown leader epoch",
	"offset not available", "storage error"}

func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return "unknown"
}

// PartitionData is the answer for one partition.
type PartitionData struct {
	Code Code
	// HighWatermark, LastStableOffset, LogStartOffset and LeaderEpoch are the partition's, -1 where they are not known.
	HighWatermark    int64
	LastStableOffset int64
	LogStartOffset   int64
	LeaderEpoch      int32
	// Records are consecutive whole batches, in order, in any number of slices.
	Records [][]byte
	// Bytes is the sum of their lengths.
	Bytes int
	// Aborted are the aborted transactions that have records among them, of a Committed request; perhaps some more.
	Aborted []meta.AbortedTransaction
}
