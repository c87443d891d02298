package compact

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

// raiseEpoch loses a record of class local with its node, so that the partition's leader epoch is raised.
func (w *world) raiseEpoch(disk byte) {
	w.t.Helper()
	id := make([]byte, 16)
	id[0] = disk
	v := w.do(&metapb.RegisterNode{DiskId: id, Incarnation: []byte{disk}, KafkaHost: "h", KafkaPort: int32(disk)})
	if v.Code != meta.OK {
		w.t.Fatal(v)
	}
	b := recordbatch.NewBuilder(recordbatch.BuilderOptions{})
	b.Reset(0, 0)
	if err := b.Append(0, 1, []byte("lost"), []byte("lost"), nil); err != nil {
		w.t.Fatal(err)
	}
	data, h, err := b.Build(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	var c chunk.Builder
	c.Add(chunk.Batch{Topic: topic, Data: data, Records: 1, ProducerID: -1, MaxTimestamp: h.MaxTimestamp})
	sealed := c.Seal(chunk.Header{NodeID: int32(v.NodeID), NodeEpoch: v.NodeEpoch, Lane: 0, Seq: 1})
	w.do(&metapb.CommitChunk{NodeId: int32(v.NodeID), NodeEpoch: v.NodeEpoch, Seq: 1, Segment: 1, Durability: metapb.Durability_DURABILITY_LOCAL,
		ChunkBytes: uint64(sealed.Header.ChunkBytes()), RunTable: append([]byte(nil), sealed.Table.Bytes()...)})
	if w.chunk.Code != meta.OK || w.chunk.Runs[0].Code != meta.OK {
		w.t.Fatalf("%+v", w.chunk)
	}
	w.log = append(w.log, sent{})
	before := w.partition().LeaderEpoch()
	w.do(&metapb.SetNodeLive{NodeId: int32(v.NodeID), NodeEpoch: v.NodeEpoch, Live: false})
	if v := w.do(&metapb.ForgetNode{NodeId: int32(v.NodeID), NodeEpoch: v.NodeEpoch}); v.Code != meta.OK {
		w.t.Fatal(v)
	}
	if w.partition().LeaderEpoch() != before+1 {
		w.t.Fatal("the epoch is as before")
	}
}

// positions holds each stored batch's end against what OffsetForLeaderEpoch says of the batch's epoch: a consumer whose position is (end, epoch)
// finds its log truncated where the epoch ended before.
func (w *world) positions() {
	w.t.Helper()
	p := w.partition()
	w.state.Extents(p, func(l meta.Location) bool {
		if l.Tier != meta.TierSegment {
			return true
		}
		body, _, err := objstore.ReadAll(context.Background(), w.store, l.Key(), 1<<30)
		if err != nil {
			w.t.Fatal(err)
		}
		o, err := segment.Open(body)
		if err != nil {
			w.t.Fatal(err)
		}
		for i := range o.Parts {
			for b, err := range recordbatch.Batches(o.Batches(&o.Parts[i])) {
				if err != nil {
					w.t.Fatal(err)
				}
				_, end, _ := p.EpochEnd(b.LeaderEpoch)
				if b.NextOffset() > end {
					w.t.Fatalf("a consumer behind [%d, %d) is at %d of epoch %d, and is told that the epoch ended at %d", b.BaseOffset, b.NextOffset(), b.NextOffset(), b.LeaderEpoch, end)
				}
			}
		}
		return true
	})
}

// shipEpochs is ship with the leader epoch in which the offsets were given, as tiering/ship does it.
func (w *world) shipEpochs() {
	w.t.Helper()
	v := w.do(&metapb.LeaseJob{Worker: "s", LeaseMillis: 60_000})
	if v.Code != meta.OK {
		w.t.Fatal(v)
	}
	finish := &metapb.FinishJob{JobId: uint64(v.JobID)}
	for c, runs := range w.state.JobContainers(v.JobID) {
		for _, r := range runs {
			data := append([]byte(nil), w.chunks[c.Chunk][r.Position:][:r.Length]...)
			if _, err := recordbatch.AssignOffsets(data, r.BaseOffset, w.partition().EpochAt(r.BaseOffset)); err != nil {
				w.t.Fatal(err)
			}
			ordinal := uint32(len(finish.Objects))
			e := segment.NewEncoder(segment.Header{JobID: uint64(v.JobID), Ordinal: ordinal}, 0)
			e.Begin(topic, "t", 0, r.BaseOffset)
			for b, err := range recordbatch.Batches(data) {
				if err == nil {
					err = e.Batch(b.Header, b.Bytes, false)
				}
				if err != nil {
					w.t.Fatal(err)
				}
			}
			e.End(r.BaseOffset + int64(r.Records))
			body, parts := e.Finish()
			p := parts[0]
			finish.Objects = append(finish.Objects, &metapb.SegmentObject{JobId: uint64(v.JobID), Ordinal: ordinal, SizeBytes: uint64(len(body)), Parts: []*metapb.Part{{
				TopicId: topic[:], BaseOffset: p.BaseOffset, NextOffset: p.NextOffset, Position: p.Position, Length: p.LengthBytes,
				IndexPosition: p.IndexPosition, IndexLength: p.IndexLengthBytes, MaxTimestamp: p.MaxTimestamp, MinTimestamp: p.MinTimestamp, Records: p.Records,
			}}})
			if _, err := w.store.PutIfAbsent(context.Background(), meta.SegmentKey(v.JobID, ordinal), body); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	if v := w.do(finish); v.PartsDropped > 0 {
		w.t.Fatal(v)
	}
}

// Everything in a large part of a later epoch is superseded: what is left of it is one empty batch, of epoch 0.
func TestEmptyPartsEpoch(t *testing.T) {
	w := newWorld(t, "varve.durability", "local")
	w.raiseEpoch(2) // offset 0 is lost; epoch 1 from offset 1 on
	w.produce(recordbatch.None, false, row("a", "1", 1), row("b", "1", 1))
	w.shipEpochs()
	w.produce(recordbatch.None, false, row("a", "2", 1), row("b", "2", 1))
	w.shipEpochs()
	if !w.compact(Config{ObjectBytes: 64}, -1) { // each part by itself, as a part of 32 MiB is
		t.Fatal("nothing is compacted")
	}
	w.positions()
}

// The end of a part was given in a later epoch than the last record that is left of it.
func TestLastBatchReachesIntoTheNextEpoch(t *testing.T) {
	for size := 200; size < 400; size += 10 {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			w := newWorld(t, "varve.durability", "local")
			w.produce(recordbatch.None, false, row("x", strings.Repeat("1", 60), 1)) // 0, epoch 0
			w.raiseEpoch(2)                                                          // 1 is lost; epoch 1 from 2 on
			w.produce(recordbatch.None, false, row("a", "1", 1), row("b", "1", 1))
			w.shipEpochs()
			w.produce(recordbatch.None, false, row("a", strings.Repeat("2", 60), 1), row("b", "2", 1))
			w.shipEpochs()
			if !w.compact(Config{ObjectBytes: size}, -1) {
				t.Fatal("nothing is compacted")
			}
			w.positions()
		})
	}
}
