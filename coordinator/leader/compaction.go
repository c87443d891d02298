package leader

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
)

// LeaseCompaction gives a worker the next round of compaction, or one that merges small parts, or none. Nothing is logged when no partition
// needs one, and there is none while the clock is in doubt: rounds drop tombstones by their age.
func (l *Leader) LeaseCompaction(ctx context.Context, request *metapb.CompactionLeaseRequest) (*metapb.CompactionLeaseResponse, error) {
	if !l.queue.isOpen() {
		return nil, replica.ErrNotLeader
	}
	if !request.CarriesSources {
		// A worker of an earlier release would carry on no names of hot segments, and a recovery might take records twice.
		return &metapb.CompactionLeaseResponse{}, nil
	}
	waiting := false
	now := l.clock.Load().millis()
	l.cfg.Replica.View(func(s *meta.State) { waiting = s.Compactable(now, request.Merging) })
	if !waiting || !l.clockAgrees(ctx) {
		return &metapb.CompactionLeaseResponse{}, nil
	}
	lease := request.LeaseMillis
	if lease <= 0 {
		lease = defaultLeaseMillis
	}
	verdict, err := l.cfg.Replica.Propose(ctx, &metapb.Command{Kind: &metapb.Command_LeaseCompaction{LeaseCompaction: &metapb.LeaseCompaction{
		Worker: request.Worker, LeaseMillis: lease, Merging: request.Merging,
	}}})
	switch {
	case err != nil:
		return nil, err
	case verdict.Code == meta.NothingWaits:
		return &metapb.CompactionLeaseResponse{}, nil
	case verdict.Code != meta.OK:
		return nil, fmt.Errorf("lease compaction: %s %s", verdict.Code, verdict.Message)
	}
	answer := &metapb.CompactionLeaseResponse{}
	l.cfg.Replica.View(func(s *meta.State) { answer.Round = DescribeRound(s, verdict.JobID) })
	return answer, nil
}

// DescribeRound is what a worker is told of a round; nil where it has ended.
func DescribeRound(s *meta.State, id meta.JobID) *metapb.CompactionRound {
	r, ok := s.Round(id)
	if !ok {
		return nil
	}
	out := &metapb.CompactionRound{
		JobId: uint64(id), TopicId: append([]byte(nil), r.Partition.Topic[:]...), Topic: r.Topic.Name, Partition: r.Partition.Partition,
		LogStart: r.LogStart, CleanedTo: r.CleanedTo, NowMillis: r.NowMillis, DeleteRetentionMillis: r.DeleteRetentionMillis,
		SegmentBytes: r.ObjectBytes, Merges: r.Merges, Partitions: int32(r.Topic.Partitions()), Configs: maps.Clone(r.Topic.Overrides),
	}
	for i := range r.Parts {
		p := &r.Parts[i]
		out.Parts = append(out.Parts, &metapb.CompactionPart{
			ObjectKey: p.Key(), ObjectBytes: p.ObjectBytes, BaseOffset: p.BaseOffset, NextOffset: p.NextOffset,
			Position: p.Position, Length: p.Length, Records: p.Records, Sources: r.Sources[i],
		})
	}
	out.AllThere = r.There.All
	for _, h := range r.There.Hot {
		out.HotThere = append(out.HotThere, &metapb.HotSegmentName{DiskId: append([]byte(nil), h.Disk[:]...), Segment: h.ID})
	}
	for _, c := range r.There.Chunks {
		out.ChunksThere = append(out.ChunksThere, &metapb.ChunkName{NodeId: int32(c.Node), NodeEpoch: c.Epoch, Lane: c.Lane, Seq: c.Seq})
	}
	for _, t := range r.Aborted {
		out.Aborted = append(out.Aborted, &metapb.CompactionAborted{ProducerId: t.ProducerID, FirstOffset: t.FirstOffset, LastOffset: t.LastOffset})
	}
	return out
}

// ReportCompaction logs how far a round has come.
func (l *Leader) ReportCompaction(ctx context.Context, request *metapb.CompactionReportRequest) (*metapb.CompactionReportResponse, error) {
	if request.Range == nil {
		return nil, errors.New("report compaction: nothing is reported")
	}
	verdict, err := l.cfg.Replica.Propose(ctx, &metapb.Command{Kind: &metapb.Command_CompactRange{CompactRange: request.Range}})
	if err != nil {
		return nil, err
	}
	return &metapb.CompactionReportResponse{Accepted: verdict.Code == meta.OK}, nil
}
