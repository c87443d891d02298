package meta

import "github.com/varvelog/varve/coordinator/metapb"

// Code is the outcome of a command, or of one part of it. Only ingest/kafka turns it into Kafka's error codes.
type Code uint8

// The outcomes. Everything but OK, DuplicateSequence and AlreadyCommitted means: nothing changed.
const (
	OK                     Code = iota
	Malformed                   // the command itself makes no sense
	Fenced                      // decided under an epoch of a node that is not its current one
	WrongSeq                    // a chunk that is not the next of its lane: one before it is missing (ChunkVerdict.Expected)
	AlreadyCommitted            // a chunk whose seq is used up; its first verdict stands
	SegmentSealed               // a chunk for a hot segment that takes no more
	StaleLeader                 // the whole entry is void: its leader had been succeeded
	Incomplete                  // a command in frames of which one was missing
	UnknownTopic                // no such topic or partition
	TopicExists                 // the name is taken
	InvalidTopicName            // not a legal name, or one that collides with another in metric names
	InvalidPartitions           // a count that is not allowed
	PolicyViolation             // above the cluster's bound on partitions
	InvalidConfig               // see the message
	WrongDurability             // the topic's class is stronger than the chunk's; retriable
	OutOfOrderSequence          // Kafka's OUT_OF_ORDER_SEQUENCE_NUMBER
	DuplicateSequence           // the batch had been committed: its first offset is given
	InvalidProducerEpoch        // Kafka's INVALID_PRODUCER_EPOCH
	TransactionUnsupported      // a control batch
	UnknownNode                 //
	UnknownContainer            //
	UnknownGroup                //
	GroupNotEmpty               //
	UnknownJob                  // the job has ended, by lease or by a result
	NothingWaits                // LeaseJob found no sealed container
	OffsetOutOfRange            //

	InvalidTransactionState   // Kafka's INVALID_TXN_STATE
	InvalidProducerIDMapping  // the transactional id is not known, or has another producer id
	ProducerFenced            // an epoch of the transactional id that is not its present one
	InvalidTransactionTimeout //
	NodeLive                  // ForgetNode: the node is there
)

var codeNames = [...]string{
	"ok", "malformed", "fenced", "wrong-seq", "already-committed", "segment-sealed", "stale-leader", "incomplete", "unknown-topic",
	"topic-exists", "invalid-topic-name", "invalid-partitions", "policy-violation", "invalid-config", "wrong-durability",
	"out-of-order-sequence", "duplicate-sequence", "invalid-producer-epoch", "transaction-unsupported", "unknown-node",
	"unknown-container", "unknown-group", "group-not-empty", "unknown-job", "nothing-waits", "offset-out-of-range",
	"invalid-transaction-state", "invalid-producer-id-mapping", "producer-fenced", "invalid-transaction-timeout",
	"node-live",
}

func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return "code-unknown"
}

// Verdict is the outcome of one command. Which fields are set depends on the command.
type Verdict struct {
	Code    Code
	Message string // for people, where the code does not say all

	// RegisterNode. The node deletes UnreferencedSegments; MissingSegments are lost with the disk, or a foreign data directory.
	NodeID               NodeID
	NodeEpoch            uint64
	UnreferencedSegments []uint64
	MissingSegments      []uint64

	ProducerID     int64  // AllocateProducerId, InitTransactionalProducer, EndTransaction
	ProducerEpoch  int16  // InitTransactionalProducer, EndTransaction
	JobID          JobID  // LeaseJob
	LogStartOffset int64  // AdvanceLogStart
	Expected       uint64 // CommitChunk: the seq that the lane's next chunk must have

	// ForgetNode
	Lost []LostRange

	// FinishJob
	PartsTaken, PartsDropped uint32

	// Codes holds one code per entry of CommitOffsets, DeleteOffsets, DeleteGroups, StoreShareState and ResetShareOffsets, whose entries are judged by themselves.
	Codes []Code
}

// ChunkVerdict is the outcome of a CommitChunk. Runs, one per run of the table, are there where Code is OK.
type ChunkVerdict struct {
	// Code is OK; Fenced (the node needs a new epoch); WrongSeq or AlreadyCommitted; SegmentSealed or Malformed (the lane cannot
	// go on: a new epoch); StaleLeader (the entry was void: submit the chunk again).
	Code     Code
	Expected uint64
	Runs     []RunVerdict
}

// RunVerdict is the outcome of one run. Code tells of the run as a whole (OK, UnknownTopic, WrongDurability,
// TransactionUnsupported); where it is OK and Batches is not empty, each batch has its own outcome.
type RunVerdict struct {
	Code           Code
	BaseOffset     int64 // of the first batch accepted, -1 for none
	LogStartOffset int64 // of the partition, -1 where it is unknown
	Batches        []BatchVerdict
}

// BatchVerdict is the outcome of one detailed batch: OK, DuplicateSequence (BaseOffset is that of the first copy), or refused
// with BaseOffset -1.
type BatchVerdict struct {
	Code       Code
	BaseOffset int64
}

// ChangeKind tells which caches may be stale.
type ChangeKind uint8

// The kinds of change.
const (
	ChangedTopics     ChangeKind = iota // topics, partitions, topic configuration, log start offsets
	ChangedNodes                        // nodes, their liveness and addresses
	ChangedGroups                       // groups or their offsets
	ChangedConfigs                      // configuration other than topics'
	ChangedContainers                   // a container was sealed, leased, waits again or was released
	ChangedGarbage                      // objects became garbage
	ChangedLeader                       // there is a new leader
)

// Observer sees what Apply does. It must not call the State, and everything passed is valid during the call only.
type Observer interface {
	// Wants says whether a verdict for this command id is wanted here.
	Wants(id []byte) bool
	Verdict(id []byte, v Verdict)
	// WantsChunks says whether verdicts for chunks of this node's epoch are wanted here.
	WantsChunks(node NodeID, epoch uint64) bool
	ChunkVerdict(c *metapb.CommitChunk, v *ChunkVerdict)
	// Committed tells of a partition's new high watermark.
	Committed(p TopicPartition, highWatermark int64)
	Changed(k ChangeKind)
}
