package recovery

import (
	"bytes"
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

// storeHot stores a segment of a job, with runs of the first partition as their node has shipped them from its disk.
func (s *small) storeHot(job meta.JobID, base int64, epoch int32, disk [16]byte, runs ...meta.Location) {
	s.t.Helper()
	e := segment.NewEncoder(segment.Header{JobID: uint64(job), CreatedMillis: 1}, 0)
	e.Begin(s.topic, "small", 0, base)
	for i, r := range runs {
		e.From(segment.Source{Hot: segment.HotSegment{Disk: disk, ID: r.Segment, Node: int32(r.Node)}, From: uint32(r.Position), To: uint32(r.Position + r.Length)})
		data := bytes.Clone(s.hot[[2]uint64{uint64(r.Node), r.Segment}][r.Position:][:r.Length])
		_, err := recordbatch.AssignOffsets(data, base+int64(i), epoch)
		if err != nil {
			s.t.Fatal(err)
		}
		h, err := recordbatch.ParseHeader(data)
		if err == nil {
			err = e.Batch(h, data, false)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	e.End(base + int64(len(runs)))
	body, _ := e.Finish()
	s.put(meta.SegmentKey(job, 0), body)
}

// recoverFrom recovers with hot logs, and returns what comes of it.
func (s *small) recoverFrom(hotLogs ...string) (*meta.State, *Report) {
	s.t.Helper()
	plan, err := Prepare(s.ctx, Config{Store: s.store, HotLogs: hotLogs})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := errors.Join(plan.Execute(s.ctx), plan.Close()); err != nil {
		s.t.Fatal(err)
	}
	return second(reopen(s.t, s.store)), &plan.Report
}

// A copy is adopted whose chunk's own disk is gone, and shipped as that of the disk's node. Then all metadata is lost, so that nothing tells that node's number
// any more, and the disk still has the copy.
func TestAnAdoptedCopyThatWasShippedIsFoundAgain(t *testing.T) {
	s := newSmall(t, "varve.durability", "replicated")
	a, other, b := s.newDisk(), s.newDisk(), s.newDisk()
	s.archive()
	s.sendTo(a, b)
	for _, d := range []*disk{a, other, b} {
		if err := d.log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	state, _ := s.recoverFrom(b.dir)
	l, ok := state.Locate(s.place(0), 0)
	if !ok || l.Node != b.node.ID {
		t.Fatalf("the copy was not adopted: %+v", l)
	}
	s.storeHot(1<<40+1<<33, 0, state.Partition(s.place(0)).EpochAt(0), b.log.DiskUUID(), l)
	loseMetadata(t, s.store)
	if state, report := s.recoverFrom(b.dir); state.Partition(s.place(0)).NextOffset() != 1 {
		t.Errorf("one record was written, and the partition ends at %d: %+v", state.Partition(s.place(0)).NextOffset(), report)
	}
}

// The copy of a chunk lies between what a disk's own node has shipped. It is not shipped, and no metadata is left of it, nor its own disk.
func TestACopyBetweenWhatItsDisksNodeHasShipped(t *testing.T) {
	s := newSmall(t, "varve.durability", "local")
	a, b := s.newDisk(), s.newDisk()
	b1, a1, b2 := s.writeTo(b, nil), s.writeTo(a, b), s.writeTo(b, nil)
	var shipped []meta.Location
	for _, c := range []*metapb.CommitChunk{b1, b2} {
		s.commitChunk(c)
		l, ok := s.state.Locate(s.place(0), s.state.Partition(s.place(0)).NextOffset()-1)
		if !ok {
			t.Fatal("the chunk is not there")
		}
		if n := len(shipped); n > 0 && shipped[n-1].Position == l.Position {
			t.Fatal("both are one run")
		}
		shipped = append(shipped, l)
	}
	s.storeHot(1<<33, 0, 0, b.log.DiskUUID(), shipped...)
	s.commitChunk(a1)
	for _, d := range []*disk{a, b} {
		if err := d.log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 { // and once more: it has been adopted then, and is not shipped yet
		loseMetadata(t, s.store)
		if state, report := s.recoverFrom(b.dir); state.Partition(s.place(0)).NextOffset() != 3 || report.Hot.Offsets != 1 {
			t.Errorf("recovery %d: 3 records were acknowledged, and the partition ends at %d: %+v", i, state.Partition(s.place(0)).NextOffset(), report)
		}
	}
}
