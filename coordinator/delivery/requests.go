package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/share"
)

// Take acquires what was read, and gives up the reservations.
func (c *Coordinator) Take(_ context.Context, r *metapb.DeliveryTakeRequest) (*metapb.DeliveryTakeResponse, error) {
	answer := &metapb.DeliveryTakeResponse{}
	for range r.Partitions {
		answer.Partitions = append(answer.Partitions, &metapb.DeliveryTaken{})
	}
	g, _ := c.use(r.Group)
	if g == nil {
		return answer, nil
	}
	defer g.done()
	var config meta.ShareConfig
	c.log.View(func(s *meta.State) { config = s.ShareConfig(r.Group) })
	g.mu.Lock()
	defer g.mu.Unlock()
	now, left := time.Now(), r.MaxRecords
	for i, p := range r.Partitions {
		h := g.partitions[partitionOf(p.TopicId, p.Partition)]
		if h == nil {
			continue
		}
		if h.reservation == p.Reservation {
			h.reservation = 0
		}
		read := share.Read{Offset: p.Offset, MaxRecords: left, BatchSize: r.BatchSize}
		for _, b := range p.Batches {
			read.Batches = append(read.Batches, share.ReadBatch{Base: b.BaseOffset, Next: b.NextOffset, Withheld: b.Aborted})
		}
		for _, given := range h.Acquire(now, r.MemberId, limits(config), read) {
			left -= given.Next - given.Base
			answer.Partitions[i].Given = append(answer.Partitions[i].Given, &metapb.DeliveryGiven{
				BaseOffset: given.Base, NextOffset: given.Next, DeliveryCount: given.DeliveryCount,
			})
		}
	}
	g.wakeAll() // what was reserved and not taken is there for others
	c.settle(g)
	return answer, nil
}

// Acknowledge does what a member says of its records, and answers when that is durable. Each partition is judged by itself.
func (c *Coordinator) Acknowledge(ctx context.Context, r *metapb.DeliveryAcknowledgeRequest) (*metapb.DeliveryAcknowledgeResponse, error) {
	answer := &metapb.DeliveryAcknowledgeResponse{Codes: make([]metapb.DeliveryCode, len(r.Partitions))}
	g, code := c.use(r.Group)
	if g == nil {
		if code == metapb.DeliveryCode_DELIVERY_NO_STATE {
			code = metapb.DeliveryCode_DELIVERY_UNKNOWN_TOPIC
		}
		for i := range answer.Codes {
			answer.Codes[i] = code
		}
		return answer, nil
	}
	defer g.done()
	done := make(chan failures, 1)
	changed := c.acknowledge(g, r, answer, done)
	if len(changed) == 0 {
		return answer, nil
	}
	select {
	case failed := <-done:
		for i, p := range r.Partitions {
			if code, bad := failed[partitionOf(p.TopicId, p.Partition)]; bad && answer.Codes[i] == metapb.DeliveryCode_DELIVERY_OK {
				answer.Codes[i] = code
			}
		}
		return answer, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// acknowledge changes the partitions in memory, and tells which; done will be told whether they are durable.
func (c *Coordinator) acknowledge(
	g *shares, r *metapb.DeliveryAcknowledgeRequest, answer *metapb.DeliveryAcknowledgeResponse, done chan<- failures,
) (changed []meta.TopicPartition) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, p := range r.Partitions {
		tp := partitionOf(p.TopicId, p.Partition)
		var config meta.ShareConfig
		var v view
		c.log.View(func(s *meta.State) { config, v = s.ShareConfig(g.name), viewOf(s, g.name, tp) })
		if answer.Codes[i] = g.acknowledgeOne(tp, config, &v, r.MemberId, p); answer.Codes[i] == metapb.DeliveryCode_DELIVERY_OK {
			changed = append(changed, tp)
		}
	}
	if len(changed) > 0 {
		g.waiting = append(g.waiting, &waiter{changed, failures{}, done})
		g.wakeAll() // there is room for more, and what was released
	}
	c.settle(g)
	return changed
}

func (g *shares) acknowledgeOne(tp meta.TopicPartition, config meta.ShareConfig, v *view, member string, p *metapb.DeliveryAcknowledgements) metapb.DeliveryCode {
	switch {
	case g.dead:
		return metapb.DeliveryCode_DELIVERY_UNAVAILABLE
	case !v.topic || v.stored == nil:
		return metapb.DeliveryCode_DELIVERY_UNKNOWN_TOPIC
	}
	h := g.partitions[tp]
	if h == nil || h.incarnation != v.stored.Incarnation && !h.isFlying {
		return metapb.DeliveryCode_DELIVERY_RECORD_STATE // nobody has anything
	}
	h.RaiseStart(v.logStart)
	acknowledgements := make([]share.Acknowledgement, len(p.Batches))
	for i, b := range p.Batches {
		acknowledgements[i] = share.Acknowledgement{Base: b.BaseOffset, Next: b.NextOffset, Types: make([]share.Type, len(b.Types))}
		for j, t := range b.Types {
			acknowledgements[i].Types[j] = share.Type(t)
		}
	}
	switch err := h.Acknowledge(member, limits(config), acknowledgements); {
	case errors.Is(err, share.ErrRequest):
		return metapb.DeliveryCode_DELIVERY_INVALID_REQUEST
	case err != nil:
		return metapb.DeliveryCode_DELIVERY_RECORD_STATE
	}
	return metapb.DeliveryCode_DELIVERY_OK
}

// Release takes back what a member has of partitions, as if it had never been given out: its session has ended.
func (c *Coordinator) Release(_ context.Context, r *metapb.DeliveryReleaseRequest) (*metapb.DeliveryReleaseResponse, error) {
	g, _ := c.use(r.Group)
	if g == nil {
		return &metapb.DeliveryReleaseResponse{}, nil
	}
	defer g.done()
	g.mu.Lock()
	defer g.mu.Unlock()
	released := false
	for _, t := range r.Topics {
		for _, p := range t.GetPartitions() {
			if h := g.partitions[partitionOf(t.TopicId, p)]; h != nil {
				released = h.Release(r.MemberId) || released
			}
		}
	}
	if released {
		g.wakeAll()
		c.settle(g)
	}
	return &metapb.DeliveryReleaseResponse{}, nil
}
