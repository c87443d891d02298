package main

import (
	"context"
	"errors"

	"github.com/varvelog/varve/coordinator/election"
	"github.com/varvelog/varve/coordinator/leader"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/services/coordinatord"
	"github.com/varvelog/varve/services/simulate/world"
)

// peers are the members of the group.
func (c *cluster) peers() (peers election.Peers) {
	for i, s := range c.coordinators {
		peers = append(peers, election.Peer{ID: i + 1, Address: internalAddress(s.name)})
	}
	return peers
}

// startMember is one coordinator of a group of three.
func (c *cluster) startMember(s *seat, p *world.Process) (func(context.Context), error) {
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
	m, err := coordinatord.NewMember(coordinatord.MemberConfig{
		NodeID: id, Peers: c.peers(), Address: internalAddress(s.name), Caller: client, Bus: p.Bus(), Key: busKey, Log: logger(c.w, p.Name, nil),
		Open:   func(ctx context.Context) (*replica.Replica, metalog.Log, error) { return c.openReplica(ctx, p) },
		Leader: func(r *replica.Replica, log metalog.Log) leader.Config { return c.leaderConfig(s, p, r, log) },
	})
	if err != nil {
		return nil, err
	}
	m.Register(server)
	p.Serve(internalAddress(s.name), server)
	ctx, end := context.WithCancel(p.Context())
	serving, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		err := m.Run(ctx, func() { close(serving) })
		if errors.Is(err, election.ErrMisfit) {
			err = nil // another has taken its place
		}
		c.judgeReign(p, err)
		client.Close()
		p.Kill()
	}()
	select {
	case <-serving:
	case <-ended:
		end()
		return nil, errors.New("it has ended")
	}
	return func(stopping context.Context) {
		end()
		select {
		case <-ended:
		case <-stopping.Done():
		}
		p.Kill()
		<-ended
	}, nil
}
