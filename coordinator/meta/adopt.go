package meta

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

// StoredTopic is what is known of a topic from a stored object.
type StoredTopic struct {
	ID         TopicID
	Name       string
	Partitions int32             // at least so many
	Overrides  map[string]string // nil where they are not known
	Job        JobID             // the newest that stored something of it, 0 where none is known to have
}

// unknownOverrides are what a topic gets whose configuration is lost: nothing is deleted by age before somebody has said so.
func unknownOverrides() map[string]string {
	return map[string]string{"varve.durability": "local", "retention.ms": "-1"}
}

// AdoptTopic makes the topic known, with as many partitions as are said. fresh says that it was not known before. Another topic that the state knew by its
// name, deleted says which, has been deleted before this one was made, and is deleted here. An error says why the topic cannot be adopted. Of several
// of one name the newest is to come first.
func (r *Recovery) AdoptTopic(t StoredTopic) (fresh bool, deleted TopicID, err error) {
	s := r.a.State
	topic := s.topics[t.ID]
	if topic == nil {
		if wrong := ValidTopicName(t.Name); wrong != "" {
			return false, deleted, fmt.Errorf("topic %s: %s", t.ID, wrong)
		}
		if t.Job != 0 && t.Job < r.first {
			// The state knew the job, and so had known the topic when the job was given records of it.
			return false, deleted, fmt.Errorf("topic %s of id %s was deleted", t.Name, t.ID)
		}
		if other := s.topicsByName[t.Name]; other != nil {
			// A job that the state did not know yet was given no records of a topic that it knew to be deleted.
			if r.adopted[other.ID] || t.Job < r.first {
				return false, deleted, fmt.Errorf("topic %s of id %s: a topic of this name has id %s", t.Name, t.ID, other.ID)
			}
			deleted = other.ID
			r.deleteTopic(other)
		}
		overrides := t.Overrides
		if overrides == nil {
			overrides = unknownOverrides()
		}
		topic = &Topic{ID: t.ID, Name: t.Name, Overrides: overrides}
		s.refreshTopic(topic)
		s.addTopic(topic)
		r.adopted[t.ID] = true
		fresh = true
	}
	if int(t.Partitions) > len(topic.partitions) {
		if t.Partitions > MaxTopicPartitions {
			return fresh, deleted, fmt.Errorf("topic %s: %d partitions", t.Name, t.Partitions)
		}
		s.addPartitions(topic, t.Partitions)
	}
	return fresh, deleted, nil
}

// AdoptSettings gives a topic that the state knew the settings that job has stored with its records, where the state did not know the job: they are newer. It
// says whether they are others.
func (r *Recovery) AdoptSettings(id TopicID, overrides map[string]string, job JobID) (changed bool) {
	t := r.a.topics[id]
	if t == nil || r.adopted[id] || job < r.first || overrides == nil || maps.Equal(t.Overrides, overrides) {
		return false
	}
	t.Overrides = maps.Clone(overrides)
	r.a.refreshTopic(t)
	return true
}

func (r *Recovery) deleteTopic(t *Topic) {
	for _, p := range t.partitions {
		delete(r.lost, p)
	}
	r.a.deleteTopic(&metapb.DeleteTopic{TopicId: t.ID[:]})
}

// Adoption says what has become of a part or chunk.
type Adoption struct {
	// Taken: it is part of the log now. New counts the offsets that the state did not know, Regained those that were lost.
	Taken         bool
	New, Regained int64
	// Skipped counts the offsets before it that nothing is known of.
	Skipped int64
	// Reason says why it was not taken; empty where all of it was there already.
	Reason string
}

// Elsewhere says what there is of a chunk's records outside of it, and what its header says.
type Elsewhere struct {
	// CreatedMillis is when the chunk was built, by its node's clock.
	CreatedMillis int64
	// Stored says whether what stands in some of the chunk's bytes, counted from where its runs are, is in a segment already.
	Stored func(tp TopicPartition, position, length uint32) bool
	// Later says whether batches that a batch misses before it are in a chunk that is to come. It was refused then. Where they are nowhere they were
	// lost after both had been acknowledged, or are in a segment that does not tell whose they were.
	Later func(TopicPartition, *chunk.Detail) bool
}

// Expects is what a partition wants next of a producer: its epoch, and the sequence in it.
func (r *Recovery) Expects(tp TopicPartition, producerID int64) (epoch int16, sequence int32, known bool) {
	p := r.a.Partition(tp)
	if p == nil {
		return 0, 0, false
	}
	e := p.producers[producerID]
	if e == nil {
		return 0, 0, false
	}
	return e.epoch, nextSequence(e.batches[e.count-1].last), true
}

// AdoptChunk commits a chunk that was found in the bucket, or in a hot log that is there, as its node would have: its batches get the next
// offsets. Chunks of a lane are to come in order of seq. holder is the node on whose disk it was found, 0 for none: another than its own has a
// copy, of which the runs become part as if that node had taken them.
func (r *Recovery) AdoptChunk(c *metapb.CommitChunk, holder NodeID, elsewhere Elsewhere) Adoption {
	s := r.a.State
	r.arrive(c)
	switch id := NodeID(c.NodeId); {
	case id < 1 || id >= s.nextNode+maxUnseenNodes:
		return Adoption{Reason: fmt.Sprintf("node %d", id)}
	case s.Dropped(id):
		return Adoption{} // like an epoch that had ended
	}
	r.ensureNode(NodeID(c.NodeId))
	n := s.Node(NodeID(c.NodeId))
	switch {
	case c.NodeEpoch < n.Epoch:
		return Adoption{} // its epoch had ended; what it had not committed never will be
	case c.Lane >= MaxLanes:
		return Adoption{Reason: fmt.Sprintf("lane %d", c.Lane)}
	case c.NodeEpoch > n.Epoch:
		n.Epoch, n.lanes = c.NodeEpoch, nil
		r.a.sealEpochsBelow(n)
	}
	if c.Seq < n.nextSeq(c.Lane) {
		return Adoption{} // it was decided on
	}
	n.useSeq(c.Lane, c.Seq-1)
	t, err := chunk.ParseTable(c.RunTable)
	if err != nil {
		return Adoption{Reason: err.Error()}
	}
	for i := range t.Details() {
		r.noteProducer(t.Detail(i).ProducerID)
	}
	ends := r.endsOf(t)
	r.a.elsewhere, r.a.holder = elsewhere, s.Node(holder)
	v := r.a.commitChunk(c)
	r.a.elsewhere, r.a.holder = Elsewhere{}, nil
	if v.Code != OK {
		return Adoption{Reason: fmt.Sprint(v.Code)}
	}
	var a Adoption
	for _, end := range ends {
		a.New += end.partition.next - end.next
		r.giveAnew(end)
	}
	a.Taken = a.New > 0
	refused := map[Code]int{}
	for _, run := range v.Runs {
		if run.Code != OK && run.Code != AlreadyCommitted {
			refused[run.Code]++
		}
		for _, batch := range run.Batches {
			if batch.Code != OK && batch.Code != DuplicateSequence && batch.Code != AlreadyCommitted {
				refused[batch.Code]++
			}
		}
	}
	for _, code := range slices.Sorted(maps.Keys(refused)) {
		a.Reason = strings.TrimPrefix(fmt.Sprintf("%s, %d of its runs or batches: %s", a.Reason, refused[code], code), ", ")
	}
	return a
}

// partitionEnd is where a partition ended.
type partitionEnd struct {
	partition *Partition
	next      int64
}

// endsOf are the ends of the partitions that a chunk has runs of.
func (r *Recovery) endsOf(t chunk.Table) (ends []partitionEnd) {
	for i := range t.Runs() {
		run := t.Run(i)
		if p := r.a.Partition(TopicPartition{run.Topic, run.Partition}); p != nil {
			ends = append(ends, partitionEnd{p, p.next})
		}
	}
	return ends
}

// giveAnew begins a leader epoch with the first offset that a partition gives to a chunk's records. The former log may have given them others, and these to
// others: a consumer that stands behind has to come back.
func (r *Recovery) giveAnew(end partitionEnd) {
	p := end.partition
	if p.next == end.next || r.anew[p] {
		return
	}
	r.anew[p] = true
	p.beginLeaderEpochAt(newLeaderEpoch(p, r.generation()), end.next)
}

// newLeaderEpoch is the first one that a log gives a partition.
func newLeaderEpoch(p *Partition, generation uint64) int32 {
	return max(p.leaderEpoch/recoveryLeaderEpochs+1, int32(generation)) * recoveryLeaderEpochs
}

// maxUnseenNodes bounds the nodes that may have registered after the last state that is known.
const maxUnseenNodes = 10_000

// HasOtherDisk says whether the node with this id is, or was, that of another disk. Where all metadata was lost numbers are given again, and of such a
// disk the chunks say a number that another has by now.
func (r *Recovery) HasOtherDisk(id NodeID, disk [16]byte) bool {
	s := r.a.State
	if id < 1 || id >= s.nextNode {
		return false
	}
	n := s.Node(id)
	return n == nil || n.DiskID != disk && n.DiskID != unseenDisk(id)
}

// AdoptDisk says that the disk of a node is there whose registration may be newer than the last state that is known.
func (r *Recovery) AdoptDisk(id NodeID, disk [16]byte) error {
	s := r.a.State
	if known := s.nodeByDisk[disk]; known != nil {
		if known.ID != id {
			return fmt.Errorf("disk %x is node %d's, its chunks say %d", disk, known.ID, id)
		}
		return nil
	}
	if id < 1 || id >= s.nextNode+maxUnseenNodes || r.HasOtherDisk(id, disk) {
		return fmt.Errorf("disk %x is not known, and node %d is another's", disk, id)
	}
	r.ensureNode(id)
	n := s.Node(id)
	delete(s.nodeByDisk, n.DiskID)
	n.DiskID = disk
	s.nodeByDisk[disk] = n
	return nil
}

// TakeHedge has the state refer to another of a chunk's keys, which has the same bytes. It is false where the state has nothing of the chunk.
func (r *Recovery) TakeHedge(id ChunkID, hedge uint32) bool {
	s := r.a.State
	c := s.chunks[id]
	if c == nil || hedge > MaxHedges {
		return false
	}
	delete(s.chunks, id)
	c.hedge = hedge
	s.chunks[c.chunkID()] = c
	r.a.forgetGarbage([]string{c.chunkID().Key()})
	return true
}

// DropChunks gives up what the state has in object chunks that are cut, or not there (0 bytes), behind what is left of them, and returns what that was.
func (r *Recovery) DropChunks(leftBytes map[ChunkID]int64) map[ChunkID][]PartitionRange {
	s := r.a.State
	dropped := map[ChunkID][]PartitionRange{}
	for _, t := range s.topicOrder {
		for _, p := range t.partitions {
			r.dropRuns(p, func(run *run, c *container) bool {
				left, cut := leftBytes[c.chunkID()]
				if !c.isChunk() || !cut || int64(run.position)+int64(run.length) <= left {
					return false
				}
				dropped[c.chunkID()] = append(dropped[c.chunkID()], PartitionRange{TopicPartition{t.ID, p.index}, run.base, run.next()})
				return true
			})
		}
	}
	return dropped
}

// ensureNode makes a node known that registered after the last state that is known. Nobody has its disk.
func (r *Recovery) ensureNode(id NodeID) {
	s := r.a.State
	for ; s.nextNode <= id; s.nextNode++ {
		n := &Node{ID: s.nextNode, DiskID: unseenDisk(s.nextNode), goneMillis: s.timeMillis}
		s.nodes = append(s.nodes, n)
		s.nodeByDisk[n.DiskID] = n
	}
}

// unseenDisk stands for the disk of a node of which no more than the number is known.
func unseenDisk(id NodeID) [16]byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "recovered node %d", id))
	return [16]byte(sum[:16])
}
