package compact

import (
	"context"
	"slices"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

// local commits a batch of one record in the hot log of another node; a producer above 0 has a transaction, which it joins.
func (w *world) local(node meta.Verdict, seq uint64, producer int64, sequence int32) {
	w.t.Helper()
	options := recordbatch.BuilderOptions{}
	joins := int16(0)
	if producer > 0 {
		options.Attributes, joins = recordbatch.AttrTransactional, chunk.AttrJoinsTransaction
		options.Producer = &recordbatch.Producer{ID: producer, BaseSequence: sequence}
	}
	b := recordbatch.NewBuilder(options)
	b.Reset(0, 0)
	if err := b.Append(0, 1, []byte("k"), []byte("v"), nil); err != nil {
		w.t.Fatal(err)
	}
	data, h, err := b.Build(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	var c chunk.Builder
	c.Add(chunk.Batch{Topic: topic, Data: data, Records: 1, ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch, BaseSequence: h.BaseSequence, Attributes: h.Attributes | joins, MaxTimestamp: h.MaxTimestamp})
	sealed := c.Seal(chunk.Header{NodeID: int32(node.NodeID), NodeEpoch: node.NodeEpoch, Lane: 0, Seq: seq})
	w.do(&metapb.CommitChunk{NodeId: int32(node.NodeID), NodeEpoch: node.NodeEpoch, Seq: seq, Segment: 1, Position: uint32(seq) * 4096, Durability: metapb.Durability_DURABILITY_LOCAL,
		ChunkBytes: uint64(sealed.Header.ChunkBytes()), RunTable: append([]byte(nil), sealed.Table.Bytes()...)})
	if w.chunk.Code != meta.OK || w.chunk.Runs[0].Code != meta.OK {
		w.t.Fatalf("%+v", w.chunk)
	}
	if producer > 0 {
		w.open[producer] = append(w.open[producer], int64(len(w.log)))
	}
	w.log = append(w.log, sent{producer: producer})
}

// A transaction's marker stands between two runs that were lost with a node's disk. It is shipped with another run, or nothing behind it would ever be
// compacted or merged.
func TestAMarkerBetweenGapsIsShipped(t *testing.T) {
	for _, policy := range []string{"compact", "delete"} {
		t.Run(policy, func(t *testing.T) {
			w := newWorld(t, "cleanup.policy", policy, "retention.ms", "-1", "varve.durability", "local")
			w.merging = &metapb.Merging{Parts: 2, ManyParts: 2}
			disk := make([]byte, 16)
			disk[0] = 2
			node := w.do(&metapb.RegisterNode{DiskId: disk, Incarnation: []byte{2}, KafkaHost: "h", KafkaPort: 2})
			x := w.begin("x")
			w.local(node, 1, x, 0) // 0
			w.end("x", x, true)    // 1, the marker
			w.local(node, 2, 0, 0) // 2
			w.do(&metapb.SetNodeLive{NodeId: int32(node.NodeID), NodeEpoch: node.NodeEpoch, Live: false})
			if v := w.do(&metapb.ForgetNode{NodeId: int32(node.NodeID), NodeEpoch: node.NodeEpoch}); v.Code != meta.OK || len(v.Lost) != 2 {
				t.Fatal(v)
			}
			for range 40 {
				w.produce(recordbatch.None, false, row("a", "1", 1))
				w.ship()
				w.now += 3_600_000
			}
			if v := w.do(&metapb.LeaseJob{Worker: "s", LeaseMillis: 60_000}); v.Code != meta.NothingWaits {
				t.Fatal("there is something to ship")
			}
			for w.compact(Config{}, -1) {
			}
			p := w.partition()
			if got := p.EarliestLocalOffset(); got != p.NextOffset() {
				t.Errorf("all that is not in the bucket begins at %d of %d, and nothing waits to be shipped", got, p.NextOffset())
			}
			if n := p.StoredParts(); n > 4 {
				t.Errorf("%d parts of one record each are left, compacted to %d", n, p.CleanedOffset())
			}
		})
	}
}

// capture builds the objects of a job as its worker does that has been told of it now.
func (w *world) capture(id meta.JobID) *metapb.FinishJob {
	w.t.Helper()
	finish := &metapb.FinishJob{JobId: uint64(id)}
	for c, runs := range w.state.JobContainers(id) {
		e := segment.NewEncoder(segment.Header{JobID: uint64(id), Ordinal: uint32(len(finish.Objects))}, 0)
		slices.SortFunc(runs, func(x, y meta.ContainerRun) int { return int(x.BaseOffset - y.BaseOffset) })
		e.Begin(topic, "t", 0, runs[0].BaseOffset)
		next := runs[0].BaseOffset
		for _, r := range runs {
			if r.BaseOffset != next {
				w.t.Fatal("the container has more than one range")
			}
			next += int64(r.Records)
			var data []byte
			if m := r.Marker; m != nil {
				data = recordbatch.ControlBatch(recordbatch.Marker{ProducerID: m.ProducerID, ProducerEpoch: m.ProducerEpoch, Commit: m.Commit, TimestampMillis: m.TimestampMillis}, m.Offset, 0)
			} else {
				data = slices.Clone(w.chunks[c.Chunk][r.Position:][:r.Length])
				if _, err := recordbatch.AssignOffsets(data, r.BaseOffset, 0); err != nil {
					w.t.Fatal(err)
				}
			}
			for b, err := range recordbatch.Batches(data) {
				if err == nil {
					err = e.Batch(b.Header, b.Bytes, false)
				}
				if err != nil {
					w.t.Fatal(err)
				}
			}
		}
		e.End(next)
		body, parts := e.Finish()
		p := parts[0]
		o := &metapb.SegmentObject{JobId: uint64(id), Ordinal: uint32(len(finish.Objects)), SizeBytes: uint64(len(body)), Parts: []*metapb.Part{{
			TopicId: topic[:], BaseOffset: p.BaseOffset, NextOffset: p.NextOffset, Position: p.Position, Length: p.LengthBytes,
			IndexPosition: p.IndexPosition, IndexLength: p.IndexLengthBytes, MaxTimestamp: p.MaxTimestamp, MinTimestamp: p.MinTimestamp, Records: p.Records,
		}}}
		if _, err := w.store.PutIfAbsent(context.Background(), meta.SegmentKey(id, o.Ordinal), body); err != nil {
			w.t.Fatal(err)
		}
		finish.Objects = append(finish.Objects, o)
	}
	return finish
}

// Two workers, and a transaction that ends without records in the partition: its marker follows a run that the first worker ships and was told of before,
// and comes before one that the second ships meanwhile. It goes with neither, but with the next run.
func TestAMarkerBetweenTwoJobsIsShipped(t *testing.T) {
	w := newWorld(t)
	x := w.begin("x")
	w.produce(recordbatch.None, false, row("a", "1", 1)) // 0
	first := w.do(&metapb.LeaseJob{Worker: "one", LeaseMillis: 60_000})
	told := w.capture(first.JobID)
	if v := w.do(&metapb.AddToTransaction{TransactionalId: "x", ProducerId: x, Topics: []*metapb.TransactionTopic{{TopicId: topic[:], Partitions: []int32{0}}}}); v.Code != meta.OK {
		t.Fatal(v)
	}
	if v := w.do(&metapb.EndTransaction{TransactionalId: "x", ProducerId: x, Commit: false}); v.Code != meta.OK {
		t.Fatal(v)
	}
	w.log = append(w.log, sent{marker: true, producer: x, aborted: true}) // 1
	w.produce(recordbatch.None, false, row("a", "2", 1))                  // 2
	second := w.do(&metapb.LeaseJob{Worker: "two", LeaseMillis: 60_000})
	if v := w.do(w.capture(second.JobID)); v.Code != meta.OK || v.PartsDropped > 0 {
		t.Fatal(v)
	}
	if v := w.do(told); v.Code != meta.OK || v.PartsDropped > 0 {
		t.Fatal(v)
	}
	for range 20 {
		w.produce(recordbatch.None, false, row("a", "3", 1))
		w.ship()
	}
	for w.compact(Config{}, -1) {
	}
	p := w.partition()
	if got := p.EarliestLocalOffset(); got != p.NextOffset() {
		t.Errorf("all that is not in the bucket begins at %d of %d, and nothing waits to be shipped", got, p.NextOffset())
	}
	if n := p.StoredParts(); n > 4 {
		t.Errorf("%d parts of one record each are left, compacted to %d", n, p.CleanedOffset())
	}
}
