package recovery

import (
	"cmp"
	"maps"
	"slices"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/chunk"
)

// sequencer gives chunks in an order in which they may have been committed: those of a node by its epochs, those of a lane by their numbers, those that
// have batches of one producer for one partition by the batches' sequences, and else by the time at which they were made, since clocks may be wrong.
type sequencer struct {
	state  *meta.Recovery
	chunks []foundChunk
	queues []*laneQueue // in order of node, epoch and lane
	queue  []*laneQueue // that each chunk is in
	taken  []bool
	// batches are those of each producer in each partition, by epoch and sequence.
	batches map[producerOf][]batchOf
	holds   [][]producerBatch // by chunk
}

// laneQueue is what is left of an epoch of a lane.
type laneQueue struct {
	node  int32
	epoch uint64
	lane  uint32
	left  []int // chunks
}

type producerOf struct {
	partition meta.TopicPartition
	id        int64
}

type batchOf struct {
	epoch    int16
	sequence int32
	chunk    int
}

type producerBatch struct {
	producerOf
	batchOf
}

// before orders batches of one producer. A sequence begins again at 0 after 2^31 records, which no chunks that wait for each other have between them.
func (b batchOf) before(c batchOf) bool {
	return b.epoch < c.epoch || b.epoch == c.epoch && b.sequence < c.sequence
}

// newSequencer puts the chunks in order of node, epoch, lane and number.
func newSequencer(r *meta.Recovery, chunks []foundChunk) *sequencer {
	s := &sequencer{
		state: r, chunks: chunks, queue: make([]*laneQueue, len(chunks)), taken: make([]bool, len(chunks)),
		batches: map[producerOf][]batchOf{}, holds: make([][]producerBatch, len(chunks)),
	}
	slices.SortStableFunc(chunks, func(x, y foundChunk) int {
		a, b := idOf(x.command), idOf(y.command)
		return cmp.Or(compareChunks(a, b), cmp.Compare(own(y), own(x))) // of a chunk and its copy the chunk
	})
	for i := range chunks {
		c := chunks[i].command
		if n := len(s.queues); n == 0 || s.queues[n-1].node != c.NodeId || s.queues[n-1].epoch != c.NodeEpoch || s.queues[n-1].lane != c.Lane {
			s.queues = append(s.queues, &laneQueue{node: c.NodeId, epoch: c.NodeEpoch, lane: c.Lane})
		}
		q := s.queues[len(s.queues)-1]
		q.left = append(q.left, i)
		s.queue[i] = q
		s.index(i)
	}
	for _, key := range slices.Collect(maps.Keys(s.batches)) {
		slices.SortFunc(s.batches[key], func(x, y batchOf) int {
			return cmp.Or(cmp.Compare(x.epoch, y.epoch), cmp.Compare(x.sequence, y.sequence), cmp.Compare(x.chunk, y.chunk))
		})
	}
	return s
}

// own is 1 for a chunk that is where its node has put it.
func own(c foundChunk) int {
	if c.holder == 0 || c.holder == meta.NodeID(c.command.NodeId) {
		return 1
	}
	return 0
}

func (s *sequencer) index(i int) {
	t, err := chunk.ParseTable(s.chunks[i].command.RunTable)
	if err != nil {
		return // AdoptChunk tells
	}
	for j := range t.Runs() {
		run := t.Run(j)
		for k := range run.Details {
			d := t.Detail(int(run.FirstDetail + k))
			if d.ProducerID < 0 {
				continue
			}
			b := producerBatch{producerOf{meta.TopicPartition{Topic: run.Topic, Partition: run.Partition}, d.ProducerID}, batchOf{d.ProducerEpoch, d.BaseSequence, i}}
			s.holds[i] = append(s.holds[i], b)
			s.batches[b.producerOf] = append(s.batches[b.producerOf], b.batchOf)
		}
	}
}

// next takes the chunk that comes next; ok is false where none is left.
func (s *sequencer) next() (c *foundChunk, ok bool) {
	best, waits := -1, false
	node := int32(-1)
	var epoch uint64
	for _, q := range s.queues {
		if len(q.left) == 0 || q.node == node && q.epoch > epoch {
			continue // an epoch begins when the one before it has ended
		}
		node, epoch = q.node, q.epoch
		i := q.left[0]
		w := s.waits(i)
		if best < 0 || waits && !w || waits == w && s.chunks[i].createdMillis < s.chunks[best].createdMillis {
			best, waits = i, w
		}
	}
	if best < 0 {
		return nil, false
	}
	s.queue[best].left = s.queue[best].left[1:]
	s.taken[best] = true
	return &s.chunks[best], true
}

// waits says whether another lane has what a producer sent before a batch of the chunk.
func (s *sequencer) waits(i int) bool {
	return slices.ContainsFunc(s.holds[i], func(b producerBatch) bool {
		return s.left(b.producerOf, b.batchOf, func(other batchOf) bool { return s.queue[other.chunk] != s.queue[i] })
	})
}

// left says whether a chunk that is still to come, and wanted, has an earlier batch of the producer, which the partition has not.
func (s *sequencer) left(of producerOf, b batchOf, wanted func(batchOf) bool) bool {
	epoch, next, known := s.state.Expects(of.partition, of.id)
	has := func(other batchOf) bool {
		return s.taken[other.chunk] || known && other.before(batchOf{epoch: epoch, sequence: next}) || s.state.HasSeen(of.partition, of.id, other.epoch, other.sequence)
	}
	for len(s.batches[of]) > 0 && has(s.batches[of][0]) { // it will not miss it again
		s.batches[of] = s.batches[of][1:]
	}
	for _, other := range s.batches[of] {
		if !other.before(b) {
			return false
		}
		if !has(other) && wanted(other) {
			return true
		}
	}
	return false
}

// comesLater says whether what a batch misses is in a chunk that is still to come.
func (s *sequencer) comesLater(tp meta.TopicPartition, d *chunk.Detail) bool {
	return s.left(producerOf{tp, d.ProducerID}, batchOf{epoch: d.ProducerEpoch, sequence: d.BaseSequence}, func(other batchOf) bool {
		return other.epoch == d.ProducerEpoch
	})
}
