package torture

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/lane"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// topics is what there is to produce to.
type topics struct {
	mu     sync.Mutex
	models map[meta.TopicPartition]*model
	order  []meta.TopicPartition
	names  map[meta.TopicID]string
	gone   map[meta.TopicID]bool
}

func (t *topics) pick(d *dice) (meta.TopicPartition, *model) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tp := t.order[d.intN(len(t.order))]
	return tp, t.models[tp]
}

func (t *topics) deleted(id meta.TopicID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.gone[id]
}

// batchOf builds a batch. Each value says who produced it, in which batch, as which record.
func batchOf(d *dice, producer *recordbatch.Producer, name string, number int) (data []byte, h recordbatch.Header, values []string) {
	b := recordbatch.NewBuilder(recordbatch.BuilderOptions{Producer: producer})
	b.Reset(0, 0)
	for i := range 1 + d.intN(5) {
		v := fmt.Sprintf("%s %d %d %s", name, number, i, strings.Repeat("x", d.intN(1+d.intN(1500))))
		values = append(values, v)
		if err := b.Append(int64(i), time.Now().UnixMilli(), nil, []byte(v), nil); err != nil {
			panic(err)
		}
	}
	data, h, err := b.Build(nil)
	if err != nil {
		panic(err)
	}
	return data, h, values
}

// durability is the topic's class as the node knows it.
func (n *node) durability(id meta.TopicID) (class metapb.Durability) {
	class = metapb.Durability_DURABILITY_LOCAL
	n.replica.View(func(s *meta.State) {
		if t := s.Topic(id); t != nil {
			class = t.Config.Durability
		}
	})
	return class
}

// append hands batches over one by one, as a connection does, and returns their results.
func (n *node) append(ctx context.Context, tp meta.TopicPartition, batches ...lane.Batch) []lane.Result {
	n.mu.RLock()
	defer n.mu.RUnlock()
	pendings := make([]*lane.Pending, 0, len(batches))
	results := make([]lane.Result, len(batches))
	for i := range batches {
		batches[i].Topic, batches[i].Partition, batches[i].Durability = tp.Topic, tp.Partition, n.durability(tp.Topic)
		p, err := n.lanes.Append(ctx, lane.Request{Batches: batches[i : i+1]})
		if err != nil {
			break
		}
		pendings = append(pendings, p)
	}
	for i := range results {
		results[i] = lane.Result{Failure: lane.Closed}
		if i < len(pendings) {
			results[i] = pendings[i].Wait(ctx, 2*time.Second)[0]
			pendings[i].Free()
		}
	}
	return results
}

// surely says whether a result proves that the batch is not there.
func surely(r lane.Result) bool {
	switch r.Failure {
	case lane.NoFailure:
		return r.Code != meta.OK && r.Code != meta.DuplicateSequence
	case lane.StorageFailed, lane.NotEnoughReplicas, lane.UnknownPartition, lane.TooLarge:
		return true
	}
	return false
}

// plain produces without sequences, until ctx ends.
func (c *cluster) plain(ctx context.Context, t *topics, name string) {
	generation, number := 0, 0
	n := c.nodes[0]
	tp, m := t.pick(c.dice)
	for ctx.Err() == nil {
		if c.dice.oneIn(10) {
			generation++ // an order is kept on one node only
			n = c.nodes[c.dice.intN(len(c.nodes))]
			tp, m = t.pick(c.dice)
		}
		var batches []lane.Batch
		var all []*sent
		for range 1 + c.dice.intN(4) {
			data, h, values := batchOf(c.dice, nil, fmt.Sprintf("%s.%d", name, generation), number)
			number++
			all = append(all, m.send(values))
			batches = append(batches, lane.Batch{Header: h, Data: data})
		}
		for i, r := range n.append(ctx, tp, batches...) {
			switch {
			case r.Failure == lane.NoFailure && r.Code == meta.OK:
				m.ack(all[i], r.BaseOffset)
				continue
			case surely(r):
				m.refuse(all[i])
			}
			generation++
		}
	}
}

// idempotent is a producer with sequences.
type idempotent struct {
	id    int64
	parts map[meta.TopicPartition]*sequence
}

// sequence is where it is in one partition.
type sequence struct {
	model   *model
	next    int32
	number  int
	pending []unacked
	begun   bool // something was acknowledged
}

type unacked struct {
	sent   *sent
	data   []byte
	header recordbatch.Header
}

const inFlight = 4

// produce produces until ctx ends, and then, without faults, until all is acknowledged.
func (p *idempotent) produce(ctx, all context.Context, c *cluster, t *topics) {
	for ctx.Err() == nil {
		tp, m := t.pick(c.dice)
		s := p.parts[tp]
		if s == nil {
			s = &sequence{model: m}
			p.parts[tp] = s
		}
		// A partition that knows nothing of a producer takes any sequence, so the first is acknowledged alone.
		for len(s.pending) < inFlight && (s.begun || len(s.pending) == 0) {
			data, h, values := batchOf(c.dice, &recordbatch.Producer{ID: p.id, BaseSequence: s.next}, fmt.Sprintf("i%d", p.id), s.number)
			s.next += int32(len(values))
			s.number++
			s.pending = append(s.pending, unacked{m.send(values), data, h})
		}
		p.flush(ctx, c, t, tp, s)
	}
	for tp, s := range p.parts {
		for len(s.pending) > 0 && all.Err() == nil {
			p.flush(all, c, t, tp, s)
		}
		if len(s.pending) > 0 && !t.deleted(tp.Topic) {
			c.fail("%v: producer %d cannot go on with batch %d", tp, p.id, s.number-len(s.pending))
		}
	}
}

// flush sends what is pending once, and drops what is acknowledged.
func (p *idempotent) flush(ctx context.Context, c *cluster, t *topics, tp meta.TopicPartition, s *sequence) {
	batches := make([]lane.Batch, 0, inFlight)
	for _, u := range s.pending {
		batches = append(batches, lane.Batch{Header: u.header, Data: u.data})
	}
	results := c.nodes[c.dice.intN(len(c.nodes))].append(ctx, tp, batches...)
	through := 0
	for i, r := range results {
		ok := r.Failure == lane.NoFailure && (r.Code == meta.OK || r.Code == meta.DuplicateSequence)
		if ok {
			s.model.ack(s.pending[i].sent, r.BaseOffset)
			s.begun = true
			if through == i {
				through++
			}
			continue
		}
		if r.Failure == lane.NoFailure && r.Code == meta.UnknownTopic && t.deleted(tp.Topic) {
			s.pending = nil
			delete(p.parts, tp)
			return
		}
		if r.Failure == lane.NoFailure && r.Code != meta.OutOfOrderSequence && r.Code != meta.WrongDurability && r.Code != meta.UnknownTopic {
			c.fail("%v: producer %d: %v", tp, p.id, r.Code)
		}
		if r.Failure == lane.NoFailure && r.Code == meta.OutOfOrderSequence && i == 0 {
			c.fail("%v: producer %d: batch %d out of order", tp, p.id, s.number-len(s.pending))
		}
	}
	s.pending = s.pending[through:]
}
