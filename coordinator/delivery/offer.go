package delivery

import (
	"context"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/share"
)

const (
	// maxWait bounds how long an offer waits, whatever the client says.
	maxWait = 5 * time.Minute
	// reservationTime is how long a node has to read what it was offered before others are offered the same.
	reservationTime = 5 * time.Second
)

// Offer waits until there is something to give of the partitions, or to say about them, and reserves it.
func (c *Coordinator) Offer(ctx context.Context, r *metapb.DeliveryOfferRequest) (*metapb.DeliveryOfferResponse, error) {
	wishes := wishesOf(r)
	g, code := c.use(r.Group)
	if g == nil {
		return refused(wishes, code), nil
	}
	defer g.done()
	wait := min(time.Duration(r.WaitMillis)*time.Millisecond, maxWait)
	moved := make(chan struct{}, 1)
	if wait > 0 {
		partitions := make([]meta.TopicPartition, len(wishes))
		for i := range wishes {
			partitions[i] = wishes[i].TopicPartition
		}
		cancel := c.log.Watch(partitions, moved)
		defer cancel()
	}
	over := time.NewTimer(max(wait, 0))
	defer over.Stop()
	for {
		answer, wake, begun := c.offer(g, wishes)
		if len(answer.Partitions) > 0 || wait <= 0 {
			return answer, c.awaitBegun(ctx, answer, begun)
		}
		select {
		case <-wake:
		case <-moved:
		case <-over.C:
			wait = 0 // a last look: a reservation may have run out
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.closing.Done():
			return refused(wishes, metapb.DeliveryCode_DELIVERY_UNAVAILABLE), nil
		}
	}
}

// wish is a partition that a member wants records of.
type wish struct {
	meta.TopicPartition
	first *int64
}

func wishesOf(r *metapb.DeliveryOfferRequest) []wish {
	wishes := make([]wish, 0, len(r.Partitions))
	for _, p := range r.Partitions {
		wishes = append(wishes, wish{partitionOf(p.GetTopicId(), p.GetPartition()), p.FirstOffset})
	}
	return wishes
}

// partitionOf takes a partition from a message; what is no topic's id is the partition of no topic.
func partitionOf(topic []byte, partition int32) (tp meta.TopicPartition) {
	copy(tp.Topic[:], topic)
	tp.Partition = partition
	return tp
}

func refused(wishes []wish, code metapb.DeliveryCode) *metapb.DeliveryOfferResponse {
	answer := &metapb.DeliveryOfferResponse{}
	for i := range wishes {
		answer.Partitions = append(answer.Partitions, &metapb.DeliveryOffer{
			TopicId: wishes[i].Topic[:], Partition: wishes[i].Partition, Code: code,
		})
	}
	return answer
}

// awaitBegun returns when it is in the log where the partitions that are offered begin: whoever leads next goes on from there. Those of which that
// failed are not offered.
func (c *Coordinator) awaitBegun(ctx context.Context, answer *metapb.DeliveryOfferResponse, begun <-chan failures) error {
	if begun == nil {
		return nil
	}
	select {
	case failed := <-begun:
		for _, o := range answer.Partitions {
			if code, bad := failed[partitionOf(o.TopicId, o.Partition)]; bad {
				o.Code, o.Offset, o.Reservation = code, 0, 0
			}
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// offer looks once; wake is closed when it is worth another look. begun is nil, or tells when it is durable where what is offered begins.
func (c *Coordinator) offer(g *shares, wishes []wish) (answer *metapb.DeliveryOfferResponse, wake <-chan struct{}, begun <-chan failures) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var config meta.ShareConfig
	views := make([]view, len(wishes))
	stateMillis := int64(0)
	c.log.View(func(s *meta.State) {
		config, stateMillis = s.ShareConfig(g.name), s.TimeMillis()
		for i := range wishes {
			views[i] = viewOf(s, g.name, wishes[i].TopicPartition)
		}
	})
	answer, wake = &metapb.DeliveryOfferResponse{LockMillis: int64(config.LockMillis), Committed: config.Committed}, g.wake
	now := time.Now()
	stateMillis = max(stateMillis, now.UnixMilli())
	var beginning []meta.TopicPartition
	for i := range wishes {
		if o := g.offerOne(now, stateMillis, config, &wishes[i], &views[i]); o != nil {
			o.TopicId, o.Partition = wishes[i].Topic[:], wishes[i].Partition
			answer.Partitions = append(answer.Partitions, o)
			if h := g.partitions[wishes[i].TopicPartition]; o.Reservation != 0 && h.begins {
				beginning = append(beginning, wishes[i].TopicPartition)
			}
		}
	}
	if len(beginning) > 0 {
		done := make(chan failures, 1)
		g.waiting = append(g.waiting, &waiter{beginning, failures{}, done})
		begun = done
	}
	c.settle(g)
	return answer, wake, begun
}

// offerOne is the offer for one partition; nil where there is nothing to give or to say.
func (g *shares) offerOne(now time.Time, nowMillis int64, config meta.ShareConfig, w *wish, v *view) *metapb.DeliveryOffer {
	switch {
	case g.dead:
		return &metapb.DeliveryOffer{Code: metapb.DeliveryCode_DELIVERY_UNAVAILABLE}
	case !v.topic:
		return &metapb.DeliveryOffer{Code: metapb.DeliveryCode_DELIVERY_UNKNOWN_TOPIC}
	case v.stored == nil:
		g.drop(w.TopicPartition, metapb.DeliveryCode_DELIVERY_UNKNOWN_TOPIC)
		return &metapb.DeliveryOffer{Code: metapb.DeliveryCode_DELIVERY_NO_STATE}
	}
	h, begin := g.load(w, v, config, nowMillis)
	if h == nil {
		return begin
	}
	bounds := limits(config)
	h.RaiseStart(v.logStart)
	h.Expire(now, bounds)
	end := v.highWatermark
	if config.Committed {
		end = v.lastStable
	}
	offset, ok := h.FetchOffset(bounds)
	if !ok || offset >= end || h.reservation != 0 && now.Before(h.reservedBefore) {
		return nil
	}
	g.reservations++
	h.reservation, h.reservedBefore = g.reservations, now.Add(reservationTime)
	return &metapb.DeliveryOffer{Offset: offset, Reservation: h.reservation}
}

// load is the partition as it is in memory, or in the state. Where it is not known where it begins, begin asks for that.
func (g *shares) load(w *wish, v *view, config meta.ShareConfig, nowMillis int64) (h *held, begin *metapb.DeliveryOffer) {
	h = g.partitions[w.TopicPartition]
	if h != nil && (h.incarnation == v.stored.Incarnation || h.isFlying) {
		return h, nil
	}
	if h != nil {
		g.drop(w.TopicPartition, metapb.DeliveryCode_DELIVERY_UNAVAILABLE)
	}
	h = &held{incarnation: v.stored.Incarnation, version: v.stored.Version}
	start := v.stored.StartOffset
	if start == meta.UnknownStart {
		switch {
		case config.Reset.Earliest:
			start = v.logStart
		case !config.Reset.ByTime:
			start = v.highWatermark
		case w.first != nil:
			start = min(max(*w.first, v.logStart), v.highWatermark)
		default:
			at := nowMillis - config.Reset.AgoMillis
			return nil, &metapb.DeliveryOffer{BeginsAtMillis: &at}
		}
		h.Partition, h.begins = share.Restore(start, nil), true
		h.MarkDirty()
	} else {
		h.Partition = share.Restore(start, v.stored.Batches)
	}
	g.partitions[w.TopicPartition] = h
	return h, nil
}
