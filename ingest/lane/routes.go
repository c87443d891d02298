package lane

import (
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

const (
	// maxPartition bounds the memory that a caller's mistake could take.
	maxPartition = 1 << 20
	// minPrune is the number of topics from which on those at rest are forgotten.
	minPrune = 1024
)

// routes remembers in which lane each partition's last batch went, and its ticket there: a partition changes lanes only
// when that ticket is settled. The Set's mutex guards it.
type routes struct {
	topics map[meta.TopicID]*topicRoute
	prune  int
	// last caches the topic of the batch before; chosen is the partition to which the next ticket belongs.
	lastID meta.TopicID
	last   *topicRoute
	chosen *partitionRoute
}

type topicRoute struct{ partitions []partitionRoute }

type partitionRoute struct {
	ticket uint64 // 0: none yet
	lane   Lane
}

// laneOf is the lane of a class.
func laneOf(class metapb.Durability) (lane Lane, known bool) {
	switch class {
	case metapb.Durability_DURABILITY_LOCAL:
		return Local, true
	case metapb.Durability_DURABILITY_OBJECT:
		return Object, true
	case metapb.Durability_DURABILITY_REPLICATED:
		return Replicated, true
	default:
		return 0, false
	}
}

func newRoutes() routes {
	return routes{topics: make(map[meta.TopicID]*topicRoute), prune: minPrune}
}

// choose picks the lane of a batch. If it goes there, enqueued must follow with its ticket.
func (r *routes) choose(b *Batch, queues *[laneCount]*queue) (Lane, Failure) {
	lane, known := laneOf(b.Durability)
	if !known {
		return 0, NotEnoughReplicas
	}
	if b.Partition < 0 || b.Partition >= maxPartition {
		return 0, UnknownPartition
	}
	p := r.partition(b.Topic, int(b.Partition), queues)
	if p.ticket > queues[p.lane].settled.Load() {
		lane = p.lane
	}
	r.chosen = p
	return lane, NoFailure
}

func (r *routes) enqueued(lane Lane, ticket uint64) { r.chosen.lane, r.chosen.ticket = lane, ticket }

func (r *routes) partition(topic meta.TopicID, index int, queues *[laneCount]*queue) *partitionRoute {
	if r.last == nil || r.lastID != topic {
		t := r.topics[topic]
		if t == nil {
			r.forgetSettled(queues)
			t = &topicRoute{}
			r.topics[topic] = t
		}
		r.last, r.lastID = t, topic
	}
	for len(r.last.partitions) <= index {
		r.last.partitions = append(r.last.partitions, partitionRoute{})
	}
	return &r.last.partitions[index]
}

// forgetSettled drops topics with nothing unsettled once their number has doubled, so that deleted ones do not pile up.
func (r *routes) forgetSettled(queues *[laneCount]*queue) {
	if len(r.topics) < r.prune {
		return
	}
	for id, t := range r.topics {
		if !t.unsettled(queues) {
			delete(r.topics, id)
		}
	}
	r.prune = max(minPrune, 2*len(r.topics))
}

func (t *topicRoute) unsettled(queues *[laneCount]*queue) bool {
	for _, p := range t.partitions {
		if p.ticket > queues[p.lane].settled.Load() {
			return true
		}
	}
	return false
}
