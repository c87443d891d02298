package recovery

import (
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// of is a producer's batch of one record.
func of(producer int64, sequence int32) recordbatch.Producer {
	return recordbatch.Producer{ID: producer, BaseSequence: sequence}
}

func (s *small) deleteChunk(c meta.ChunkID) {
	s.t.Helper()
	if err := s.store.Delete(s.ctx, c.Key()); err != nil {
		s.t.Fatal(err)
	}
}

// expectEnd demands that so many records were taken.
func (s *small) expectEnd(offset int64) {
	s.t.Helper()
	if end := s.state.Partition(s.place(0)).NextOffset(); end != offset {
		s.t.Fatalf("ends at %d", end)
	}
}

// A repeat comes before the first copy or behind it, by clocks that differ. A segment that does not tell whose it is has the first copy, whose chunk is there; a hole is
// another's.
func TestARepeatBeforeItsFirstCopysChunk(t *testing.T) {
	for _, created := range []int64{4000, 1000} {
		s := newSmall(t, "varve.durability", "object")
		s.sendFrom(1, 500, s.unowned("zero"))
		s.archive()
		first := s.oneRecord("first", of(77, 0), 0)
		a := s.sendFrom(1, 2000, first)
		lost := s.sendFrom(1, 2001, s.unowned("lost"))
		b := s.sendFrom(1, 2002, s.oneRecord("second", of(77, 1), 0))
		s.sendFrom(2, created, first) // refused
		s.expectEnd(4)
		s.storeOf(a, 101, 1, 0, recordbatch.BuilderOptions{}, "first")
		producer := of(77, 1)
		s.storeOf(b, 102, 3, 0, recordbatch.BuilderOptions{Producer: &producer}, "second")
		s.deleteChunk(lost)
		s.expectOnce(mustRecover(t, s.store), "first", "second")
	}
}

// All metadata is lost, and nothing tells of the producer but the first copy's chunk.
func TestARepeatOfWhatAMergedSegmentHas(t *testing.T) {
	for _, created := range []int64{3000, 1000} {
		s := newSmall(t, "varve.durability", "object")
		first := s.oneRecord("first", of(77, 0), 0)
		a := s.sendFrom(1, 2000, first)
		s.sendFrom(2, created, first, s.oneRecord("other", of(78, 0), 0)) // the first of these is refused
		s.expectEnd(2)
		s.storeOf(a, 101, 0, 0, recordbatch.BuilderOptions{}, "first")
		loseMetadata(t, s.store)
		s.expectOnce(mustRecover(t, s.store), "first", "other")
	}
}

// A batch was refused, since it came before another, and stands among those that were taken and stored. It came again.
func TestARefusedBatchAmongStoredOnes(t *testing.T) {
	for _, lose := range []bool{false, true} {
		s := newSmall(t, "varve.durability", "object")
		z := s.sendFrom(1, 500, s.oneRecord("zero", of(77, 0), 0))
		s.archive()
		two := s.oneRecord("two", of(77, 2), 0)
		a := s.sendFrom(1, 2000, s.oneRecord("x", of(76, 0), 0), two, s.oneRecord("y", of(78, 0), 0))
		s.expectEnd(3)
		s.sendFrom(1, 2001, s.oneRecord("one", of(77, 1), 0))
		s.sendFrom(1, 2002, two)
		s.expectEnd(5)
		s.storeOf(a, 101, 1, 0, recordbatch.BuilderOptions{}, "x", "y")
		if lose {
			s.storeOf(z, 100, 0, 0, recordbatch.BuilderOptions{}, "zero")
			s.deleteChunk(z)
			loseMetadata(t, s.store)
		}
		s.expectOnce(mustRecover(t, s.store), "zero", "x", "y", "one", "two")
	}
}

// Of three chunks of a producer the state knows the first, the third is shipped, and the second, of an epoch before or not, is there.
func TestAChunkBetweenWhatIsKnownAndAShippedOne(t *testing.T) {
	for _, row := range []struct {
		what             string
		known, gap, last recordbatch.Producer
	}{
		{"in between", of(77, 0), of(77, 1), of(77, 2)},
		{"of an earlier epoch", of(76, 0), of(77, 0), recordbatch.Producer{ID: 77, Epoch: 1}},
		{"of an epoch in between", of(77, 0), recordbatch.Producer{ID: 77, Epoch: 1}, recordbatch.Producer{ID: 77, Epoch: 2}},
		{"around the greatest sequence", of(77, 1<<31-2), of(77, 1<<31-1), of(77, 0)},
	} {
		t.Run(row.what, func(t *testing.T) {
			s := newSmall(t, "varve.durability", "object")
			s.sendFrom(1, 500, s.oneRecord("known", row.known, 0))
			s.archive()
			s.sendFrom(1, 1000, s.oneRecord("gap", row.gap, 0))
			last := s.sendFrom(1, 1001, s.oneRecord("last", row.last, 0))
			s.sendFrom(2, 1002, s.oneRecord("gap", row.gap, 0)) // refused, a repeat
			s.expectEnd(3)
			s.storeOf(last, 101, 2, 0, recordbatch.BuilderOptions{Producer: &row.last}, "last")
			s.expectOnce(mustRecover(t, s.store), "known", "gap", "last")
		})
	}
}

// The first of a producer's batches is in a segment that does not tell whose it is. The second is a node's whose clock is ahead, the third the first node's
// again, behind which a repeat of the first comes: the second misses nothing that is still to come.
func TestARepeatBehindABatchThatWaits(t *testing.T) {
	for _, lose := range []bool{false, true} {
		for _, repeated := range []bool{false, true} {
			s := newSmall(t, "varve.durability", "object")
			zero := s.sendFrom(1, 500, s.unowned("zero"))
			s.archive()
			first := s.oneRecord("first", of(77, 0), 0)
			a := s.sendFrom(1, 2000, first)
			s.sendFrom(2, 2300, s.oneRecord("second", of(77, 1), 0))
			s.sendFrom(1, 2010, s.oneRecord("third", of(77, 2), 0))
			if repeated {
				s.sendFrom(1, 2020, first) // refused
			}
			s.expectEnd(4)
			if lose {
				s.storeOf(zero, 100, 0, 0, recordbatch.BuilderOptions{}, "zero")
				loseMetadata(t, s.store)
			}
			s.storeOf(a, 101, 1, 0, recordbatch.BuilderOptions{}, "first")
			s.expectOnce(mustRecover(t, s.store), "zero", "first", "second", "third")
		}
	}
}

// A producer's batch was deleted, as the log start of a part tells in which it stands, or of the next one. A repeat of it, which was refused, is in a chunk.
func TestARepeatOfABatchBelowTheLogStart(t *testing.T) {
	with := func(p recordbatch.Producer) recordbatch.BuilderOptions {
		return recordbatch.BuilderOptions{Producer: &p}
	}
	for _, row := range []struct {
		logStart int64
		apart    bool
	}{{0, false}, {1, false}, {1, true}} {
		s := newSmall(t, "varve.durability", "object")
		s.archive()
		first := s.oneRecord("record 0", of(77, 0), 0)
		a := s.sendFrom(1, 1000, first, s.oneRecord("record 1", of(78, 0), 0))
		s.sendFrom(2, 1002, first) // refused
		s.expectEnd(2)
		s.deleteChunk(a)
		batches := [][]byte{plainBatch(t, 0, 1, 0, with(of(77, 0))), plainBatch(t, 1, 2, 0, with(of(78, 0)))}
		if row.apart {
			s.craft(101, 0, 1, 0, nil, batches[0])
			s.craft(102, 1, 2, row.logStart, nil, batches[1])
		} else {
			s.craft(101, 0, 2, row.logStart, nil, batches...)
		}
		mustRecover(t, s.store)
		_, state := reopen(t, s.store)
		if count := countBack(t, s.store, state); int64(count["record 0"]) != 1-row.logStart || count["record 1"] != 1 {
			t.Errorf("log start %d, the parts apart %v: %v", row.logStart, row.apart, count)
		}
	}
}
