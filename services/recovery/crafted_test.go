package recovery

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

// plainBatch has one record per offset in [base, next).
func plainBatch(t *testing.T, base, next int64, epoch int32, o recordbatch.BuilderOptions) []byte {
	b := recordbatch.NewBuilder(o)
	b.Reset(base, epoch)
	for ; base < next; base++ {
		if err := b.Append(base, 1000, nil, []byte(fmt.Sprint("record ", base)), nil); err != nil {
			t.Fatal(err)
		}
	}
	data, _, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// craft stores an object with one part of the first partition.
func (s *small) craft(job meta.JobID, base, next, logStart int64, flip func(parts []segment.Part, body []byte), batches ...[]byte) {
	s.t.Helper()
	body, parts := s.crafted(job, 0, base, next, logStart, batches...)
	if flip != nil {
		flip(parts, body)
	}
	s.put(meta.SegmentKey(job, 0), body)
}

// crafted is a segment with one part.
func (s *small) crafted(job meta.JobID, partition int32, base, next, logStart int64, batches ...[]byte) (body []byte, parts []segment.Part) {
	s.t.Helper()
	e := segment.NewEncoder(segment.Header{JobID: uint64(job), CreatedMillis: 1}, 0)
	e.Begin(s.topic, "small", partition, base)
	e.LogStart(logStart)
	for _, b := range batches {
		h, err := recordbatch.ParseHeader(b)
		if err == nil {
			err = e.Batch(h, b, false)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	e.End(next)
	return e.Finish()
}

// No checksum covers the leader epoch of a batch.
func TestAFlippedBitInABatchsEpoch(t *testing.T) {
	none := recordbatch.BuilderOptions{}
	for _, bit := range []int{-1, 3, 31} {
		s := newSmall(t, "varve.durability", "local")
		loseMetadata(t, s.store)
		s.craft(1, 0, 2, 0, nil, plainBatch(t, 0, 2, 0, none))
		s.craft(2, 2, 4, 0, nil, plainBatch(t, 2, 4, 1000, none))
		s.craft(3, 4, 7, 0, func(parts []segment.Part, body []byte) {
			if bit >= 0 {
				at := parts[0].Position + 12
				binary.BigEndian.PutUint32(body[at:], binary.BigEndian.Uint32(body[at:])^1<<bit)
			}
		}, plainBatch(t, 4, 5, 1000, none), plainBatch(t, 5, 6, 1000, none), plainBatch(t, 6, 7, 1000, none))
		report := mustRecover(t, s.store)
		if got := readBack(t, s.store, second(reopen(t, s.store))); len(got) != 7 {
			t.Errorf("bit %d: %d of 7 records; lost %+v, not adopted %+v damaged %+v", bit, len(got), report.Lost, report.NotAdopted, report.Damaged)
		}
	}
}

// A piece begins where the log does, within a batch of an aborted transaction.
func TestALogStartsWithinATransactionsBatch(t *testing.T) {
	none := recordbatch.BuilderOptions{}
	s := newSmall(t, "varve.durability", "local")
	loseMetadata(t, s.store)
	tx := recordbatch.BuilderOptions{Attributes: recordbatch.AttrTransactional, Producer: &recordbatch.Producer{ID: 77, Epoch: 3}}
	marker := recordbatch.ControlBatch(recordbatch.Marker{ProducerID: 77, ProducerEpoch: 3, Commit: false, TimestampMillis: 1000}, 3, 0)
	s.craft(1, 0, 6, 1, nil, plainBatch(t, 0, 3, 0, tx), marker, plainBatch(t, 4, 6, 0, none))
	s.craft(2, 4, 12, 1, nil, plainBatch(t, 4, 12, 0, none))
	report := mustRecover(t, s.store)
	_, state := reopen(t, s.store)
	visible := s.committedIn(state, state.Partition(s.place(0)))
	if slices.Contains(visible, "record 1") || slices.Contains(visible, "record 2") {
		t.Errorf("aborted records can be seen: %v; %+v", visible, report.NotAdopted)
	}
}

func TestALogStartsWithinABatchThatCannotBeDecoded(t *testing.T) {
	none := recordbatch.BuilderOptions{}
	s := newSmall(t, "varve.durability", "local")
	loseMetadata(t, s.store)
	bad := plainBatch(t, 0, 3, 0, none)
	bad[22] |= 1 // says gzip, is plain
	binary.BigEndian.PutUint32(bad[17:], crc32.Checksum(bad[21:], crc32.MakeTable(crc32.Castagnoli)))
	s.craft(1, 0, 6, 1, nil, bad, plainBatch(t, 3, 6, 0, none))
	s.craft(2, 4, 12, 1, nil, plainBatch(t, 4, 12, 0, none))
	if _, err := Prepare(t.Context(), Config{Store: s.store}); err != nil {
		t.Error(err)
	}
}

func TestTheLogStartOfAFormerLog(t *testing.T) {
	none := recordbatch.BuilderOptions{}
	s := newSmall(t, "varve.durability", "local")
	loseMetadata(t, s.store)
	s.craft(1, 0, 1, 0, nil, plainBatch(t, 0, 1, 0, none))
	s.craft(7, 1, 9, 8, nil, plainBatch(t, 1, 9, 0, none)) // of the former log, stored late: its log began at 8
	s.craft(1<<40+7, 1, 3, 0, nil, plainBatch(t, 1, 3, 1000, none))
	report := mustRecover(t, s.store)
	_, state := reopen(t, s.store)
	got := readBack(t, s.store, state)
	if len(got) != 3 {
		t.Errorf("%v, log starts at %d; lost %+v, not adopted %+v", got, state.Partition(s.place(0)).LogStartOffset(), report.Lost, report.NotAdopted)
	}
}

// The end of a transaction was deleted, and its producer's next one ended behind the log start.
func TestTheEndOfATransactionBehindARaisedLogStart(t *testing.T) {
	for _, raising := range []bool{false, true} {
		s := newSmall(t, "varve.durability", "object")
		x := s.begin("x")
		s.send(true, write{0, 1, x})
		s.send(true, write{1, 1, x})
		s.archive()
		s.endBy(x, false, raising)
		s.send(true, write{0, 1, x})
		s.endBy(x, true, raising)
		s.log(&metapb.Command{Kind: &metapb.Command_AdvanceLogStart{AdvanceLogStart: &metapb.AdvanceLogStart{TopicId: s.topic[:], Partition: 0, Offset: 2}}})
		if p := s.state.Partition(s.place(0)); p.LogStartOffset() != 2 {
			t.Fatalf("starts at %d", p.LogStartOffset())
		}
		s.lease(1)
		job := s.lease(1)
		s.finish(job, s.build(job))
		report := mustRecover(t, s.store)
		_, state := reopen(t, s.store)
		if !hides(state.Partition(s.place(1)), x, 0) {
			t.Errorf("raising %v: a record of an aborted transaction can be seen: %v; p0 [%d,%d) aborted %v report %+v", raising, s.committed(state, 1),
				state.Partition(s.place(0)).LogStartOffset(), state.Partition(s.place(0)).NextOffset(), report.Aborted, report.Parts)
		}
	}
}

// A filler's marker has the leader epoch of its offset: later ones begin behind it.
func TestAFillerHasTheEpochOfItsOffset(t *testing.T) {
	none := recordbatch.BuilderOptions{}
	s := newSmall(t, "varve.durability", "local")
	loseMetadata(t, s.store)
	tx := recordbatch.BuilderOptions{Attributes: recordbatch.AttrTransactional, Producer: &recordbatch.Producer{ID: 77, Epoch: 3}}
	s.craft(1, 0, 2, 0, nil, plainBatch(t, 0, 2, 0, tx))
	s.craft(2, 4, 6, 0, nil, plainBatch(t, 4, 6, 1, none))
	s.craft(3, 6, 8, 0, nil, plainBatch(t, 6, 8, 2, none))
	mustRecover(t, s.store)
	_, state := reopen(t, s.store)
	p := state.Partition(s.place(0))
	// Merge [0, 3): the first part and the filler, as a merge job would.
	var merged [][]byte
	for l := range partsOf(state, p) {
		if l.NextOffset <= 3 {
			data := s.stored(l)
			for b, err := range recordbatch.Batches(data) {
				if err != nil {
					t.Fatal(err)
				}
				merged = append(merged, append([]byte(nil), b.Bytes...))
			}
		}
	}
	s.craft(5<<40, 0, 3, 0, nil, merged...)
	loseMetadata(t, s.store)
	report := mustRecover(t, s.store)
	if got := readBack(t, s.store, second(reopen(t, s.store))); len(got) != 6 {
		t.Errorf("%d of 6 records: %v; lost %+v, not adopted %+v", len(got), got, report.Lost, report.NotAdopted)
	}
}

// An object names a job that there never was.
func TestAJobThatThereNeverWas(t *testing.T) {
	s := newSmall(t, "varve.durability", "local")
	loseMetadata(t, s.store)
	e := segment.NewEncoder(segment.Header{JobID: 1<<64 - 2, CreatedMillis: 1}, 0)
	e.Begin(s.topic, "small", 0, 0)
	b := plainBatch(t, 0, 1, 0, recordbatch.BuilderOptions{})
	h, err := recordbatch.ParseHeader(b)
	if err == nil {
		err = e.Batch(h, b, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	e.End(1)
	body, _ := e.Finish()
	s.put(meta.SegmentKey(1<<64-2, 0), body)
	if _, err := Prepare(t.Context(), Config{Store: s.store}); !errors.Is(err, ErrNothing) {
		t.Error(err)
	}
}

// A piece of a batch with a delete horizon keeps it.
func TestAPieceKeepsTheDeleteHorizon(t *testing.T) {
	none := recordbatch.BuilderOptions{}
	s := newSmall(t, "varve.durability", "local", "cleanup.policy", "compact")
	loseMetadata(t, s.store)
	b := recordbatch.NewBuilder(none)
	b.Reset(0, 0)
	b.SetDeleteHorizon(9_000_000_000_000)
	for o := int64(0); o < 3; o++ {
		if err := b.Append(o, 1000+o, []byte{byte(o)}, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	data, _, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.craft(1, 0, 6, 1, nil, data, plainBatch(t, 3, 6, 0, none))
	s.craft(2, 4, 12, 1, nil, plainBatch(t, 4, 12, 0, none))
	mustRecover(t, s.store)
	_, state := reopen(t, s.store)
	for l := range partsOf(state, state.Partition(s.place(0))) {
		for b, err := range recordbatch.Batches(s.stored(l)) {
			if err != nil {
				t.Fatal(err)
			}
			if b.HasDeleteHorizon() && b.BaseTimestamp != 9_000_000_000_000 {
				t.Errorf("batch at %d: horizon %d", b.BaseOffset, b.BaseTimestamp)
			}
		}
	}
}

// What compaction of earlier builds left: nothing of the offsets that were given in epoch 1, and an empty batch over them with the epoch before.
func TestWhatEarlierCompactionLeft(t *testing.T) {
	none := recordbatch.BuilderOptions{}
	s := newSmall(t, "varve.durability", "local", "cleanup.policy", "compact")
	loseMetadata(t, s.store)
	s.craft(1, 0, 4, 0, nil, plainBatch(t, 0, 2, 0, none), recordbatch.EmptyBatch(2, 3, 0)) // offset 2 on: epoch 1
	s.craft(2, 4, 6, 0, nil, plainBatch(t, 4, 6, 1, none))
	s.craft(3, 6, 10, 0, nil, plainBatch(t, 6, 8, 1, none), recordbatch.EmptyBatch(8, 9, 1)) // the last two were given in epoch 2
	s.craft(4, 10, 12, 0, nil, plainBatch(t, 10, 12, 2, none))
	report := mustRecover(t, s.store)
	got := readBack(t, s.store, second(reopen(t, s.store)))
	if len(got) != 8 || report.LostOffsets != 0 {
		t.Errorf("%v: lost %+v, not adopted %+v", got, report.Lost, report.NotAdopted)
	}
	// With the older part that shows where the epoch began.
	s = newSmall(t, "varve.durability", "local", "cleanup.policy", "compact")
	loseMetadata(t, s.store)
	s.craft(1, 2, 4, 0, nil, plainBatch(t, 2, 4, 1, none)) // garbage, not swept yet
	s.craft(3, 0, 4, 0, nil, plainBatch(t, 0, 2, 0, none), recordbatch.EmptyBatch(2, 3, 0))
	s.craft(4, 4, 6, 0, nil, plainBatch(t, 4, 6, 1, none))
	report = mustRecover(t, s.store)
	got = readBack(t, s.store, second(reopen(t, s.store)))
	if len(got) != 4 {
		t.Errorf("compacted-away records are back: %v: lost %+v, not adopted %+v", got, report.Lost, report.NotAdopted)
	}
}

// A client's batch names a producer id that nobody gave.
func TestAProducerIDThatNobodyGave(t *testing.T) {
	for _, id := range []int64{1 << 40, 3 << 60, 1<<63 - 1, 1<<63 - 2} {
		s := newSmall(t, "varve.durability", "object")
		s.archive()
		s.sendBatches(s.oneRecord("x", recordbatch.Producer{ID: id}, 0))
		if n := s.state.Partition(s.place(0)).NextOffset(); n != 1 {
			t.Fatalf("ends at %d", n)
		}
		plan, err := Prepare(t.Context(), Config{Store: s.store})
		if err != nil {
			t.Errorf("producer %d: %v", id, err)
			continue
		}
		if err := errors.Join(plan.Execute(t.Context()), plan.Close()); err != nil {
			t.Errorf("producer %d: %v", id, err)
			continue
		}
		st := second(reopen(t, s.store))
		v := apply(t, st, &metapb.Command{Kind: &metapb.Command_AllocateProducerId{AllocateProducerId: &metapb.AllocateProducerId{}}})
		if id == 1<<40 && v.ProducerID <= id || id > 1<<50 && v.ProducerID > 1<<50 {
			t.Errorf("producer %d, and %d is given next", id, v.ProducerID)
		}
	}
}

// A batch precedes what is shipped of its producer, and stands in another chunk once more, since it was repeated.
func TestARepeatOfAPrecedingBatchIsOne(t *testing.T) {
	s := newSmall(t, "varve.durability", "object")
	s.send(true, write{0, 1, nil})
	s.archive()
	first := s.oneRecord("first", recordbatch.Producer{ID: 77, BaseSequence: 0}, 0)
	s.sendBatches(first)
	s.sendBatches(s.oneRecord("second", recordbatch.Producer{ID: 77, BaseSequence: 1}, 0))
	s.sendBatches(first) // its answer was lost: the producer repeats it
	if n := s.state.Partition(s.place(0)).NextOffset(); n != 3 {
		t.Fatalf("ends at %d", n)
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

// As TestARepeatOfAPrecedingBatchIsOne, but the first copy is in a segment that does not tell its producer, and the hole is another's.
func TestARepeatOfWhatASegmentHas(t *testing.T) {
	s := newSmall(t, "varve.durability", "object")
	s.send(true, write{0, 1, nil})
	s.archive()
	first := s.oneRecord("first", recordbatch.Producer{ID: 77, BaseSequence: 0}, 0)
	s.sendBatches(first)                                                                   // offset 1
	s.send(true, write{0, 1, nil})                                                         // offset 2: lost
	s.sendBatches(s.oneRecord("second", recordbatch.Producer{ID: 77, BaseSequence: 1}, 0)) // 3
	s.sendBatches(first)                                                                   // refused, a repeat
	names := map[int64]meta.ChunkID{}
	for o := int64(1); o < 4; o++ {
		l, _ := s.state.Locate(s.place(0), o)
		names[o] = l.Chunk
	}
	put := func(job meta.JobID, offset int64, value string, o recordbatch.BuilderOptions) {
		e := segment.NewEncoder(segment.Header{JobID: uint64(job), CreatedMillis: 1}, 0)
		e.Begin(s.topic, "small", 0, offset)
		c := names[offset]
		e.From(segment.Source{Chunk: segment.ChunkName{Node: int32(c.Node), Lane: c.Lane, Epoch: c.Epoch, Seq: c.Seq}})
		b := recordbatch.NewBuilder(o)
		b.Reset(offset, 0)
		if err := b.Append(offset, 1000, []byte(value), []byte(value), nil); err != nil {
			t.Fatal(err)
		}
		data, h, err := b.Build(nil)
		if err == nil {
			err = e.Batch(h, data, false)
		}
		if err != nil {
			t.Fatal(err)
		}
		e.End(offset + 1)
		body, _ := e.Finish()
		s.put(meta.SegmentKey(job, 0), body)
	}
	put(101, 1, "first", recordbatch.BuilderOptions{}) // merged with others: no producer
	put(102, 3, "second", recordbatch.BuilderOptions{Producer: &recordbatch.Producer{ID: 77, BaseSequence: 1}})
	if err := s.store.Delete(t.Context(), names[2].Key()); err != nil {
		t.Fatal(err)
	}
	report := mustRecover(t, s.store)
	count := countBack(t, s.store, second(reopen(t, s.store)))
	if count["first"] != 1 || count["second"] != 1 {
		t.Errorf("%v: lost %+v, not adopted %+v", count, report.Lost, report.NotAdopted)
	}
}

// The log starts within the first part that is left, and the part's leader epoch began below. The epoch ended where the recovery's begins.
func TestTheEpochAtARaisedLogStart(t *testing.T) {
	none := recordbatch.BuilderOptions{}
	s := newSmall(t, "varve.durability", "local")
	loseMetadata(t, s.store)
	s.craft(1, 0, 8, 3, nil, plainBatch(t, 0, 2, 4, none), plainBatch(t, 2, 6, 5, none), plainBatch(t, 6, 8, 7, none))
	mustRecover(t, s.store)
	p := second(reopen(t, s.store)).Partition(s.place(0))
	for offset, want := range map[int64]int32{3: 5, 5: 5, 6: 7, 7: 7} {
		if got := p.EpochAt(offset); got != want {
			t.Errorf("offset %d is of epoch %d, want %d", offset, got, want)
		}
	}
	for epoch, want := range map[int32]int64{5: 6, 7: 8} {
		if _, end, ok := p.EpochEnd(epoch); !ok || end != want {
			t.Errorf("epoch %d ended at %d, %v, want %d", epoch, end, ok, want)
		}
	}
}
