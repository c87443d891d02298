package recovery

import (
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// Pieces end before a producer's batch that reaches out of them, and begin behind one: what is whole in them is taken, and older parts give what they can
// of the rest.
func TestAPieceThatEndsWithinAProducersBatch(t *testing.T) {
	none, producer := recordbatch.BuilderOptions{}, recordbatch.BuilderOptions{Producer: &recordbatch.Producer{ID: 77}}
	plain := func(base, next int64) []byte { return plainBatch(t, base, next, 0, none) }
	of := func(base, next int64) []byte { return plainBatch(t, base, next, 0, producer) }
	type part struct {
		job        meta.JobID
		base, next int64
		batches    [][]byte
	}
	again := part{1<<40 + 7, 5, 8, [][]byte{plainBatch(t, 5, 8, 1000, none)}} // offsets from 5 on were given again
	for _, row := range []struct {
		name  string
		parts []part
		want  int
		lost  int64
	}{
		{"a late part", []part{{7, 0, 10, [][]byte{plain(0, 4), of(4, 10)}}, again}, 7, 1},
		{"and an older one", []part{{7, 0, 10, [][]byte{plain(0, 4), of(4, 10)}}, {3, 2, 6, [][]byte{plain(2, 6)}}, again}, 8, 0},
		{"and an older one with a batch of its own", []part{{7, 0, 10, [][]byte{plain(0, 4), of(4, 10)}}, {3, 2, 6, [][]byte{of(2, 3), of(3, 6)}}, again}, 7, 1},
		{"nothing else", []part{{7, 0, 10, [][]byte{of(0, 10)}}, again}, 3, 5},
		{"at the end", []part{{9, 4, 12, [][]byte{plain(4, 12)}}, {8, 0, 6, [][]byte{plain(0, 3), of(3, 6)}}}, 11, 1},
		{"at the end, and an older one", []part{{9, 4, 12, [][]byte{plain(4, 12)}}, {8, 0, 6, [][]byte{plain(0, 3), of(3, 6)}}, {5, 2, 5, [][]byte{plain(2, 5)}}}, 12, 0},
		{"at the beginning", []part{{9, 0, 8, [][]byte{plain(0, 8)}}, {8, 6, 10, [][]byte{of(6, 9), plain(9, 10)}}}, 9, 1},
		{"at the beginning, and an older one", []part{{9, 0, 8, [][]byte{plain(0, 8)}}, {8, 6, 10, [][]byte{of(6, 9), plain(9, 10)}}, {5, 7, 9, [][]byte{plain(7, 9)}}}, 10, 0},
		{"at both", []part{{9, 0, 8, [][]byte{plain(0, 8)}}, {10, 10, 18, [][]byte{plain(10, 18)}}, {8, 6, 12, [][]byte{of(6, 9), plain(9, 10), of(10, 12)}}}, 17, 1},
		{"one over all", []part{{9, 0, 8, [][]byte{plain(0, 8)}}, {10, 10, 18, [][]byte{plain(10, 18)}}, {8, 6, 12, [][]byte{of(6, 12)}}, {5, 7, 11, [][]byte{plain(7, 11)}}}, 18, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newSmall(t, "varve.durability", "local")
			loseMetadata(t, s.store)
			for _, p := range row.parts {
				s.craft(p.job, p.base, p.next, 0, nil, p.batches...)
			}
			report := mustRecover(t, s.store)
			got := readBack(t, s.store, second(reopen(t, s.store)))
			if len(got) != row.want || report.LostOffsets != row.lost {
				t.Errorf("%d of %d records: %v: lost %+v, not adopted %+v, damaged %+v", len(got), row.want, got, report.Lost, report.NotAdopted, report.Damaged)
			}
		})
	}
}
