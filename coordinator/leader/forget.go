package leader

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// ListNodes tells of all ingest nodes.
func (l *Leader) ListNodes(ctx context.Context, _ *metapb.NodeListRequest) (*metapb.NodeListResponse, error) {
	if err := l.cfg.Replica.Barrier(ctx); err != nil {
		return nil, err
	}
	out := &metapb.NodeListResponse{}
	l.cfg.Replica.View(func(s *meta.State) {
		for _, n := range s.Nodes() {
			alone, copied := s.UnshippedOn(n.ID)
			out.Nodes = append(out.Nodes, &metapb.NodeInfo{
				NodeId: int32(n.ID), Epoch: n.Epoch, Zone: n.Zone, Live: n.Live, Draining: n.Draining, Forgotten: n.Forgotten,
				KafkaAddress: net.JoinHostPort(n.KafkaHost, strconv.Itoa(int(n.KafkaPort))), InternalAddress: n.InternalAddress, DiskId: append([]byte(nil), n.DiskID[:]...),
				AloneContainers: uint64(alone.Segments), AloneBytes: alone.Bytes, CopiedContainers: uint64(copied.Segments), CopiedBytes: copied.Bytes,
			})
		}
	})
	return out, nil
}

// ForgetNode gives up a node, or tells what would be lost. What is lost is logged range by range.
func (l *Leader) ForgetNode(ctx context.Context, request *metapb.NodeForgetRequest) (*metapb.NodeForgetResponse, error) {
	if err := l.cfg.Replica.Barrier(ctx); err != nil {
		return nil, err
	}
	id := meta.NodeID(request.NodeId)
	out := &metapb.NodeForgetResponse{}
	var epoch uint64
	l.cfg.Replica.View(func(s *meta.State) {
		switch n := s.Node(id); {
		case n == nil:
			out.Refused = fmt.Sprintf("there is no node %d", id)
		case n.Live:
			out.Refused = fmt.Sprintf("node %d lives: stop it, and it will have been noticed within seconds", id)
		default:
			epoch = n.Epoch
			out.Lost = lostRanges(s, s.WouldLose(id))
		}
	})
	if out.Refused != "" || request.DryRun {
		return out, nil
	}
	verdict, err := l.cfg.Replica.Propose(ctx, &metapb.Command{Kind: &metapb.Command_ForgetNode{ForgetNode: &metapb.ForgetNode{NodeId: request.NodeId, NodeEpoch: epoch}}})
	if err != nil {
		return nil, err
	}
	if verdict.Code != meta.OK {
		return &metapb.NodeForgetResponse{Refused: fmt.Sprintf("%s %s", verdict.Code, verdict.Message)}, nil
	}
	l.cfg.Replica.View(func(s *meta.State) { out.Lost = lostRanges(s, verdict.Lost) })
	records := uint64(0)
	for _, r := range out.Lost {
		records += r.Records
		l.cfg.Logger.Error("records are lost: their node was forgotten", "node", request.NodeId, "topic", r.Topic, "partition", r.Partition,
			"base_offset", r.BaseOffset, "next_offset", r.NextOffset, "records", r.Records)
	}
	l.cfg.Logger.Error("a node was forgotten", "node", request.NodeId, "ranges_lost", len(out.Lost), "records_lost", records)
	return out, nil
}

func lostRanges(s *meta.State, ranges []meta.LostRange) []*metapb.LostRange {
	out := make([]*metapb.LostRange, 0, len(ranges))
	for _, r := range ranges {
		name := r.Partition.Topic.String()
		if t := s.Topic(r.Partition.Topic); t != nil {
			name = t.Name
		}
		out = append(out, &metapb.LostRange{
			Topic: name, Partition: r.Partition.Partition, BaseOffset: r.BaseOffset, NextOffset: r.NextOffset, Records: r.Records,
		})
	}
	return out
}
