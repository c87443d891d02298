package recovery

import (
	"errors"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

// Copies of two nodes' chunks lie between each other on a third node's disk. Those of one are shipped.
func TestCopiesOfOthersLieBetweenThoseThatWereShipped(t *testing.T) {
	s := newSmall(t, "varve.durability", "replicated")
	a, b, c := s.newDisk(), s.newDisk(), s.newDisk()
	s.archive()
	a1 := s.writeTo(a, b)
	c1 := s.writeTo(c, b)
	a2 := s.writeTo(a, b)
	s.commitChunk(a1)
	s.commitChunk(a2)
	s.log(&metapb.Command{Kind: &metapb.Command_SealContainer{SealContainer: &metapb.SealContainer{NodeId: int32(a.node.ID), NodeEpoch: a.node.Epoch, Segment: a1.Segment}}})
	s.log(&metapb.Command{Kind: &metapb.Command_SetNodeLive{SetNodeLive: &metapb.SetNodeLive{NodeId: int32(a.node.ID), NodeEpoch: a.node.Epoch, Live: true}}})
	job := s.lease(1)
	// As ship.builder does.
	e := segment.NewEncoder(segment.Header{JobID: uint64(job), CreatedMillis: s.state.TimeMillis()}, 0)
	for ct, runs := range s.state.JobContainers(job) {
		tp := runs[0].Partition
		e.Begin(tp.Topic, "small", tp.Partition, runs[0].BaseOffset)
		for _, r := range runs {
			e.From(segment.Source{Hot: segment.HotSegment{Disk: s.state.Node(ct.Node).DiskID, ID: ct.Segment, Node: int32(ct.Node)}, From: r.Position, To: r.Position + r.Length})
			e.From(segment.Source{Hot: segment.HotSegment{Disk: s.state.Node(ct.CopyNode).DiskID, ID: ct.CopySegment, Node: int32(ct.Node)}, From: r.CopyPosition, To: r.CopyPosition + r.Length})
			for batch, err := range recordbatch.Batches(s.bytesOf(jobRun{r, ct})) {
				if err != nil {
					t.Fatal(err)
				}
				if err := e.Batch(batch.Header, batch.Bytes, false); err != nil {
					t.Fatal(err)
				}
			}
		}
		e.End(runs[len(runs)-1].BaseOffset + 1)
	}
	body, parts := e.Finish()
	o := describe(job, 0, len(body), parts)
	s.put(meta.SegmentKey(job, 0), body)
	s.finish(job, []*metapb.SegmentObject{o})
	s.commitChunk(c1) // acknowledged
	for _, d := range []*disk{a, b, c} {
		if err := d.log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	plan, err := Prepare(t.Context(), Config{Store: s.store, HotLogs: []string{b.dir}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(plan.Execute(t.Context()), plan.Close()); err != nil {
		t.Fatal(err)
	}
	if p := second(reopen(t, s.store)).Partition(s.place(0)); p.NextOffset() != 3 {
		t.Errorf("3 records were acknowledged and are on the bucket or the disk that is given; the partition ends at %d; lost %+v, not adopted %+v, missing %v, hot %+v",
			p.NextOffset(), plan.Report.Lost, plan.Report.NotAdopted, plan.Report.Missing, plan.Report.Hot)
	}
}
