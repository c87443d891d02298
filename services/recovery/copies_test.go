package recovery

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

// appendCopy writes a replicated chunk with one record to two disks and returns its commit.
func (s *small) appendCopy(d, copyOn *disk) *metapb.CommitChunk {
	tp := s.place(0)
	s.values++
	value := fmt.Sprint("value ", s.values)
	builder := recordbatch.NewBuilder(recordbatch.BuilderOptions{})
	builder.Reset(0, 0)
	if err := builder.Append(0, 1000, nil, []byte(value), nil); err != nil {
		s.t.Fatal(err)
	}
	data, h, err := builder.Build(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	var b chunk.Builder
	b.Add(chunk.Batch{ProducerID: -1, Topic: tp.Topic, Partition: tp.Partition, Data: bytes.Clone(data), Records: 1, MaxTimestamp: h.MaxTimestamp})
	d.seq++
	c := &metapb.CommitChunk{NodeId: int32(d.node.ID), NodeEpoch: d.node.Epoch, Seq: d.seq, Lane: replicatedLane, Durability: metapb.Durability_DURABILITY_REPLICATED}
	sealed := b.Seal(chunk.Header{NodeID: c.NodeId, NodeEpoch: c.NodeEpoch, Lane: c.Lane, Seq: c.Seq, CreatedMillis: s.state.TimeMillis()})
	whole := slices.Concat(append([][]byte{sealed.Head}, sealed.Body...)...)
	write := func(d *disk) hotlog.Place {
		places, err := d.log.Append(nil, hotlog.NewChunk(whole))
		if err != nil {
			s.t.Fatal(err)
		}
		at := [2]uint64{uint64(d.node.ID), places[0].Segment}
		padded := make([]byte, places[0].Position)
		copy(padded, s.hot[at])
		s.hot[at] = append(padded, whole...)
		return places[0]
	}
	place := write(d)
	c.Segment, c.Position, c.ChunkBytes, c.RunTable = place.Segment, place.Position, uint64(len(whole)), sealed.Table.Bytes()
	place = write(copyOn)
	c.Copy = &metapb.ChunkCopy{NodeId: int32(copyOn.node.ID), NodeEpoch: copyOn.node.Epoch, Segment: place.Segment, Position: place.Position}
	return c
}

// Copies of two nodes' chunks lie between each other on a third node's disk. Those of one are shipped.
func TestCopiesOfOthersLieBetweenThoseThatWereShipped(t *testing.T) {
	s := newSmall(t, "varve.durability", "replicated")
	a, b, c := s.newDisk(), s.newDisk(), s.newDisk()
	s.archive()
	commit := func(c *metapb.CommitChunk) {
		next := s.state.Partition(s.place(0)).NextOffset()
		s.log(&metapb.Command{Kind: &metapb.Command_CommitChunk{CommitChunk: c}})
		if s.state.Partition(s.place(0)).NextOffset() != next+1 {
			t.Fatal("not committed")
		}
	}
	a1 := s.appendCopy(a, b)
	c1 := s.appendCopy(c, b)
	a2 := s.appendCopy(a, b)
	commit(a1)
	commit(a2)
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
	commit(c1) // acknowledged
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
