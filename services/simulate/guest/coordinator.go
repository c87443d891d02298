package main

import (
	"context"
	"errors"
	"time"

	"github.com/varvelog/varve/coordinator/leader"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/services/coordinatord"
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
		config := replica.Config{LogID: logID, Log: log, Store: c.bucket.Open(p), Logger: logger(c.w, p.Name, nil)}
		if !c.w.Swarm.MetalogOnBucket {
			config.ShortPatience = 20 * time.Second
		}
		r, err = replica.Open(ctx, config)
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
		ClusterID: clusterID, LogID: logID, Log: metaLog, Replica: r, Bus: p.Bus(), Key: busKey, InternalAddress: internalAddress(s.name), Name: p.Name,
		StoreTime: store.Now, Now: p.Clock, SnapshotEntries: uint64(50 + c.w.IntN(400)), Logger: logger(c.w, p.Name, nil),
	}
	if c.w.Swarm.MetalogOnBucket {
		config.Patience = 300 * time.Millisecond
	} else {
		config.Archive = store
		config.BarrierAppends = true // what a server says of the log's end may be the past
	}
	return config
}

// startCoordinator is a coordinator without a group: it leads where nobody else does. With a certain chance it does not ask,
// as one that is cut off from the other would not hear of it.
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
	n, err := coordinatord.Begin(p.Context(), p.Bus(), config)
	release := func() {
		r.Close()
		client.Close()
		_ = metaLog.Close()
	}
	if err != nil {
		release()
		return nil, err
	}
	epoch, _ := n.Leader.Leading()
	c.w.Trace("%s leads in epoch %d", p.Name, epoch)
	go func() {
		<-n.Ended()
		c.judgeReign(p, n.Err())
		p.Kill()
	}()
	server.HandleOthers(n.Handler)
	p.Serve(internalAddress(s.name), server)
	return func(context.Context) {
		n.End()
		release()
	}, nil
}

// judgeReign fails the seed where a leader stops for a reason that cannot be.
func (c *cluster) judgeReign(p *world.Process, err error) {
	c.w.Trace("%s leads no more: %v", p.Name, err)
	if err != nil && !p.Dead() && !errors.Is(err, leader.ErrFenced) && !errors.Is(err, leader.ErrLeaderAlive) {
		c.w.Fail("1 one sequencer", "%s: %v", p.Name, err)
	}
}
