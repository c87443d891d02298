package lane

import (
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// Batch is one validated record batch on its way in.
type Batch struct {
	Topic     meta.TopicID
	Partition int32
	// Durability is the topic's class as the caller knows it. State judges it again at commit.
	Durability metapb.Durability
	// Header is what validation returned.
	Header recordbatch.Header
	// JoinsTransaction: a transactional batch that adds its partition to the transaction, and begins one where none is open.
	JoinsTransaction bool
	// Data is the batch's bytes. They must not change before the Request's Memory is released.
	Data []byte
}

// Request is what one Append brings: batches of any number of partitions and of both lanes.
type Request struct {
	// Batches are copied; the slice may be reused when Append has returned. What their Data points to may not.
	Batches []Batch
	// Memory, if not nil, is released once, when nothing refers to the batches' Data any more.
	Memory Releaser
}

// Releaser is memory with an owner to whom it returns. Release is called on the lanes' goroutines and the replica's, with locks
// held: it must be quick and must not call back.
type Releaser interface{ Release() }

// Failure says why a batch has no verdict. All of them but TooLarge may be retried by the producer; TimedOut and Fenced do not say
// that the batch was not written.
type Failure uint8

const (
	// NoFailure: the batch has a verdict, Result.Code.
	NoFailure Failure = iota
	// TimedOut: the caller's deadline passed; the batch may yet be committed.
	TimedOut
	// StorageFailed: the hot log or the bucket did not take the bytes, or had no space for them.
	StorageFailed
	// Fenced: the node's epoch ended while the batch had no verdict.
	Fenced
	// NotEnoughReplicas: the durability class cannot be met.
	NotEnoughReplicas
	// UnknownPartition: the partition's number is none that a topic can have.
	UnknownPartition
	// Closed: the node shuts down.
	Closed
	// Overloaded: what stands behind the lane (the store, the hot log) is full, or so slow that the lane's memory is. Nothing was written.
	Overloaded
	// TooLarge: no chunk can hold the batch. It has to be sent in smaller ones.
	TooLarge
)

var failureNames = [...]string{"none", "timed out", "storage failed", "fenced", "not enough replicas", "unknown partition", "closed", "overloaded", "too large"}

func (f Failure) String() string {
	if int(f) < len(failureNames) {
		return failureNames[f]
	}
	return "unknown"
}

// Result is what became of one batch.
type Result struct {
	Failure Failure
	// Code is the verdict of the state machine, where Failure is NoFailure. BaseOffset and LogStartOffset are set where it
	// is OK or a duplicate.
	Code           meta.Code
	BaseOffset     int64
	LogStartOffset int64

	settled bool
}
