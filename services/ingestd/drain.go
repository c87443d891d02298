package ingestd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/ingest/kafka"
	"github.com/varvelog/varve/ingest/lane"
)

const (
	// followTime is how long other nodes' replicas may take to hear that this one leaves: a hint on the bus takes less, a node without one
	// learns of it with its next ping.
	followTime = 300 * time.Millisecond
	// turnTime is how long clients are told to look for another node, before their connections are ended.
	turnTime = 500 * time.Millisecond
	// leaveTimeout bounds the attempts to say that the node leaves, and that it has left: there may be no leader.
	leaveTimeout = 2 * time.Second
)

// Leaving is what a node leaves the cluster with.
type Leaving struct {
	Log       *slog.Logger
	Registrar *Registrar
	Replica   *replica.Replica
	Server    *kafka.Server
	Lanes     *lane.Set
	// Gone tells of a node that is known to have died, whatever the state says.
	Gone func(id meta.NodeID, epoch uint64) bool
}

// Drain leaves the cluster. The internal listener must be up meanwhile, and for a worker of this process its loop must run. Close follows.
func (n *Node) Drain(ctx context.Context) error {
	l := Leaving{Log: n.log, Registrar: n.registrar, Replica: n.replica, Server: n.server, Lanes: n.lanes, Gone: n.watcher.Gone}
	return l.Drain(ctx)
}

// Drain leaves the cluster so that nobody notices, as far as ctx allows:
//
//  1. The state says that the node leaves: in Metadata answers of all nodes others lead every partition.
//  2. Where there are others, clients are told to ask for them. What is in flight is answered; then connections end, one by one, when nothing
//     is in flight on them, and Metadata answers do not name the node any more.
//  3. The active hot segment is sealed, and tiering workers ship what this disk alone holds before they ship anything else.
//
// What is not shipped in time is said in one line: the disk must return then.
func (l *Leaving) Drain(ctx context.Context) error {
	began := time.Now()
	if err := l.Registrar.Leave(ctx); err != nil {
		l.Log.Warn("the coordinator does not hear that this node leaves; clients will find out", "error", err)
	}
	if l.hasPeers() {
		pause(ctx, followTime)
		l.Server.TurnAway()
		pause(ctx, turnTime)
	}
	clients, cancel := within(ctx, 2)
	err := errors.Join(l.Server.Shutdown(clients), l.Lanes.Close(clients))
	cancel()
	l.Registrar.Closed(ctx)
	l.Log.Debug("clients have left", "took", time.Since(began))
	if sealed := l.Registrar.Seal(ctx); sealed != nil {
		l.Log.Warn("seal the active hot segment", "error", sealed)
	}
	l.awaitShipping(ctx)
	l.tellRest(began)
	l.Registrar.Left(ctx)
	return err
}

// within is a part of the time that ctx leaves.
func within(ctx context.Context, divisor time.Duration) (context.Context, context.CancelFunc) {
	if deadline, bounded := ctx.Deadline(); bounded {
		return context.WithTimeout(ctx, time.Until(deadline)/divisor)
	}
	return context.WithCancel(ctx)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// hasPeers says whether clients have another node to go to.
func (l *Leaving) hasPeers() bool {
	own, others := l.Registrar.Registration().Node, false
	l.Replica.View(func(s *meta.State) {
		for _, other := range s.Nodes() {
			others = others || other.ID != own && other.Serves() && !l.Gone(other.ID, other.Epoch)
		}
	})
	return others
}

// awaitShipping returns when nothing that can be shipped is on this disk alone, or ctx ends.
func (l *Leaving) awaitShipping(ctx context.Context) {
	wake := make(chan struct{}, 1)
	defer l.Replica.Listen(changes{meta.ChangedContainers, wake})()
	for {
		if u := l.Unshipped(); u.ShippableSegments == 0 {
			return
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return
		}
	}
}

// Unshipped is what is on the node's disk alone.
func (l *Leaving) Unshipped() (u meta.Unshipped) {
	l.Replica.View(func(s *meta.State) { u = s.Unshipped(l.Registrar.Registration().Node) })
	return u
}

func (l *Leaving) tellRest(began time.Time) {
	u := l.Unshipped()
	if u.Segments == 0 {
		l.Log.Info("drained: nothing is on this disk alone", "took", time.Since(began).Round(time.Millisecond))
		return
	}
	disk := l.Registrar.HotLog.DiskUUID()
	l.Log.Warn("not everything was shipped before the node had to end (--drain-timeout): its disk must return, or these records are gone",
		"node", int32(l.Registrar.Registration().Node), "disk", disk.String(), "segments", u.Segments, "bytes", u.Bytes,
		"in_open_transactions", u.Segments-u.ShippableSegments, "took", time.Since(began).Round(time.Millisecond))
}

// Registration is the last one, zero before the first.
func (r *Registrar) Registration() lane.Registration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.last
}

// Leave says that the node is about to leave; so does every registration from now on.
func (r *Registrar) Leave(ctx context.Context) error {
	r.leaves.Store(true)
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	return r.drain(ctx, false)
}

// Closed says that no client can reach the node any more. Nothing depends on it.
func (r *Registrar) Closed(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	if err := r.drain(ctx, true); err != nil {
		r.Log.Debug("the coordinator did not hear that the node takes no connections", "error", err)
	}
}

func (r *Registrar) drain(ctx context.Context, closed bool) error {
	for {
		last := r.Registration()
		verdict, err := r.Replica.Propose(ctx, &metapb.Command{Kind: &metapb.Command_DrainNode{DrainNode: &metapb.DrainNode{
			NodeId: int32(last.Node), NodeEpoch: last.Epoch, Closed: closed,
		}}})
		switch {
		case err != nil:
			return fmt.Errorf("leave the cluster: %w", err)
		case verdict.Code == meta.Fenced && r.Registration() != last: // it has registered meanwhile
		case verdict.Code != meta.OK:
			return fmt.Errorf("leave the cluster: %s %s", verdict.Code, verdict.Message)
		default:
			return nil
		}
	}
}

// Left says that the node has left, so that nobody waits for its silence to be noticed. Nothing depends on it.
func (r *Registrar) Left(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	last := r.Registration()
	_, err := r.Replica.Propose(ctx, &metapb.Command{Kind: &metapb.Command_SetNodeLive{SetNodeLive: &metapb.SetNodeLive{
		NodeId: int32(last.Node), NodeEpoch: last.Epoch,
	}}})
	if err != nil && !errors.Is(err, replica.ErrNoLeader) {
		r.Log.Debug("the coordinator did not hear that the node has left", "error", err)
	}
}

// Seal seals what the node's epochs have left open. It is called when nothing is appended any more.
func (r *Registrar) Seal(ctx context.Context) error {
	if err := r.HotLog.Roll(); err != nil {
		return fmt.Errorf("end the active segment: %w", err)
	}
	last := r.Registration()
	var open []uint64
	r.Replica.View(func(s *meta.State) { open = s.OpenSegments(last.Node) })
	for _, segment := range open {
		verdict, err := r.propose(ctx, &metapb.Command{Kind: &metapb.Command_SealContainer{SealContainer: &metapb.SealContainer{
			NodeId: int32(last.Node), NodeEpoch: last.Epoch, Segment: segment,
		}}})
		if err == nil && verdict.Code != meta.OK {
			err = fmt.Errorf("%s %s", verdict.Code, verdict.Message)
		}
		if err != nil {
			return fmt.Errorf("seal segment %d: %w", segment, err)
		}
	}
	return nil
}
