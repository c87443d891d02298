package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/coordinator/delivery"
	"github.com/varvelog/varve/coordinator/group"
	"github.com/varvelog/varve/coordinator/leader"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/bus"
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

// startCoordinator leads, where nobody else does; with a certain chance it does not ask.
func (c *cluster) startCoordinator(s *seat, p *world.Process) (func(context.Context), error) {
	ctx := p.Context()
	log := logger(c.w, p.Name, nil)
	client, server, err := c.network(p)
	if err != nil {
		return nil, err
	}
	r, metaLog, err := c.openReplica(ctx, p)
	if err != nil {
		return nil, err
	}
	store := c.bucket.Open(p)
	alive := leader.AskAlive(client)
	if !c.w.Calm() && c.w.OneIn(4) {
		alive = nil
	}
	config := leader.Config{
		ClusterID: clusterID, LogID: logID, Log: metaLog, Replica: r, Bus: p.Bus(), InternalAddress: internalAddress(s.name), Name: p.Name,
		LeaderAlive: alive, StoreTime: store.Now, Now: p.Clock, SnapshotEntries: uint64(50 + c.w.IntN(400)), Logger: log,
	}
	if !c.w.Swarm.MetalogOnBucket {
		config.Archive = store
	}
	l, err := leader.New(config)
	if err != nil {
		return nil, err
	}
	r.SetSubmitter(l)
	groups, shares := group.New(group.Limits{}, r, log), delivery.New(r, log)
	l.Register(server)
	group.Register(server, groups)
	delivery.Register(server, shares)
	started, ended := make(chan struct{}), make(chan error, 1)
	stop := func(context.Context) {
		groups.Close()
		shares.Close()
		r.Close()
		client.Close()
		_ = metaLog.Close()
	}
	go func() {
		err := l.Run(ctx, func() { close(started) })
		ended <- err
		c.w.Trace("%s leads no more: %v", p.Name, err)
		if err != nil && !p.Dead() && !errors.Is(err, leader.ErrFenced) && !errors.Is(err, leader.ErrLeaderAlive) {
			c.w.Fail("1 one sequencer", "%s: %v", p.Name, err)
		}
		p.Kill()
	}()
	select {
	case <-started:
	case err := <-ended:
		stop(ctx)
		return nil, fmt.Errorf("does not lead: %w", err)
	}
	epoch, _ := l.Leading()
	c.w.Trace("%s leads in epoch %d", p.Name, epoch)
	if _, err := p.Bus().Respond(bus.LeaderSubject(clusterID), l.AnswerLeader); err != nil {
		return nil, err
	}
	p.Serve(internalAddress(s.name), server)
	return stop, nil
}
