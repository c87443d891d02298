package ingestd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/ingest/lane"
)

// proposalTimeout bounds the wait for the verdict on a command: a leader that dies with it in its queue leaves it without one for
// ever. Whoever proposed it proposes again; a repeat does no harm.
const proposalTimeout = 10 * time.Second

// propose waits for a verdict, but not for ever.
func (n *Node) propose(ctx context.Context, command *metapb.Command) (meta.Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, proposalTimeout)
	defer cancel()
	return n.replica.Propose(ctx, command)
}

// registrar gives the lanes their epochs (lane.Epochs).
type registrar struct {
	node     *Node
	template *metapb.RegisterNode
}

// Renew registers the disk as a new incarnation, which fences every earlier one. Segments that the state has never heard of, or needs no more, are deleted.
func (r *registrar) Renew(ctx context.Context) (lane.Registration, error) {
	request := proto.CloneOf(r.template)
	request.Incarnation = make([]byte, 16)
	rand.Read(request.Incarnation)
	for _, s := range r.node.hotLog.Segments() {
		request.Segments = append(request.Segments, s.ID)
	}
	verdict, err := r.node.propose(ctx, &metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: request}})
	if err != nil {
		return lane.Registration{}, fmt.Errorf("register node: %w", err)
	}
	if verdict.Code != meta.OK {
		return lane.Registration{}, fmt.Errorf("register node: %s %s", verdict.Code, verdict.Message)
	}
	registration := lane.Registration{Node: verdict.NodeID, Epoch: verdict.NodeEpoch}
	if len(verdict.MissingSegments) > 0 {
		r.node.log.Error("the disk lacks hot segments that hold committed records: they cannot be read until it returns", "segments", verdict.MissingSegments)
	}
	for _, segment := range verdict.UnreferencedSegments {
		err := r.node.hotLog.Remove(segment)
		if err != nil && !errors.Is(err, hotlog.ErrSegmentActive) && !errors.Is(err, hotlog.ErrSegmentGone) {
			r.node.log.Warn("remove hot segment", "segment", segment, "error", err)
		}
	}
	return registration, nil
}

func diskID(log *hotlog.Log) []byte {
	id := log.DiskUUID()
	return id[:]
}

// released is the state's list of this node's hot segments that nothing refers to (lane.ReleasedSegments).
type released struct{ node *Node }

// Released implements lane.ReleasedSegments.
func (r released) Released() (segments []uint64) {
	registration, registered := r.node.lanes.Registration()
	if !registered {
		return nil
	}
	r.node.replica.View(func(s *meta.State) { segments = append(segments, s.Released(registration.Node)...) })
	return segments
}

// Forget implements lane.ReleasedSegments.
func (r released) Forget(ctx context.Context, segments []uint64) error {
	registration, registered := r.node.lanes.Registration()
	if !registered {
		return errors.New("forget released segments: not registered")
	}
	return r.node.forget(ctx, registration.Node, segments)
}

// forget lets the state know that released segments are gone.
func (n *Node) forget(ctx context.Context, node meta.NodeID, segments []uint64) error {
	_, err := n.propose(ctx, &metapb.Command{Kind: &metapb.Command_LocalReleased{
		LocalReleased: &metapb.LocalReleased{NodeId: int32(node), Segments: segments},
	}})
	if err != nil {
		return fmt.Errorf("forget released segments: %w", err)
	}
	return nil
}
