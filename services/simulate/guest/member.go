package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/election"
	"github.com/varvelog/varve/coordinator/leader"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/rpc"
	"github.com/varvelog/varve/services/simulate/world"
)

// member is one coordinator of a group of three, wired as services/coordinatord wires one: it stands by, leads, and stands by again.
type member struct {
	c        *cluster
	s        *seat
	p        *world.Process
	election *election.Member
	log      metalog.Log
	replica  *replica.Replica
	reign    atomic.Pointer[reign] // nil while this process does not lead
	running  sync.WaitGroup
}

// peers are the members of the group.
func (c *cluster) peers() (peers election.Peers) {
	for i, s := range c.coordinators {
		peers = append(peers, election.Peer{ID: i + 1, Address: internalAddress(s.name)})
	}
	return peers
}

func (c *cluster) startMember(s *seat, p *world.Process) (func(context.Context), error) {
	m := &member{c: c, s: s, p: p}
	client, server, err := c.network(p)
	if err != nil {
		return nil, err
	}
	id := 0
	for i, other := range c.coordinators {
		if other == s {
			id = i + 1
		}
	}
	if m.replica, m.log, err = c.openReplica(p.Context(), p); err != nil {
		return nil, err
	}
	m.election, err = election.New(election.Config{
		NodeID: id, Peers: c.peers(), Caller: client, Self: m.self, LogAnswers: m.logAnswers, Logger: logger(c.w, p.Name, nil),
	})
	if err != nil {
		return nil, err
	}
	m.election.Register(server)
	server.HandleOthers(m.find)
	p.Serve(internalAddress(s.name), server)
	m.running.Go(func() { m.election.Run(p.Context()) })
	m.running.Go(func() {
		c.judgeReign(p, m.run(p.Context()))
		p.Kill()
	})
	return func(context.Context) {
		p.Kill()
		m.running.Wait()
		m.replica.Close()
		client.Close()
		_ = m.log.Close()
	}, nil
}

// run stands by and leads in turn.
func (m *member) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := m.standBy(ctx); err != nil {
			return err
		}
		if err := m.lead(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (m *member) standBy(ctx context.Context) error {
	following, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var follower sync.WaitGroup
	follower.Go(func() {
		if err := m.replica.Follow(following, m.p.Bus(), clusterID); err != nil {
			stop(err)
		}
	})
	err := m.election.AwaitTurn(following)
	if err != nil && ctx.Err() == nil {
		err = context.Cause(following)
	}
	stop(nil)
	follower.Wait()
	return err
}

// lead takes over, and returns nil when another has, or was first.
func (m *member) lead(ctx context.Context) error {
	began := time.Now()
	config := m.c.leaderConfig(m.s, m.p, m.replica, m.log)
	former := m.self().Leader
	config.LeaderAlive = func(_ context.Context, address string) bool { return address != former }
	m.election.Contend(true)
	n, err := m.c.begin(m.p, m.replica, config)
	m.election.Contend(false)
	if err == nil {
		m.reign.Store(n)
		err = m.await(ctx, n)
		m.reign.Store(nil)
	}
	n.end()
	if errors.Is(err, leader.ErrFenced) || errors.Is(err, leader.ErrLeaderAlive) {
		m.c.w.Trace("%s stands by: %v", m.p.Name, err)
		m.election.Lost(time.Since(began))
		return nil
	}
	return err
}

// await returns when the leader has stopped or has to.
func (m *member) await(ctx context.Context, n *reign) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-n.ended:
			return n.err
		case <-m.election.Deposed():
			_ = n.leader.Doubt(ctx)
		}
	}
}

// self is what the election needs to know of this process.
func (m *member) self() (s election.Self) {
	m.replica.View(func(state *meta.State) {
		s.Epoch, s.Leader, s.Seq = state.LeaderEpoch(), state.LeaderAddress(), state.Seq()
	})
	if n := m.reign.Load(); n != nil {
		_, s.Leading = n.leader.Leading()
		s.Stalled = n.leader.Stalled()
	}
	return s
}

func (m *member) logAnswers(ctx context.Context) bool {
	_, _, err := m.log.Bounds(ctx)
	return err == nil
}

// find returns what serves a method: the reign's handler, else one that says where the leader is.
func (m *member) find(method string) rpc.Handler {
	if n := m.reign.Load(); n != nil {
		return n.handlers[method]
	}
	return func(context.Context, []byte) (proto.Message, error) {
		address := m.self().Leader
		if address == "" || address == internalAddress(m.s.name) {
			return nil, replica.ErrNotLeader
		}
		return nil, rpc.NotLeader(replica.ErrNotLeader, address)
	}
}
