package recovery

import (
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
