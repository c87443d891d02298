package recovery

import (
	"slices"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// endRaising ends a transaction as clients do that get a new epoch with each (KIP-890).
func (s *small) endRaising(x *openTxn, commit bool) {
	s.log(&metapb.Command{Kind: &metapb.Command_EndTransaction{EndTransaction: endOf(x, commit, true)}})
	s.renew(x)
}

// endBy ends a transaction with or without a new epoch.
func (s *small) endBy(x *openTxn, commit, raising bool) {
	if raising {
		s.endRaising(x, commit)
	} else {
		s.end(x, commit)
	}
}

func endOf(x *openTxn, commit, raising bool) *metapb.EndTransaction {
	return &metapb.EndTransaction{TransactionalId: x.id, ProducerId: x.pid, ProducerEpoch: int32(x.epoch), Commit: commit, BumpsEpoch: raising}
}

// committedIn are the values that a read_committed consumer of Java's sees that gets the partition in one answer: it hides a producer's records
// from where an aborted transaction began until it comes to a marker that aborts.
func (w *world) committedIn(state *meta.State, p *meta.Partition) (visible []string) {
	w.t.Helper()
	aborted := p.AbortedTransactions(nil, p.LogStartOffset(), p.LastStableOffset())
	slices.SortStableFunc(aborted, func(x, y meta.AbortedTransaction) int { return int(x.FirstOffset - y.FirstOffset) })
	hidden := map[int64]bool{}
	comesTo := func(offset int64) {
		for ; len(aborted) > 0 && aborted[0].FirstOffset <= offset; aborted = aborted[1:] {
			hidden[aborted[0].ProducerID] = true
		}
	}
	state.Extents(p, func(l meta.Location) bool {
		switch l.Tier {
		case meta.TierGap:
			return true
		case meta.TierMarker:
			if comesTo(l.BaseOffset); !l.Marker.Commit {
				delete(hidden, l.Marker.ProducerID)
			}
			return true
		}
		for b, err := range recordbatch.Batches(w.stored(l)) {
			if err != nil {
				w.t.Fatal(err)
			}
			comesTo(b.Header.NextOffset() - 1)
			if b.Header.IsControl() {
				if commit, err := recordbatch.IsCommit(b.Bytes); err != nil {
					w.t.Fatal(err)
				} else if !commit {
					delete(hidden, b.Header.ProducerID)
				}
			} else if !b.Header.IsTransactional() || !hidden[b.Header.ProducerID] {
				readBatches(w.t, b.Bytes, func(_ int64, value string) { visible = append(visible, value) })
			}
		}
		return true
	})
	return visible
}

func (s *small) committed(state *meta.State, partition int32) []string {
	s.t.Helper()
	return s.committedIn(state, state.Partition(s.place(partition)))
}

// A transaction was begun behind what is known, and its record is on a disk that is gone. Its producer goes on where it was.
func TestATransactionWhoseRecordsAreLostIsNotCommitted(t *testing.T) {
	for _, raising := range []bool{false, true} {
		s := newSmall(t, "varve.durability", "local")
		x := s.begin("x")
		s.send(false, write{0, 1, x})
		s.endBy(x, true, raising)
		s.shipAll()
		s.archive()
		s.send(false, write{0, 1, x})
		clear(s.written)
		state, _ := s.recovered()
		added := apply(t, state, &metapb.Command{Kind: &metapb.Command_AddToTransaction{AddToTransaction: &metapb.AddToTransaction{
			TransactionalId: "x", ProducerId: x.pid, ProducerEpoch: int32(x.epoch), Topics: []*metapb.TransactionTopic{{TopicId: s.topic[:], Partitions: []int32{1}}},
		}}})
		ended := apply(t, state, &metapb.Command{Kind: &metapb.Command_EndTransaction{EndTransaction: endOf(x, true, raising)}})
		if added.Code != meta.ProducerFenced || ended.Code != meta.ProducerFenced {
			t.Errorf("raising %v: the producer adds a partition: %v; it commits: %v", raising, added.Code, ended.Code)
		}
		if again := initialize(t, state, "x", -1, -1); again.Code != meta.OK || again.ProducerID == x.pid {
			t.Errorf("raising %v: the next producer is given %+v", raising, again)
		}
	}
}

func initialize(t *testing.T, state *meta.State, id string, producerID int64, epoch int32) meta.Verdict {
	return apply(t, state, &metapb.Command{Kind: &metapb.Command_InitTransactionalProducer{InitTransactionalProducer: &metapb.InitTransactionalProducer{
		TransactionalId: id, TimeoutMillis: 900_000, ExpectedProducerId: producerID, ExpectedProducerEpoch: epoch,
	}}})
}

// A producer's epoch has been raised behind what is known, as batches show, or nothing does.
func TestEpochsOfAProducerAreNotGivenAgain(t *testing.T) {
	for _, shipped := range []bool{true, false} {
		s := newSmall(t, "varve.durability", "local")
		x := s.begin("x")
		s.archive()
		for range 5 {
			s.send(false, write{0, 1, x})
			s.endRaising(x, true)
		}
		if shipped {
			s.shipAll()
		} else {
			clear(s.written)
		}
		state, _ := s.recovered()
		if v := initialize(t, state, "x", x.pid, int32(x.epoch)); v.Code != meta.ProducerFenced {
			t.Errorf("shipped %v: the producer goes on: %+v", shipped, v)
		}
		if v := initialize(t, state, "x", -1, -1); v.Code != meta.OK || v.ProducerID == x.pid && v.ProducerEpoch <= x.epoch {
			t.Errorf("shipped %v: another one is given epoch %d of producer %d; the one before had %d", shipped, v.ProducerEpoch, v.ProducerID, x.epoch)
		}
	}
}

// A transaction is behind what is known from its beginning to its end. Of one partition it is shipped, the other one's is in a chunk.
func TestATransactionBehindTheStateIsWholeOrNotThere(t *testing.T) {
	for _, raising := range []bool{false, true} {
		for _, commit := range []bool{false, true} {
			s := newSmall(t, "varve.durability", "object")
			x := s.begin("x")
			s.archive()
			s.send(true, write{1, 1, x})
			s.send(true, write{0, 1, x})
			s.endBy(x, commit, raising)
			s.lease(1) // of the first chunk, by a worker that dies
			job := s.lease(1)
			s.finish(job, s.build(job))
			state, report := s.recovered()
			first, second := s.committed(state, 0), s.committed(state, 1)
			if len(first) != len(second) || len(first) == 1 != commit {
				t.Errorf("raising %v, commit %v: %q and %q can be seen; aborted %v, others %d", raising, commit, first, second, report.Aborted, report.OtherAborted)
			}
		}
	}
}

// A partition was added to a transaction behind what is known, by a producer whose batches do not join by themselves.
func TestAPartitionWasAddedBehindTheState(t *testing.T) {
	s := newSmall(t, "varve.durability", "object")
	x := s.begin("x")
	s.archive()
	s.log(&metapb.Command{Kind: &metapb.Command_AddToTransaction{AddToTransaction: &metapb.AddToTransaction{
		TransactionalId: "x", ProducerId: x.pid, ProducerEpoch: int32(x.epoch), Topics: []*metapb.TransactionTopic{{TopicId: s.topic[:], Partitions: []int32{0, 1}}},
	}}})
	x.added = true
	s.send(true, write{1, 1, x})
	s.send(true, write{0, 1, x})
	s.end(x, true)
	s.lease(1)
	job := s.lease(1)
	s.finish(job, s.build(job))
	state, _ := s.recovered()
	if first, second := s.committed(state, 0), s.committed(state, 1); len(first) != 1 || len(second) != 1 {
		t.Errorf("%q and %q can be seen", first, second)
	}
}

// As TestTheNextTransactionIsNotTheOneThatEnded, where the next one has the next epoch, or was written in the same millisecond.
func TestTheNextTransactionIsToldByItsEpoch(t *testing.T) {
	for _, raising := range []bool{false, true} {
		s := newSmall(t, "varve.durability", "object")
		x := s.begin("x")
		s.send(true, write{0, 1, x})
		s.send(true, write{1, 1, x})
		s.archive()
		s.endBy(x, true, raising)
		job := s.lease(1)
		s.finish(job, s.build(job))
		s.send(true, write{1, 1, x})
		s.endBy(x, false, raising)
		state, _ := s.recovered()
		if p := state.Partition(s.place(1)); hides(p, x, 0) || !hides(p, x, 2) {
			t.Errorf("raising %v: aborted %+v", raising, p.AbortedTransactions(nil, 0, p.NextOffset()))
		}
	}
}

func TestTheNextTransactionMayBeginInTheSameMillisecond(t *testing.T) {
	for _, raising := range []bool{false, true} {
		s := newSmall(t, "varve.durability", "object")
		x := s.begin("x")
		s.send(true, write{0, 1, x})
		s.archive()
		s.endBy(x, true, raising)
		s.send(true, write{1, 1, x})
		s.endBy(x, false, raising)
		job := s.lease(1)
		s.finish(job, s.build(job))
		state, _ := s.recovered()
		if got := s.committed(state, 1); len(got) > 0 {
			t.Errorf("raising %v: of a transaction that was aborted %q can be seen", raising, got)
		}
	}
}

// The object with the marker of an abort is gone, whose transaction's record is there. The producer's next transaction was committed.
func TestAnAbortWhoseMarkerIsLostHidesNoOtherTransaction(t *testing.T) {
	for _, known := range []bool{true, false} {
		s := newSmall(t, "varve.durability", "object")
		x, y := s.begin("x"), s.begin("y")
		s.send(true, write{0, 1, x}, write{1, 1, y}) // 0
		s.send(true, write{0, 1, y})                 // 1
		s.send(true, write{0, 1, nil})               // 2
		s.end(x, false)                              // 3, goes with 2
		s.end(y, false)                              // 4
		s.send(true, write{0, 1, x})                 // 5
		s.send(true, write{0, 1, y})                 // 6
		s.end(x, true)
		s.end(y, true)
		var gone string
		for i := range 5 {
			job := s.lease(1)
			s.finish(job, s.build(job))
			if i == 2 {
				gone = meta.SegmentKey(job, 0)
			}
		}
		s.sweep()
		s.archive()
		if !known {
			loseMetadata(t, s.store)
		}
		if err := s.store.Delete(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		report := mustRecover(t, s.store)
		_, state := reopen(t, s.store)
		if got := s.committed(state, 0); len(got) != 2 || report.LostOffsets != 3 {
			t.Errorf("known %v: %q can be seen, want the two committed records; lost %+v", known, got, report.Lost)
		}
	}
}

// An object between a transaction's record and its marker is gone. That it was committed a marker in another partition tells.
func TestATransactionBeforeAHoleEndsAsInOtherPartitions(t *testing.T) {
	for _, raising := range []bool{false, true} {
		for _, known := range []bool{true, false} {
			s := newSmall(t, "varve.durability", "object")
			x := s.begin("x")
			s.send(true, write{0, 1, x}, write{1, 1, x})
			if known {
				s.archive()
			}
			s.send(true, write{0, 1, nil})
			s.send(true, write{0, 1, nil})
			s.endBy(x, true, raising)
			var gone string
			for i := range 3 {
				job := s.lease(1)
				s.finish(job, s.build(job))
				if i == 1 {
					gone = meta.SegmentKey(job, 0)
				}
			}
			if !known {
				loseMetadata(t, s.store)
			}
			if err := s.store.Delete(t.Context(), gone); err != nil {
				t.Fatal(err)
			}
			state, report := s.recovered()
			want := 1
			if !known && !raising { // it may have been aborted, and the marker that is known be of the next one
				want = 0
			}
			if p := state.Partition(s.place(0)); hides(p, x, 0) != (want == 0) || len(report.Aborted)+report.OtherAborted != 1-want {
				t.Errorf("raising %v, known %v: aborted %+v, %v, others %d", raising, known, p.AbortedTransactions(nil, 0, p.NextOffset()), report.Aborted, report.OtherAborted)
			}
		}
	}
}

// What is known has an aborted transaction, which was compacted away since, marker and all.
func TestAnAbortThatWasCompactedAwayHidesNoOtherTransaction(t *testing.T) {
	s := newSmall(t, "varve.durability", "object", "cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0", "delete.retention.ms", "50")
	x := s.begin("x")
	s.send(true, write{0, 1, x})
	s.end(x, false)
	s.shipAll()
	s.send(true, write{0, 1, x})
	s.end(x, true)
	s.shipAll()
	s.archive()
	p := s.state.Partition(s.place(0))
	for range 100 {
		s.pass(100)
		s.send(true, write{0, 1, nil})
		s.shipAll()
		s.merge()
	}
	if len(p.AbortedTransactions(nil, 0, p.NextOffset())) > 0 {
		t.Fatal("nothing was compacted away")
	}
	s.sweep()
	want := s.committed(s.state, 0)
	report := mustRecover(t, s.store)
	_, state := reopen(t, s.store)
	if got := s.committed(state, 0); !slices.Equal(got, want) {
		t.Errorf("%d values can be seen, and %d could before; lost %+v", len(got), len(want), report.Lost)
	}
}

// Two transactions are open in front of a hole of one offset. It was the end of the one whose producer goes on with another epoch.
func TestAHoleIsTheEndOfTheTransactionThatDoesNotGoOn(t *testing.T) {
	s := newSmall(t, "varve.durability", "object")
	x, y := s.begin("x"), s.begin("y")
	s.send(true, write{0, 1, x}) // 0
	s.send(true, write{0, 1, y}) // 1
	s.archive()
	y = s.begin("y") // 2, the marker of the abort, shipped with the record before
	s.send(true, write{0, 1, y})
	s.end(x, true)
	s.end(y, true)
	for i := range 3 {
		job := s.lease(1)
		objects := s.build(job)
		s.finish(job, objects)
		if i == 1 {
			if err := s.store.Delete(t.Context(), meta.SegmentKey(job, 0)); err != nil {
				t.Fatal(err)
			}
		}
	}
	state, _ := s.recovered()
	p := state.Partition(s.place(0))
	if got := s.committed(state, 0); len(got) != 2 || hides(p, x, 0) || !hides(p, y, 1) {
		t.Errorf("%q can be seen; aborted %+v", got, p.AbortedTransactions(nil, 0, p.NextOffset()))
	}
}
