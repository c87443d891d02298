package bench

import (
	"fmt"
	"slices"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

// What the coordinator's figures commit: chunks of so many runs, each one small batch of an idempotent producer, over so many partitions.
const (
	loadTopics       = 16
	loadPartitions   = 256 // of each topic
	loadRuns         = 128 // of a chunk
	loadRecords      = 10  // of a run
	loadBatchBytes   = 400
	loadSegmentBytes = 64 << 20
	loadProducer     = 7
)

// chunkLoad makes one node's chunks, in order: they stand in hot segments, and go round the partitions.
type chunkLoad struct {
	node     meta.NodeID
	epoch    uint64
	producer int64
	builder  chunk.Builder
	seq      uint64
	segment  uint64
	position uint32
	sent     [loadTopics * loadPartitions]int32 // records of each partition
	data     [loadBatchBytes]byte
}

func newChunkLoad(node meta.NodeID, epoch uint64) *chunkLoad {
	return &chunkLoad{node: node, epoch: epoch, producer: loadProducer + int64(node), segment: 1}
}

func loadTopicID(i int) (id [16]byte) {
	copy(id[:], loadTopicName(i))
	return id
}

func loadTopicName(i int) string { return fmt.Sprintf("load-%d", i) }

// next is the command of the next chunk.
func (l *chunkLoad) next() *metapb.Command {
	for i := range loadRuns {
		at := (int(l.seq)*loadRuns + i) % len(l.sent)
		l.builder.Add(chunk.Batch{
			Topic: loadTopicID(at / loadPartitions), Partition: int32(at % loadPartitions), Data: l.data[:], Records: loadRecords,
			ProducerID: l.producer, BaseSequence: l.sent[at], MaxTimestamp: int64(l.seq),
		})
		l.sent[at] += loadRecords
	}
	l.seq++
	sealed := l.builder.Seal(chunk.Header{NodeID: int32(l.node), NodeEpoch: l.epoch, Seq: l.seq})
	sizeBytes := sealed.Header.ChunkBytes()
	if int(l.position)+sizeBytes > loadSegmentBytes {
		l.segment, l.position = l.segment+1, 0
	}
	command := &metapb.CommitChunk{
		NodeId: int32(l.node), NodeEpoch: l.epoch, Seq: l.seq, Durability: metapb.Durability_DURABILITY_LOCAL, Segment: l.segment,
		Position: l.position, ChunkBytes: uint64(sizeBytes), RunTable: slices.Clone(sealed.Table.Bytes()),
	}
	l.position += uint32(sizeBytes)
	l.builder.Reset()
	return &metapb.Command{Kind: &metapb.Command_CommitChunk{CommitChunk: command}}
}

// loadSetup are the commands that the chunks of nodes 1 to nodes need before them.
func loadSetup(nodes int) []*metapb.Command {
	var commands []*metapb.Command
	for i := range nodes {
		disk := make([]byte, 16)
		disk[0] = byte(i + 1)
		commands = append(commands, &metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{
			DiskId: disk, Incarnation: disk, InternalAddress: "127.0.0.1:1",
		}}})
	}
	for i := range loadTopics {
		id := loadTopicID(i)
		commands = append(commands, &metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: &metapb.CreateTopic{
			Name: loadTopicName(i), TopicId: id[:], Partitions: loadPartitions, Configs: []*metapb.ConfigEntry{{Name: "varve.durability", Value: "local"}},
		}}})
	}
	return commands
}
