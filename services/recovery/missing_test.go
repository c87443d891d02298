package recovery

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

// describeTopic stores an object that has nothing but what the topic's settings are.
func (s *small) describeTopic(job meta.JobID, overrides map[string]string) {
	s.t.Helper()
	e := segment.NewEncoder(segment.Header{JobID: uint64(job), CreatedMillis: 1}, 0)
	e.About(segment.Topic{ID: s.topic, Partitions: 2, Overrides: overrides})
	e.Begin(s.topic, "small", 1, 0)
	b := plainBatch(s.t, 0, 1, 0, recordbatch.BuilderOptions{})
	h, err := recordbatch.ParseHeader(b)
	if err == nil {
		err = e.Batch(h, b, false)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	e.End(1)
	body, _ := e.Finish()
	s.put(meta.SegmentKey(job, 0), body)
}

// The part before the first one is gone. That there were offsets before it, and where the log began, the part itself says; what has become of them nobody can
// tell where retention deletes, and else they are lost.
func TestWhatIsMissingBeforeTheFirstPart(t *testing.T) {
	for _, row := range []struct {
		policy    string
		logStart  int64 // when the part was stored
		lost      int64
		deletable bool
	}{
		{"delete", 0, 5, true}, {"delete", 2, 3, true}, {"compact", 0, 5, false}, {"compact,delete", 0, 5, true}, {"delete", 5, 0, false}, {"delete", 7, 0, false},
	} {
		t.Run(fmt.Sprint(row.policy, " from ", row.logStart), func(t *testing.T) {
			s := newSmall(t, "varve.durability", "local")
			loseMetadata(t, s.store)
			s.describeTopic(1, map[string]string{"cleanup.policy": row.policy})
			s.craft(2, 5, 10, row.logStart, nil, plainBatch(t, 5, 10, 0, recordbatch.BuilderOptions{}))
			report := mustRecover(t, s.store)
			if row.lost == 0 && len(report.Lost) > 0 || row.lost > 0 && (len(report.Lost) != 1 || report.Lost[0].BaseOffset != row.logStart || report.Lost[0].NextOffset != 5 ||
				report.Lost[0].Deletable != row.deletable || report.LostOffsets != row.lost) {
				t.Errorf("lost %+v", report.Lost)
			}
			var text strings.Builder
			if err := report.Write(&text); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(text.String(), "LOST or deleted") != row.deletable || strings.Contains(text.String(), "LOST small") != (row.lost > 0 && !row.deletable) {
				t.Errorf("report:\n%s", &text)
			}
			_, state := reopen(t, s.store)
			if at := state.Partition(s.place(0)).LogStartOffset(); at != row.logStart {
				t.Errorf("the log starts at %d", at)
			}
			if got := readBack(t, s.store, state); len(got) != int(1+10-max(5, row.logStart)) {
				t.Errorf("%v", got)
			}
		})
	}
}

// The key under which a chunk was committed is gone, or cut, and that of its hedge, with the same bytes, is there. It was garbage.
func TestAHedgeHasWhatIsLost(t *testing.T) {
	for _, row := range []struct {
		name   string
		left   int // bytes of the first
		broken bool
		lost   int64
	}{{"gone", 0, false, 0}, {"cut", 100, false, 0}, {"neither is whole", 100, true, 1}} {
		t.Run(row.name, func(t *testing.T) {
			s := newSmall(t, "varve.durability", "object")
			var b chunk.Builder
			b.Add(s.oneRecord("zero", recordbatch.Producer{ID: 77}, 0))
			sealed := b.Seal(chunk.Header{NodeID: 1, NodeEpoch: 1, Lane: 1, Seq: 1, CreatedMillis: 500})
			body := slices.Concat(append([][]byte{sealed.Head}, sealed.Body...)...)
			s.log(&metapb.Command{Kind: &metapb.Command_CommitChunk{CommitChunk: &metapb.CommitChunk{
				NodeId: 1, NodeEpoch: 1, Lane: 1, Seq: 1, Durability: durabilityOf(1), Hedges: 1, ChunkBytes: uint64(len(body)), RunTable: sealed.Table.Bytes(),
			}}})
			s.archive()
			first := meta.ChunkID{Node: 1, Epoch: 1, Lane: 1, Seq: 1}
			hedge := first
			hedge.Hedge = 1
			if !slices.ContainsFunc(s.state.Garbage(), func(g meta.Garbage) bool { return g.Key == hedge.Key() }) {
				t.Fatalf("garbage %+v", s.state.Garbage())
			}
			if row.left > 0 {
				s.put(first.Key(), body[:row.left])
			}
			if row.broken {
				body[len(body)-1] ^= 1
			}
			s.put(hedge.Key(), body)
			report := mustRecover(t, s.store)
			_, state := reopen(t, s.store)
			if n := len(readBack(t, s.store, state)); int64(n) != 1-row.lost || report.LostOffsets != row.lost {
				t.Errorf("%d records, lost %+v", n, report.Lost)
			}
			garbage := slices.ContainsFunc(state.Garbage(), func(g meta.Garbage) bool { return g.Key == hedge.Key() })
			if garbage != (row.lost > 0) || state.Refers(hedge.Key()) == garbage {
				t.Errorf("garbage %+v", state.Garbage())
			}
			if !slices.ContainsFunc(report.Damaged, func(f Finding) bool { return f.Where == first.Key() }) {
				t.Errorf("damaged %+v", report.Damaged)
			}
		})
	}
}
