package ingestd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/ingest/lane"
)

// proposalTimeout bounds the wait for the verdict on a command: a leader that dies with it in its queue leaves it without one for
// ever. Whoever proposed it proposes again; a repeat does no harm.
const proposalTimeout = 10 * time.Second

// Registrar registers a node's disk with the coordinator, and removes from it what the state needs no more. It is the lanes'
// lane.Epochs, and the janitor's lane.ReleasedSegments and lane.SegmentRemover.
type Registrar struct {
	Log     *slog.Logger
	Replica *replica.Replica
	HotLog  *hotlog.Log
	// Template says all of the node but its incarnation and segments.
	Template *metapb.RegisterNode

	// Dropped is told, once, that the coordinator does not know the node any more by the number that the process has. It may be nil.
	Dropped func(error)

	leaves atomic.Bool // the node is about to leave

	mu struct {
		sync.Mutex
		last lane.Registration // zero before the first
		// left are segments that a registration found unreferenced and that could not be removed.
		left []uint64
		// dropped is why the process cannot go on, nil as long as it can.
		dropped error
	}
}

// ErrDropped: the node was away for so long that it is not known any more, and has another number now. Nothing that the state needs was on its
// disk. A process has one number; it must be started again.
var ErrDropped = errors.New("the coordinator had forgotten this node")

// propose waits for a verdict, but not for ever.
func (r *Registrar) propose(ctx context.Context, command *metapb.Command) (meta.Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, proposalTimeout)
	defer cancel()
	return r.Replica.Propose(ctx, command)
}

// Renew registers the disk as a new incarnation, which fences every earlier one. Segments that the state has never heard of, or
// needs no more, are deleted. It is called while nothing is appended. After ErrDropped nothing is registered any more.
func (r *Registrar) Renew(ctx context.Context) (lane.Registration, error) {
	r.mu.Lock()
	dropped := r.mu.dropped
	r.mu.Unlock()
	if dropped != nil {
		return lane.Registration{}, dropped
	}
	r.rollLog()
	request := proto.CloneOf(r.Template)
	request.Draining, request.FeatureLevel = r.leaves.Load(), meta.FeatureLevel
	request.Incarnation = make([]byte, 16)
	rand.Read(request.Incarnation)
	for _, s := range r.HotLog.Segments() {
		request.Segments = append(request.Segments, s.ID)
	}
	verdict, err := r.propose(ctx, &metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: request}})
	if err != nil {
		return lane.Registration{}, fmt.Errorf("register node: %w", err)
	}
	if verdict.Code != meta.OK {
		return lane.Registration{}, fmt.Errorf("register node: %s %s", verdict.Code, verdict.Message)
	}
	if len(verdict.MissingSegments) > 0 {
		r.Log.Error("the disk lacks hot segments that hold committed records: they cannot be read until it returns", "segments", verdict.MissingSegments)
	}
	if before := r.Registration().Node; before != 0 && before != verdict.NodeID {
		return lane.Registration{}, r.drop(before, verdict.NodeID)
	}
	left := r.removeAll(verdict.UnreferencedSegments)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.last, r.mu.left = lane.Registration{Node: verdict.NodeID, Epoch: verdict.NodeEpoch}, left
	return r.mu.last, nil
}

// drop notes that the node has another number.
func (r *Registrar) drop(before, now meta.NodeID) error {
	err := fmt.Errorf("register node: %w: it was node %d and is %d now; the process must be started again", ErrDropped, before, now)
	r.mu.Lock()
	r.mu.dropped = err
	r.mu.Unlock()
	if r.Dropped != nil {
		r.Dropped(err)
	}
	return err
}

// rollLog ends the active segment, where it has chunks: the state seals what earlier epochs wrote, and a node that writes nothing
// more would keep it open for ever, and so on its disk. The local lane tries again before it writes.
func (r *Registrar) rollLog() {
	if err := errors.Join(r.HotLog.Abandon(), r.HotLog.Roll()); err != nil && !errors.Is(err, hotlog.ErrClosed) {
		r.Log.Warn("begin a hot segment for a new epoch", "error", err)
	}
}

// removeAll deletes segments and returns those that are still there.
func (r *Registrar) removeAll(segments []uint64) (left []uint64) {
	for _, segment := range segments {
		switch err := r.HotLog.Remove(segment); {
		case err == nil || errors.Is(err, hotlog.ErrSegmentGone) || r.isEmptyActive(segment):
		default:
			r.Log.Warn("remove hot segment", "segment", segment, "error", err)
			left = append(left, segment)
		}
	}
	return left
}

// isEmptyActive tells the segment that waits for its first chunk: the state has not heard of it, but may.
func (r *Registrar) isEmptyActive(segment uint64) bool {
	for _, s := range r.HotLog.Segments() {
		if s.ID == segment {
			return !s.Sealed && s.Frames == 0
		}
	}
	return false
}

// Remove implements lane.SegmentRemover. A segment that the state has sealed and the log has not, because a roll failed, is
// rolled now.
func (r *Registrar) Remove(segment uint64) error {
	err := r.HotLog.Remove(segment)
	if errors.Is(err, hotlog.ErrSegmentActive) {
		r.rollLog()
		err = r.HotLog.Remove(segment)
	}
	return err
}

// Released implements lane.ReleasedSegments.
func (r *Registrar) Released() (segments []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.last.Node == 0 {
		return nil
	}
	segments = append(segments, r.mu.left...)
	r.Replica.View(func(s *meta.State) { segments = append(segments, s.Released(r.mu.last.Node)...) })
	return segments
}

// Forget implements lane.ReleasedSegments.
func (r *Registrar) Forget(ctx context.Context, segments []uint64) error {
	r.mu.Lock()
	node := r.mu.last.Node
	r.mu.left = without(r.mu.left, segments)
	r.mu.Unlock()
	_, err := r.propose(ctx, &metapb.Command{Kind: &metapb.Command_LocalReleased{
		LocalReleased: &metapb.LocalReleased{NodeId: int32(node), Segments: segments},
	}})
	if err != nil {
		return fmt.Errorf("forget released segments: %w", err)
	}
	return nil
}

// without returns the segments that are not among gone.
func without(segments, gone []uint64) []uint64 {
	return slices.DeleteFunc(segments, func(segment uint64) bool { return slices.Contains(gone, segment) })
}

func diskID(log *hotlog.Log) []byte {
	id := log.DiskUUID()
	return id[:]
}
