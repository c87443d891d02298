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
	"github.com/varvelog/varve/ingest/hotlog"
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
	// sealRetry is how long it takes before the coordinator is told again that nothing more comes.
	sealRetry = 200 * time.Millisecond
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

// Rest is what a node that has drained could not have shipped.
type Rest struct {
	// Alone is on its disk only; Copied is on that of one other node too, and of no further one.
	Alone, Copied meta.Unshipped
	// Unsealed: the coordinator did not hear that nothing more comes, so there may be more, in both places or here only.
	Unsealed error
}

// None says that the disk can go, and that what was on it survives whatever other disk goes later: all of it is in the bucket.
func (r Rest) None() bool { return r.Unsealed == nil && r.Alone.Segments+r.Copied.Segments == 0 }

// Drain leaves the cluster. The internal listener must be up meanwhile, and for a worker of this process its loop must run. Close follows.
func (n *Node) Drain(ctx context.Context) error {
	l := Leaving{Log: n.log, Registrar: n.registrar, Replica: n.replica, Server: n.server, Lanes: n.lanes, Gone: n.watcher.Gone}
	_, err := l.Drain(ctx)
	return err
}

// Drain leaves the cluster so that nobody notices, as far as ctx allows:
//
//  1. The state says that the node leaves: in Metadata answers of all nodes others lead every partition.
//  2. Where there are others, clients are told to ask for them. What is in flight is answered; then connections end, one by one, when nothing
//     is in flight on them, and Metadata answers do not name the node any more.
//  3. The hot log is sealed, and with it whatever has copies in it. Tiering workers ship what this disk alone holds before they ship anything
//     else, and then what one other node holds too: the disk may not come back, and then that would be the only copy.
//
// What is not shipped in time is said in a line or two, and returned.
func (l *Leaving) Drain(ctx context.Context) (Rest, error) {
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
	rest := l.empty(ctx)
	l.tell(rest, time.Since(began))
	l.Registrar.Left(ctx)
	return rest, err
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

// empty has everything on the node's disk shipped, as far as that can be and ctx allows. Nothing is appended any more.
func (l *Leaving) empty(ctx context.Context) (rest Rest) {
	for {
		rest.Unsealed = l.Registrar.Seal(ctx)
		if rest.Unsealed == nil || ctx.Err() != nil {
			break
		}
		pause(ctx, sealRetry)
	}
	wake := make(chan struct{}, 1)
	defer l.Replica.Listen(changes{meta.ChangedContainers, wake})()
	node := l.Registrar.Registration().Node
	for {
		l.Replica.View(func(s *meta.State) { rest.Alone, rest.Copied = s.UnshippedOn(node) })
		if rest.Alone.ShippableSegments+rest.Copied.ShippableSegments == 0 {
			return rest
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return rest
		}
	}
}

// tell says what an operator has to know before the disk is thrown away.
func (l *Leaving) tell(rest Rest, took time.Duration) {
	took = took.Round(time.Millisecond)
	if rest.None() {
		l.Log.Info("drained: nothing on this disk is needed any more", "took", took)
		return
	}
	disk := l.Registrar.HotLog.DiskUUID()
	log := l.Log.With("node", int32(l.Registrar.Registration().Node), "disk", disk.String(), "took", took)
	if rest.Unsealed != nil {
		log.Warn("the coordinator did not hear that nothing more is written to this disk: it must return, or records may be gone", "error", rest.Unsealed)
	}
	if u := rest.Alone; u.Segments > 0 {
		log.Warn("not everything was shipped before the node had to end (--drain-timeout): its disk must return, or these records are gone",
			"segments", u.Segments, "bytes", u.Bytes, "in_open_transactions", u.Segments-u.ShippableSegments)
	}
	if u := rest.Copied; u.Segments > 0 {
		log.Warn("not everything was shipped before the node had to end (--drain-timeout): without its disk one copy is left of these records",
			"on_nodes", u.Peers, "segments", u.Segments, "bytes", u.Bytes, "in_open_transactions", u.Segments-u.ShippableSegments)
	}
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

// Seal seals what the node has written, and so every container that is in it or has its copies there, also where a command on its way names it:
// when nil is returned, nothing is committed any more to what is on this disk. It is called when nothing is appended any more.
func (r *Registrar) Seal(ctx context.Context) error {
	err := errors.Join(r.HotLog.Abandon(), r.HotLog.Roll())
	if errors.Is(err, hotlog.ErrClosed) {
		return fmt.Errorf("look what has been written: %w", err) // a closed log knows of no segment
	}
	if err != nil {
		r.Log.Warn("end the active segment", "error", err) // which matters to nobody but who reads the disk
	}
	var last uint64
	for _, s := range r.HotLog.Segments() {
		if s.Frames > 0 {
			last = max(last, s.ID)
		}
	}
	registration := r.Registration()
	sealed := false
	r.Replica.View(func(s *meta.State) { sealed = s.Sealed(registration.Node, last) })
	if last == 0 || sealed {
		return nil
	}
	verdict, err := r.propose(ctx, &metapb.Command{Kind: &metapb.Command_SealContainer{SealContainer: &metapb.SealContainer{
		NodeId: int32(registration.Node), NodeEpoch: registration.Epoch, Segment: last,
	}}})
	if err == nil && verdict.Code != meta.OK && verdict.Code != meta.Fenced { // a later epoch has sealed all that came before it
		err = fmt.Errorf("%s %s", verdict.Code, verdict.Message)
	}
	if err != nil {
		return fmt.Errorf("seal segment %d: %w", last, err)
	}
	return nil
}
