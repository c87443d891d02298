package recovery

import (
	"fmt"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

// storeOf stores an object of a batch of one record for each value, which is made of a chunk, unless that is none.
func (s *small) storeOf(c meta.ChunkID, job meta.JobID, base int64, epoch int32, o recordbatch.BuilderOptions, values ...string) {
	s.t.Helper()
	b := recordbatch.NewBuilder(o)
	b.Reset(base, epoch)
	for i, v := range values {
		if err := b.Append(base+int64(i), 1000, []byte(v), []byte(v), nil); err != nil {
			s.t.Fatal(err)
		}
	}
	data, h, err := b.Build(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	e := segment.NewEncoder(segment.Header{JobID: uint64(job), CreatedMillis: 1}, 0)
	e.Begin(s.topic, "small", 0, base)
	if c != (meta.ChunkID{}) {
		e.From(segment.Source{Chunk: segment.ChunkName{Node: int32(c.Node), Lane: c.Lane, Epoch: c.Epoch, Seq: c.Seq}})
	}
	if err := e.Batch(h, data, false); err != nil {
		s.t.Fatal(err)
	}
	e.End(base + int64(len(values)))
	body, _ := e.Finish()
	s.put(meta.SegmentKey(job, 0), body)
}

// expectOnce demands that each value is there once.
func (s *small) expectOnce(report *Report, values ...string) {
	s.t.Helper()
	count := countBack(s.t, s.store, second(reopen(s.t, s.store)))
	for _, v := range values {
		if count[v] != 1 {
			s.t.Errorf("%q is there %d times; %v, lost %+v, not adopted %+v, damaged %+v", v, count[v], count, report.Lost, report.NotAdopted, report.Damaged)
		}
	}
}

// What a worker of a former log has stored late is left out. The chunk that it was made of is taken.
func TestTheChunkOfAPartThatIsLeftOut(t *testing.T) {
	s := newSmall(t, "varve.durability", "object")
	c := s.sendFrom(1, 2000, s.unowned("acknowledged"))
	loseMetadata(t, s.store)
	s.storeOf(c, 7, 1, 0, recordbatch.BuilderOptions{}, "acknowledged")
	s.storeOf(meta.ChunkID{}, 1<<40+7, 1, 1000, recordbatch.BuilderOptions{}, "new")
	s.expectOnce(mustRecover(t, s.store), "acknowledged", "new")
}

// As TestTheChunkOfAPartThatIsLeftOut, of a part of which a piece is taken. Then everything but objects that are referred to is lost once more.
func TestTheChunkOfAPartOfWhichAPieceIsTaken(t *testing.T) {
	s := newSmall(t, "varve.durability", "object")
	c := s.sendFrom(1, 2000, s.unowned("acknowledged"))
	loseMetadata(t, s.store)
	s.storeOf(c, 7, 0, 0, recordbatch.BuilderOptions{}, "before", "acknowledged")
	s.storeOf(meta.ChunkID{}, 1<<40+7, 1, 1000, recordbatch.BuilderOptions{}, "new")
	s.expectOnce(mustRecover(t, s.store), "before", "acknowledged", "new")
	if err := s.store.Delete(t.Context(), meta.SegmentKey(7, 0)); err != nil {
		t.Fatal(err)
	}
	loseMetadata(t, s.store)
	s.expectOnce(mustRecover(t, s.store), "before", "acknowledged", "new")
}

// What the last epoch of the former log has left behind its last record is an empty batch, over offsets that were given again.
func TestTheEmptyTailOfALatePart(t *testing.T) {
	none := recordbatch.BuilderOptions{}
	s := newSmall(t, "varve.durability", "local")
	loseMetadata(t, s.store)
	s.craft(7, 0, 10, 0, nil, plainBatch(t, 0, 6, 0, none), recordbatch.EmptyBatch(6, 9, 0))
	s.craft(1<<40+7, 8, 12, 0, nil, plainBatch(t, 8, 12, 1000, none))
	report := mustRecover(t, s.store)
	if got := readBack(t, s.store, second(reopen(t, s.store))); len(got) != 10 {
		t.Errorf("%d of 10 records: %v: lost %+v, not adopted %+v", len(got), got, report.Lost, report.NotAdopted)
	}
}

// As TestWhatEarlierCompactionLeft: the last batch with records could reach to the part's end, too, over offsets of a later epoch.
func TestABatchThatEarlierCompactionStretched(t *testing.T) {
	none := recordbatch.BuilderOptions{}
	for _, garbage := range []bool{false, true} {
		s := newSmall(t, "varve.durability", "local", "cleanup.policy", "compact")
		loseMetadata(t, s.store)
		b := recordbatch.NewBuilder(none)
		b.Reset(0, 0)
		for o := range int64(2) {
			if err := b.Append(o, 1000, nil, []byte(fmt.Sprint("record ", o)), nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.SetLastOffset(3); err != nil {
			t.Fatal(err)
		}
		stretched, _, err := b.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		if garbage {
			s.craft(1, 2, 4, 0, nil, plainBatch(t, 2, 4, 1, none)) // not swept yet
		} else {
			s.craft(2, 2, 3, 0, nil, plainBatch(t, 2, 3, 1, none)) // shows where the epoch began
		}
		s.craft(3, 0, 4, 0, nil, stretched)
		s.craft(4, 4, 6, 0, nil, plainBatch(t, 4, 6, 1, none))
		report := mustRecover(t, s.store)
		if got := readBack(t, s.store, second(reopen(t, s.store))); len(got) != 4 || report.LostOffsets != 0 {
			t.Errorf("garbage %v: %v: lost %+v, not adopted %+v", garbage, got, report.Lost, report.NotAdopted)
		}
	}
}

// A bit of a batch's epoch has flipped before the batch was merged: what was made of it has a directory that says so, with a checksum.
func TestAnEpochThatFlippedBeforeAMerge(t *testing.T) {
	none := recordbatch.BuilderOptions{}
	s := newSmall(t, "varve.durability", "local")
	loseMetadata(t, s.store)
	s.craft(1, 0, 2, 0, nil, plainBatch(t, 0, 2, 0, none))
	s.craft(9, 2, 4, 0, nil, plainBatch(t, 2, 3, 0, none), plainBatch(t, 3, 4, 1<<20, none))
	s.craft(3, 4, 7, 0, nil, plainBatch(t, 4, 7, 0, none))
	report := mustRecover(t, s.store)
	state := second(reopen(t, s.store))
	if got := readBack(t, s.store, state); len(got) != 7 {
		t.Errorf("%d of 7 records; lost %+v, not adopted %+v", len(got), report.Lost, report.NotAdopted)
	}
	p := state.Partition(s.place(0))
	if _, end, _ := p.EpochEnd(0); end != 7 || p.LeaderEpoch() <= 1<<20 {
		t.Errorf("epoch 0 ended at %d, and now it is %d: no batch of a higher one can be read", end, p.LeaderEpoch())
	}
}

func TestWhichPartsAreOfALaterLog(t *testing.T) {
	for _, row := range []struct {
		what  string
		begun begunEpoch
		job   meta.JobID
		want  int64
	}{
		{"of the log that gave the epoch", begunEpoch{1, 5}, 1<<40 + 20, 9},
		{"of the log before", begunEpoch{1, 5}, 20, 5},
		{"whole behind it", begunEpoch{1, 2}, 20, 3},
		{"an epoch of the same log", begunEpoch{0, 5}, 20, 9},
	} {
		c := &candidate{object: &storedObject{id: meta.SegmentID{Job: row.job}}, part: segment.Part{BaseOffset: 3, NextOffset: 9}}
		if ends := validEnds([]begunEpoch{row.begun}, []*candidate{c}); ends[0] != row.want {
			t.Errorf("%s: valid up to %d, want %d", row.what, ends[0], row.want)
		}
	}
}
