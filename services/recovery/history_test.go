package recovery

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/leader"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/compact"
	"github.com/varvelog/varve/tiering/segment"
)

// worked is a world as the leader of a worker that compacts and merges.
type worked struct {
	*world
	die  context.CancelFunc
	left int // reports until it dies, never where negative
}

// merge lets a worker carry out a round, where one is due, of compaction or of merging, or die on the way.
func (w *world) merge() {
	left := -1
	if w.random.IntN(5) == 0 {
		left = w.random.IntN(2)
	}
	ctx, die := context.WithCancel(w.ctx)
	defer die()
	worker, err := compact.New(compact.Config{ObjectBytes: 1 << 20, Lease: time.Minute}, &worked{w, die, left}, w.store, w, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := worker.Once(ctx); err != nil && ctx.Err() == nil {
		w.t.Fatal(err)
	}
}

// Compacted implements compact.Observer.
func (w *world) Compacted(compact.Stats, time.Duration) {}

// CompactionFailed implements compact.Observer.
func (w *world) CompactionFailed() {}

// LeaseCompaction implements compact.Leader.
func (w *worked) LeaseCompaction(_ context.Context, r *metapb.CompactionLeaseRequest) (*metapb.CompactionLeaseResponse, error) {
	before := w.state.Jobs()
	w.log(&metapb.Command{Kind: &metapb.Command_LeaseCompaction{LeaseCompaction: &metapb.LeaseCompaction{
		Worker: r.Worker, LeaseMillis: 1000, Merging: &metapb.Merging{Parts: 2, ManyParts: 2},
	}}})
	jobs := w.state.Jobs()
	if len(jobs) == len(before) {
		return &metapb.CompactionLeaseResponse{}, nil
	}
	return &metapb.CompactionLeaseResponse{Round: leader.DescribeRound(w.state, jobs[len(jobs)-1].ID)}, nil
}

// ReportCompaction implements compact.Leader.
func (w *worked) ReportCompaction(ctx context.Context, r *metapb.CompactionReportRequest) (*metapb.CompactionReportResponse, error) {
	if w.left == 0 {
		w.die()
		return nil, ctx.Err()
	}
	w.left--
	report := proto.CloneOf(r.Range)
	report.LeaseMillis = 1000
	w.log(&metapb.Command{Kind: &metapb.Command_CompactRange{CompactRange: report}})
	_, underWay := w.state.Round(meta.JobID(report.JobId))
	return &metapb.CompactionReportResponse{Accepted: underWay || report.Done}, nil
}

// FinishJob implements compact.Leader.
func (w *worked) FinishJob(_ context.Context, r *metapb.JobFinishRequest) (*metapb.JobFinishResponse, error) {
	w.log(&metapb.Command{Kind: &metapb.Command_FinishJob{FinishJob: proto.CloneOf(r.Finish)}})
	return &metapb.JobFinishResponse{}, nil
}

// remove deletes records or a topic, or compacts, merges and sweeps what is there.
func (w *world) remove() {
	switch n := w.random.IntN(20); {
	case n < 4:
		tp, _ := w.place()
		if stable := w.state.Partition(tp).LastStableOffset(); stable > 0 {
			w.log(&metapb.Command{Kind: &metapb.Command_AdvanceLogStart{AdvanceLogStart: &metapb.AdvanceLogStart{
				TopicId: tp.Topic[:], Partition: tp.Partition, Offset: w.random.Int64N(stable + 1),
			}}})
		}
	case n == 4:
		i := w.random.IntN(len(w.topics))
		old := w.topics[i]
		w.log(&metapb.Command{Kind: &metapb.Command_DeleteTopic{DeleteTopic: &metapb.DeleteTopic{TopicId: old.TopicId}}})
		for _, t := range w.txns {
			t.in = slices.DeleteFunc(t.in, func(tp meta.TopicPartition) bool { return bytes.Equal(tp.Topic[:], old.TopicId) })
		}
		w.topics[i] = w.newTopic(old.Name)
	case n == 5:
		w.grow()
	case n < 8:
		w.sweep()
	case n < 10:
		w.log(&metapb.Command{Kind: &metapb.Command_Tick{Tick: &metapb.Tick{}}})
	default:
		w.merge()
	}
}

// grow gives a topic more partitions, and another setting.
func (w *world) grow() {
	c := w.topics[w.random.IntN(len(w.topics))]
	if c.Partitions == 5 {
		return
	}
	c.Partitions++
	w.log(&metapb.Command{Kind: &metapb.Command_CreatePartitions{CreatePartitions: &metapb.CreatePartitions{TopicId: c.TopicId, Count: c.Partitions}}})
	w.log(&metapb.Command{Kind: &metapb.Command_AlterConfig{AlterConfig: &metapb.AlterConfig{
		Name: c.Name, Entries: []*metapb.ConfigEntry{{Name: "max.message.bytes", Value: fmt.Sprint(2000 + c.Partitions)}},
	}}})
}

// tear makes the metadata end somewhere before its end: what stands behind is gone.
func (w *world) tear() {
	w.archive()
	end := 1 + w.random.Uint64N(w.state.Seq())
	remove := func(key string) {
		if err := w.store.Delete(w.ctx, key); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, o := range w.archived {
		if o.Next > end {
			remove(o.Key())
		}
	}
	for _, seq := range w.snapshots {
		if seq >= end {
			remove(replica.SnapshotKey(seq))
		}
	}
}

// content is what is somewhere: records by the names of their values, and markers.
type content struct {
	records map[spot]string
	markers map[spot]bool
}

func (c *content) add(t *testing.T, tp meta.TopicPartition, data []byte) {
	scratch := recordbatch.GetScratch(1 << 20)
	defer scratch.Put()
	for b, err := range recordbatch.Batches(data) {
		if err != nil {
			t.Fatal(err)
		}
		if b.Header.IsControl() {
			c.markers[spot{tp, b.Header.BaseOffset}] = true
			continue
		}
		if b.Header.RecordCount == 0 {
			continue
		}
		for r, err := range recordbatch.Records(b.Bytes, scratch) {
			if err != nil {
				t.Fatal(err)
			}
			c.records[spot{tp, b.Header.BaseOffset + int64(r.OffsetDelta)}] = nameOf(&r)
		}
	}
}

// inSegments is what stands in segment objects, of whatever job.
func (w *world) inSegments() content {
	c := content{map[spot]string{}, map[spot]bool{}}
	for info, err := range w.store.List(w.ctx, "segment/", "") {
		if err != nil {
			w.t.Fatal(err)
		}
		body, _, err := objstore.ReadAll(w.ctx, w.store, info.Key, 1<<30)
		if err != nil {
			w.t.Fatal(err)
		}
		o, err := segment.Open(body)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, p := range o.Parts {
			c.add(w.t, meta.TopicPartition{Topic: p.TopicID, Partition: p.Partition}, body[p.Position:][:p.LengthBytes])
		}
	}
	return c
}

// alive is what the cluster has at its end: neither deleted nor compacted away.
func (w *world) alive() map[spot]string {
	c := content{map[spot]string{}, map[spot]bool{}}
	for _, topic := range w.state.Topics() {
		for i := range topic.Partitions() {
			p, tp := topic.Partition(int32(i)), meta.TopicPartition{Topic: topic.ID, Partition: int32(i)}
			w.state.Extents(p, func(l meta.Location) bool {
				switch l.Tier {
				case meta.TierMarker, meta.TierGap:
				case meta.TierHot:
					data := bytes.Clone(w.hot[[2]uint64{uint64(l.Node), l.Segment}][l.Position:][:l.Length])
					if _, err := recordbatch.AssignOffsets(data, l.BaseOffset, 0); err != nil {
						w.t.Fatal(err)
					}
					c.add(w.t, tp, data)
				default:
					c.add(w.t, tp, w.stored(l))
				}
				return true
			})
			for at := range c.records {
				if at.partition == tp && at.offset < p.LogStartOffset() {
					delete(c.records, at)
				}
			}
		}
	}
	return c.records
}

func (w *world) stored(l meta.Location) []byte {
	data := make([]byte, l.Length)
	if _, _, err := objstore.ReadRange(w.ctx, w.store, l.Key(), int64(l.Position), data); err != nil {
		w.t.Fatal(err)
	}
	if l.Tier == meta.TierChunk {
		if _, err := recordbatch.AssignOffsets(data, l.BaseOffset, 0); err != nil {
			w.t.Fatal(err)
		}
	}
	return data
}

// history is what a cluster has done, for a recovery to be held against.
type history struct {
	*world
	known    *meta.State // what the bucket knew of to its end, nil where it did not
	alive    map[spot]string
	segments content
}

func (w *world) history(known *meta.State) *history {
	return &history{w, known, w.alive(), w.inSegments()}
}

// mayGo says whether compaction may drop a record, which it may have done in an object that has not become part of the log.
func (h *history) mayGo(at spot) bool {
	r := h.written[at]
	if !h.state.Topic(at.partition.Topic).Config.Compact {
		return false
	}
	if r.transaction != 0 && !h.committed[r.transaction] {
		return true
	}
	for later, l := range h.written {
		if later.partition == at.partition && l.key == r.key && later.offset > at.offset && h.shipped[later] && (l.transaction == 0 || h.committed[l.transaction]) {
			return true
		}
	}
	return r.tombstone
}

// isDemanded says whether a record that was not deleted is in some object, so that it is to be there.
func (h *history) isDemanded(at spot) bool {
	if _, stored := h.segments.records[at]; stored {
		return true
	}
	if h.written[at].transaction != 0 && h.known == nil {
		return false // what a chunk holds of a transaction that is not known is left out
	}
	for id, spots := range h.chunks {
		if slices.Contains(spots, at) && h.state.Referenced(id.Key()) {
			return true
		}
	}
	return false
}
