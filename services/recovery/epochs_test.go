package recovery

import (
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// noProducer is what batches of producers without an id have.
var noProducer = recordbatch.Producer{ID: -1, Epoch: -1, BaseSequence: -1}

// unowned is a batch of one record of a producer without an id.
func (s *small) unowned(value string) chunk.Batch { return s.oneRecord(value, noProducer, 0) }

// sendFrom commits an object chunk of a node by whose clock it is now.
func (s *small) sendFrom(node uint64, nowMillis int64, batches ...chunk.Batch) meta.ChunkID {
	s.t.Helper()
	var b chunk.Builder
	for _, batch := range batches {
		b.Add(batch)
	}
	return s.commitFrom(node, nowMillis, &b, true)
}

// expectTruncation demands of each offset that has another record than before that the epoch in which consumers have read that one ends there, or before.
func (s *small) expectTruncation(before map[spot]string, epoch int32, state *meta.State) {
	s.t.Helper()
	moved := false
	for at, value := range readBack(s.t, s.store, state) {
		if before[at] == value {
			continue
		}
		moved = true
		if _, end, ok := state.Partition(at.partition).EpochEnd(epoch); !ok || end > at.offset {
			s.t.Errorf("%v had %q and has %q: epoch %d is said to end at %d, %v", at, before[at], value, epoch, end, ok)
		}
	}
	if !moved {
		s.t.Error("every record is where it was")
	}
}

// A node's clock is behind: the chunks come in another order than the one in which they were committed.
func TestChunksInAnotherOrderHaveALaterEpoch(t *testing.T) {
	s := newSmall(t, "varve.durability", "object")
	s.sendFrom(1, 500, s.unowned("zero"))
	s.archive()
	s.sendFrom(1, 3000, s.unowned("one"))
	s.sendFrom(2, 1000, s.unowned("two"))
	before, epoch := readBack(t, s.store, s.state), s.state.Partition(s.place(0)).LeaderEpoch()
	state, _ := s.recovered()
	s.expectTruncation(before, epoch, state)
}

// The record before it was on a disk that is lost: an acknowledged one moves to an offset that a consumer has passed.
func TestAChunkThatMovesBelowAConsumersPosition(t *testing.T) {
	s := newSmall(t, "varve.durability", "local")
	s.sendFrom(1, 500, s.unowned("zero"))
	s.archive()
	before := readBack(t, s.store, s.state)
	s.send(false, write{0, 1, nil})
	s.sendFrom(2, 1000, s.unowned("kept"))
	if end := s.state.Partition(s.place(0)).NextOffset(); end != 3 {
		t.Fatalf("ends at %d", end)
	}
	mustRecover(t, s.store)
	state := second(reopen(t, s.store))
	s.expectTruncation(before, 0, state)
	if p := state.Partition(s.place(0)); p.EpochAt(0) != 0 || p.EpochAt(1) != 1000 || p.LeaderEpoch() != 1001 {
		t.Errorf("epochs are %d and %d, and now %d", p.EpochAt(0), p.EpochAt(1), p.LeaderEpoch())
	}
}
