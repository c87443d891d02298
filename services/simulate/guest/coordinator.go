package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/delivery"
	"github.com/varvelog/varve/coordinator/group"
	"github.com/varvelog/varve/coordinator/leader"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/bus"
	"github.com/varvelog/varve/infra/rpc"
	"github.com/varvelog/varve/services/simulate/world"
)

// final says whether no repetition mends err.
func final(err error) bool { return replica.Final(err) }

// openReplica is what coordinators and nodes begin with.
func (c *cluster) openReplica(ctx context.Context, p *world.Process) (r *replica.Replica, log metalog.Log, err error) {
	if log, err = c.openLog(ctx, p); err != nil {
		return nil, nil, err
	}
	err = c.patiently(ctx, p, func() error {
		r, err = replica.Open(ctx, replica.Config{LogID: logID, Log: log, Store: c.bucket.Open(p), Logger: logger(c.w, p.Name, nil)})
		return err
	})
	if err != nil {
		if final(err) {
			c.w.Fail("15 the cluster knows itself", "%s: open replica: %v", p.Name, err)
		}
		return nil, nil, err
	}
	c.oracle.follow(p, r)
	return r, log, nil
}

// leaderConfig is that of a coordinator.
func (c *cluster) leaderConfig(s *seat, p *world.Process, r *replica.Replica, metaLog metalog.Log) leader.Config {
	store := c.bucket.Open(p)
	config := leader.Config{
		ClusterID: clusterID, LogID: logID, Log: metaLog, Replica: r, Bus: p.Bus(), InternalAddress: internalAddress(s.name), Name: p.Name,
		StoreTime: store.Now, Now: p.Clock, SnapshotEntries: uint64(50 + c.w.IntN(400)), Logger: logger(c.w, p.Name, nil),
	}
	if !c.w.Swarm.MetalogOnBucket {
		config.Archive = store
	}
	return config
}

// startCoordinator is a coordinator without a group, wired as services/coordinatord wires one: it leads where nobody else does. With a
// certain chance it does not ask, as one that is cut off from the other would not hear of it.
func (c *cluster) startCoordinator(s *seat, p *world.Process) (func(context.Context), error) {
	client, server, err := c.network(p)
	if err != nil {
		return nil, err
	}
	r, metaLog, err := c.openReplica(p.Context(), p)
	if err != nil {
		return nil, err
	}
	config := c.leaderConfig(s, p, r, metaLog)
	config.LeaderAlive = func(ctx context.Context, address string) bool {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return client.Call(ctx, address, replica.MethodPing, &metapb.PingRequest{}, &metapb.PingResponse{}) == nil
	}
	if !c.w.Calm() && c.w.OneIn(4) {
		config.LeaderAlive = nil
	}
	n, err := c.begin(p, r, config)
	stop := func(context.Context) {
		n.end()
		r.Close()
		client.Close()
		_ = metaLog.Close()
	}
	if err != nil {
		abandon(stop)
		return nil, err
	}
	go func() {
		<-n.ended
		c.judgeReign(p, n.err)
		p.Kill()
	}()
	server.HandleOthers(func(method string) rpc.Handler { return n.handlers[method] })
	p.Serve(internalAddress(s.name), server)
	return stop, nil
}

// judgeReign fails the seed where a leader stops for a reason that cannot be.
func (c *cluster) judgeReign(p *world.Process, err error) {
	c.w.Trace("%s leads no more: %v", p.Name, err)
	if err != nil && !p.Dead() && !errors.Is(err, leader.ErrFenced) && !errors.Is(err, leader.ErrLeaderAlive) {
		c.w.Fail("1 one sequencer", "%s: %v", p.Name, err)
	}
}

// reign is one time of leading, with what runs beside the leader.
type reign struct {
	leader   *leader.Leader
	groups   *group.Coordinator
	shares   *delivery.Coordinator
	handlers map[string]rpc.Handler
	stop     context.CancelFunc
	cancel   func()
	ended    chan struct{}
	err      error
	over     atomic.Bool
	running  sync.WaitGroup
}

// begin takes over, and returns when the process leads or cannot. The caller must end what is returned in any case.
func (c *cluster) begin(p *world.Process, r *replica.Replica, config leader.Config) (_ *reign, err error) {
	ctx, stop := context.WithCancel(p.Context())
	n := &reign{stop: stop, ended: make(chan struct{}), handlers: map[string]rpc.Handler{}}
	if n.leader, err = leader.New(config); err != nil {
		close(n.ended)
		return n, err
	}
	r.SetSubmitter(n.leader)
	started := make(chan struct{})
	n.running.Go(func() {
		defer close(n.ended)
		n.err = n.leader.Run(ctx, func() { close(started) })
	})
	select {
	case <-started:
	case <-n.ended:
		return n, fmt.Errorf("does not lead: %w", n.err)
	}
	epoch, _ := n.leader.Leading()
	c.w.Trace("%s leads in epoch %d", p.Name, epoch)
	n.groups, n.shares = group.New(group.Limits{}, r, config.Logger), delivery.New(r, config.Logger)
	n.leader.Register(n)
	group.Register(n, n.groups)
	delivery.Register(n, n.shares)
	n.cancel, err = p.Bus().Respond(bus.LeaderSubject(clusterID), n.leader.AnswerLeader)
	return n, err
}

// Handle implements rpc.Registrar.
func (n *reign) Handle(method string, h rpc.Handler) {
	ofGroups := strings.HasPrefix(method, "group/")
	n.handlers[method] = func(ctx context.Context, body []byte) (proto.Message, error) {
		answer, err := h(ctx, body)
		if n.over.Load() && (ofGroups || errors.Is(err, group.ErrClosed)) {
			return nil, replica.ErrNotLeader
		}
		return answer, err
	}
}

// end stops leading.
func (n *reign) end() {
	n.over.Store(true)
	if n.cancel != nil {
		n.cancel()
	}
	n.stop()
	n.running.Wait()
	if n.groups != nil {
		n.groups.Close()
		n.shares.Close()
	}
}
