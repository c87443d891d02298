package recovery

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/vfs"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

// hotNode registers a node whose hot log is a real one.
func (s *small) hotNode(dir string) (*hotlog.Log, int32) {
	log, _, err := hotlog.Open(vfs.OS{}, dir, hotlog.Config{SegmentBytes: 64 << 10, NoSpare: true})
	if err != nil {
		s.t.Fatal(err)
	}
	disk := log.DiskUUID()
	s.log(&metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{DiskId: disk[:], Incarnation: []byte{1}}}})
	return log, int32(s.state.NodeByDisk(disk).ID)
}

// sendHot commits a chunk in a real hot log, and returns its segment there.
func (s *small) sendHot(log *hotlog.Log, node int32, tp meta.TopicPartition, values ...string) uint64 {
	var b chunk.Builder
	builder := recordbatch.NewBuilder(recordbatch.BuilderOptions{})
	builder.Reset(0, 0)
	for i, v := range values {
		if err := builder.Append(int64(i), 1000, []byte(v), []byte(v), nil); err != nil {
			s.t.Fatal(err)
		}
	}
	data, h, err := builder.Build(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	b.Add(chunk.Batch{ProducerID: -1, Topic: tp.Topic, Partition: tp.Partition, Data: bytes.Clone(data), Records: uint32(len(values)), MaxTimestamp: h.MaxTimestamp})
	s.seqs[[2]uint64{uint64(node), 0}]++
	epoch := s.state.Node(meta.NodeID(node)).Epoch
	sealed := b.Seal(chunk.Header{NodeID: node, NodeEpoch: epoch, Seq: s.seqs[[2]uint64{uint64(node), 0}], CreatedMillis: s.state.TimeMillis()})
	whole := bytes.Clone(sealed.Head)
	for _, part := range sealed.Body {
		whole = append(whole, part...)
	}
	places, err := log.Append(nil, hotlog.NewChunk(whole))
	if err != nil {
		s.t.Fatal(err)
	}
	at := [2]uint64{uint64(node), places[0].Segment}
	padded := make([]byte, places[0].Position)
	copy(padded, s.hot[at])
	s.hot[at] = append(padded, whole...)
	s.fill[uint64(node)] = places[0].Segment
	s.log(&metapb.Command{Kind: &metapb.Command_CommitChunk{CommitChunk: &metapb.CommitChunk{
		NodeId: node, NodeEpoch: epoch, Seq: sealed.Header.Seq, Durability: durabilityOf(0), Segment: places[0].Segment, Position: places[0].Position,
		ChunkBytes: uint64(len(whole)), RunTable: sealed.Table.Bytes(),
	}}})
	return places[0].Segment
}

// A hot log that is there holds what was shipped, and merged, behind what is known.
func TestAHotLogHoldsWhatWasShipped(t *testing.T) {
	for i := range 4 {
		lose, merged := i&1 != 0, i&2 != 0
		dir := t.TempDir()
		s := newSmall(t, "varve.durability", "local")
		log, node := s.hotNode(dir)
		s.sendHot(log, node, s.place(0), "before")
		s.archive()
		s.sendHot(log, node, s.place(0), "once")
		epoch := s.state.Node(meta.NodeID(node)).Epoch
		s.log(&metapb.Command{Kind: &metapb.Command_SealContainer{SealContainer: &metapb.SealContainer{NodeId: node, NodeEpoch: epoch, Segment: s.fill[uint64(node)]}}})
		s.log(&metapb.Command{Kind: &metapb.Command_SetNodeLive{SetNodeLive: &metapb.SetNodeLive{NodeId: node, NodeEpoch: epoch, Live: true}}})
		job := s.lease(1)
		s.finish(job, s.build(job))
		if merged {
			for range 9 {
				s.send(false, write{0, 1, nil})
				s.shipAll()
			}
			for range 10 {
				s.merge()
				s.sweep()
			}
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		want := s.state.Partition(s.place(0)).NextOffset()
		if lose {
			loseMetadata(t, s.store)
		}
		plan, err := Prepare(t.Context(), Config{Store: s.store, HotLogs: []string{dir}})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(plan.Execute(t.Context()), plan.Close()); err != nil {
			t.Fatal(err)
		}
		if p := second(reopen(t, s.store)).Partition(s.place(0)); p.NextOffset() != want {
			t.Errorf("lose %v, merged %v: %d records were written, and the partition ends at %d: %+v", lose, merged, want, p.NextOffset(), plan.Report)
		}
	}
}

// A run has two pieces, since a batch in the middle was a repeat, and an open transaction holds the second back when the first is shipped.
func TestTheSecondPieceOfARunIsNotShipped(t *testing.T) {
	s := newSmall(t, "varve.durability", "object")
	x := s.begin("x")
	s.archive()
	plain := func(value string, producer int64) chunk.Batch {
		return s.oneRecord(value, recordbatch.Producer{ID: producer}, 0)
	}
	s.sendBatches(plain("repeated", 77))
	s.sendBatches(plain("piece 1", 78), plain("repeated", 77),
		s.oneRecord("of a transaction", recordbatch.Producer{ID: x.pid, Epoch: x.epoch}, recordbatch.AttrTransactional), plain("piece 2", 79))
	for range 2 {
		job := s.lease(1)
		s.finish(job, s.build(job))
	}
	if p := s.state.Partition(s.place(0)); p.NextOffset() != 4 {
		t.Fatalf("%d records", p.NextOffset())
	}
	_, report := s.recovered()
	count := countBack(t, s.store, second(reopen(t, s.store)))
	for _, value := range []string{"repeated", "piece 1", "of a transaction", "piece 2"} {
		if count[value] != 1 {
			t.Errorf("%q is there %d times; lost %+v, not adopted %+v", value, count[value], report.Lost, report.NotAdopted)
		}
	}
}

// oneRecord is a batch of one record for the first partition.
func (s *small) oneRecord(value string, producer recordbatch.Producer, attributes int16) chunk.Batch {
	s.t.Helper()
	b := recordbatch.NewBuilder(recordbatch.BuilderOptions{Producer: &producer, Attributes: attributes})
	b.Reset(0, 0)
	if err := b.Append(0, 1000, []byte(value), []byte(value), nil); err != nil {
		s.t.Fatal(err)
	}
	data, h, err := b.Build(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if attributes&recordbatch.AttrTransactional != 0 {
		attributes |= chunk.AttrJoinsTransaction
	}
	return chunk.Batch{
		Topic: s.topic, Data: bytes.Clone(data), Records: 1, MaxTimestamp: h.MaxTimestamp, Attributes: attributes,
		ProducerID: producer.ID, ProducerEpoch: producer.Epoch, BaseSequence: producer.BaseSequence,
	}
}

// sendBatches commits an object chunk.
func (s *small) sendBatches(batches ...chunk.Batch) {
	var b chunk.Builder
	for _, batch := range batches {
		b.Add(batch)
	}
	s.commit(&b, true)
}

// Of an idempotent producer's two chunks the first is not shipped, the second is, both behind what is known. Segments tell whose batches are where these are
// too large to be merged.
func TestAChunkBeforeAShippedOneIsTaken(t *testing.T) {
	s := newSmall(t, "varve.durability", "object")
	s.send(true, write{0, 1, nil})
	s.archive()
	for i, value := range []string{"first", "second"} {
		s.sendBatches(s.oneRecord(value, recordbatch.Producer{ID: 77, BaseSequence: int32(i)}, 0))
	}
	s.lease(1)
	s.lease(1)
	job := s.lease(1)
	s.finish(job, s.build(job))
	state, report := s.recovered()
	count := countBack(t, s.store, state)
	if count["first"] != 1 || count["second"] != 1 {
		t.Errorf("%v: lost %+v, not adopted %+v", count, report.Lost, report.NotAdopted)
	}
}

func TestWhichRunsAreStored(t *testing.T) {
	tp, other := meta.TopicPartition{Partition: 1}, meta.TopicPartition{Partition: 2}
	id := meta.ChunkID{Node: 3, Epoch: 1, Lane: 1, Seq: 5}
	hot := segment.HotSegment{Disk: [16]byte{7}, ID: 9, Node: 3}
	stored := storedRuns{
		source{chunk: id, partition: tp}:                                              united([]storedRange{{300, 400}, {100, 200}, {200, 250}, {120, 130}}),
		source{hot: hot, partition: tp}:                                               united([]storedRange{{50, 60}}),
		source{hot: segment.HotSegment{Disk: hot.Disk, ID: 9}, partition: tp, log: 1}: united([]storedRange{{70, 80}}), // of whatever node's
		source{chunk: id, partition: other}:                                           united([]storedRange{{10, 20}, {0, math.MaxUint32}}),
	}
	inChunk := &foundChunk{command: &metapb.CommitChunk{NodeId: 3, NodeEpoch: 1, Lane: 1, Seq: 5, Hedge: 2}}
	inLog := &foundChunk{command: &metapb.CommitChunk{NodeId: 3, NodeEpoch: 1, Segment: 9}, disk: hot.Disk}
	later := &foundChunk{command: &metapb.CommitChunk{NodeId: 3, NodeEpoch: 1_000_001, Segment: 9}, disk: hot.Disk}
	for _, row := range []struct {
		chunk          *foundChunk
		partition      meta.TopicPartition
		position, size uint32
		want           bool
	}{
		{inChunk, tp, 100, 100, true}, {inChunk, tp, 150, 100, true}, {inChunk, tp, 150, 101, false}, {inChunk, tp, 99, 10, false}, {inChunk, tp, 250, 50, false},
		{inChunk, tp, 300, 100, true}, {inChunk, tp, 399, 2, false}, {inChunk, tp, 400, 10, false}, {inChunk, other, 5000, 10, true},
		{inLog, tp, 50, 10, true}, {inLog, tp, 100, 10, false}, {inLog, other, 50, 10, false}, {inLog, tp, math.MaxUint32, 10, false},
		{inLog, tp, 70, 10, false}, {later, tp, 70, 10, true}, {later, tp, 80, 10, false}, {later, tp, 50, 10, true}, {later, other, 70, 10, false},
	} {
		if got := stored.have(row.chunk, row.partition, row.position, row.size); got != row.want {
			t.Errorf("%d bytes at %d of partition %d, in a hot log %v, of epoch %d: %v", row.size, row.position, row.partition.Partition, row.chunk != inChunk, row.chunk.command.NodeEpoch, got)
		}
	}
}
