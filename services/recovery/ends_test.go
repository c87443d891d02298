package recovery

import (
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// craftIn is craft for a partition.
func (s *small) craftIn(job meta.JobID, partition int32, base, next int64, batches ...[]byte) {
	s.t.Helper()
	body, _ := s.crafted(job, partition, base, next, 0, batches...)
	s.put(meta.SegmentKey(job, 0), body)
}

// A transaction was committed, as a recovery has found out by its marker in another partition: it has stored one of its own, behind which the log has gone on
// or not. When all metadata is lost again, and once more, the other partition's records are deleted, so that nothing else tells of it.
func TestACommitThatARecoveryHasStored(t *testing.T) {
	for _, goesOn := range []bool{false, true} {
		s := newSmall(t, "varve.durability", "local")
		loseMetadata(t, s.store)
		options := recordbatch.BuilderOptions{Attributes: recordbatch.AttrTransactional, Producer: &recordbatch.Producer{ID: 77, Epoch: 3}}
		marker := recordbatch.ControlBatch(recordbatch.Marker{ProducerID: 77, ProducerEpoch: 4, Commit: true, TimestampMillis: 1000}, 1, 0)
		s.craftIn(1, 0, 0, 2, plainBatch(t, 0, 1, 0, options), marker)
		s.craftIn(2, 1, 0, 1, plainBatch(t, 0, 1, 0, options))
		for i := range 3 {
			report := mustRecover(t, s.store)
			_, state := reopen(t, s.store)
			p := state.Partition(s.place(1))
			want := 1
			if goesOn && i > 0 {
				want++
			}
			if visible := s.committedIn(state, p); len(visible) != want || len(report.Lost) != 0 || report.OtherAborted != 0 {
				t.Errorf("goes on %v, recovery %d: %d records can be seen, not %d: lost %+v, %d aborted", goesOn, i, len(visible), want, report.Lost, report.OtherAborted)
			}
			lead(t, s.store)
			if i == 0 {
				if err := s.store.Delete(t.Context(), meta.SegmentKey(1, 0)); err != nil {
					t.Fatal(err)
				}
				if goesOn {
					s.craftIn(1<<40+1<<33, 1, 2, 3, plainBatch(t, 2, 3, p.EpochAt(2), recordbatch.BuilderOptions{}))
				}
			}
			loseMetadata(t, s.store)
		}
	}
}
