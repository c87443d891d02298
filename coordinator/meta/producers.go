package meta

import (
	"cmp"
	"math"
	"slices"

	"github.com/varvelog/varve/ingest/chunk"
)

// MaxPartitionProducers bounds the idempotent producers a partition remembers. At the bound the eighth that was idle longest is
// forgotten; a producer that was may send any sequence next, as after Kafka's expiry.
const MaxPartitionProducers = 8192

// keptBatches is how many batches a producer may have in flight, and so how many are known as duplicates (Kafka's five).
const keptBatches = 5

// producers are a partition's idempotent producers, by producer id.
type producers map[int64]*producer

// producer is what Kafka's ProducerStateEntry keeps: the epoch, and the last batches of that epoch, oldest first.
type producer struct {
	lastMillis int64 // state time of the last batch
	epoch      int16
	count      uint8
	batches    [keptBatches]sequenceRange
}

type sequenceRange struct {
	first, last int32 // sequences, inclusive
	baseOffset  int64
}

// Bits of a batch's attributes.
const (
	attrTransactional = 0x10
	attrControl       = 0x20
)

// judge decides on one batch by the rules of Kafka 4.1's ProducerAppendInfo. For a duplicate it gives the first copy's offset.
func (ps producers) judge(d *chunk.Detail) (Code, int64) {
	if d.Attributes&attrControl != 0 {
		return TransactionUnsupported, -1
	}
	if d.ProducerID < 0 {
		return OK, -1
	}
	p := ps[d.ProducerID]
	if p == nil {
		return OK, -1 // nothing is known: any sequence is taken
	}
	if p.epoch == d.ProducerEpoch {
		last := lastSequence(d)
		for _, b := range p.batches[:p.count] {
			if b.first == d.BaseSequence && b.last == last {
				return DuplicateSequence, b.baseOffset
			}
		}
	}
	switch {
	case d.ProducerEpoch < p.epoch:
		return InvalidProducerEpoch, -1
	case d.ProducerEpoch > p.epoch && d.BaseSequence != 0:
		return OutOfOrderSequence, -1
	case d.ProducerEpoch == p.epoch && d.BaseSequence != nextSequence(p.batches[p.count-1].last):
		return OutOfOrderSequence, -1
	}
	return OK, -1
}

// misses says whether a batch that is out of order is so because others before it are missing: of its epoch, or the beginning of a later one.
func (ps producers) misses(d *chunk.Detail) bool {
	p := ps[d.ProducerID]
	if p == nil || d.ProducerEpoch != p.epoch {
		return p != nil && d.ProducerEpoch > p.epoch
	}
	ahead := sequencesFrom(nextSequence(p.batches[p.count-1].last), d.BaseSequence)
	return ahead > 0 && ahead < math.MaxInt32/2
}

// precedes says whether a batch comes before the last that is remembered of its producer, and is none of those. Only a recovery takes one.
func (ps producers) precedes(d *chunk.Detail) bool {
	p := ps[d.ProducerID]
	switch {
	case p == nil || d.ProducerEpoch > p.epoch || d.Attributes&attrTransactional != 0:
		return false
	case d.ProducerEpoch < p.epoch:
		return true
	}
	for _, b := range p.batches[:p.count] {
		if sequencesFrom(b.first, d.BaseSequence) < sequencesFrom(b.first, nextSequence(b.last)) || sequencesFrom(d.BaseSequence, b.first) < int64(d.Records) {
			return false
		}
	}
	behind := sequencesFrom(d.BaseSequence, nextSequence(p.batches[p.count-1].last))
	return behind > 0 && behind < math.MaxInt32/2
}

// sequencesFrom is how many sequences there are from one on, before another. They begin again behind the greatest int32.
func sequencesFrom(first, next int32) int64 {
	return (int64(next) - int64(first)) & math.MaxInt32
}

// remember enters a batch that was accepted.
func (a *applier) remember(p *Partition, d *chunk.Detail, baseOffset int64) {
	if p.producers == nil {
		p.producers = producers{}
	}
	e := p.producers[d.ProducerID]
	switch {
	case e == nil:
		if len(p.producers) >= MaxPartitionProducers {
			a.forgetIdlest(p, MaxPartitionProducers/8)
		}
		e = &producer{epoch: d.ProducerEpoch}
		p.producers[d.ProducerID] = e
	case e.epoch != d.ProducerEpoch:
		e.epoch, e.count = d.ProducerEpoch, 0
	}
	if e.count == keptBatches {
		copy(e.batches[:], e.batches[1:])
		e.count--
	}
	e.batches[e.count] = sequenceRange{d.BaseSequence, lastSequence(d), baseOffset}
	e.count++
	e.lastMillis = a.timeMillis
}

// forgetIdlest forgets the producers that were idle longest; those with an open transaction last, since what they send again would be taken twice.
func (a *applier) forgetIdlest(p *Partition, n int) {
	open := map[int64]int{}
	if a.leader.featureLevel >= pendingLevel {
		for _, o := range p.open {
			open[o.producerID] = 1
		}
	}
	ps := p.producers
	ids := ps.ids()
	slices.SortStableFunc(ids, func(x, y int64) int { return cmp.Or(open[x]-open[y], cmp.Compare(ps[x].lastMillis, ps[y].lastMillis)) })
	for _, id := range ids[:n] {
		delete(ps, id)
	}
}

// ids are the producer ids in order.
func (ps producers) ids() []int64 {
	ids := make([]int64, 0, len(ps))
	for id := range ps {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// lastSequence is the sequence of the batch's last record. Sequences wrap to 0 behind the greatest int32.
func lastSequence(d *chunk.Detail) int32 {
	return int32((int64(d.BaseSequence) + int64(d.Records) - 1) % (math.MaxInt32 + 1))
}

func nextSequence(last int32) int32 {
	if last == math.MaxInt32 {
		return 0
	}
	return last + 1
}

// ProducerState is what a partition remembers of an idempotent producer (DescribeProducers).
type ProducerState struct {
	ProducerID    int64
	ProducerEpoch int16
	LastSequence  int32
	LastMillis    int64 // state time of its last batch
}

// Producers are the idempotent producers the partition remembers, by producer id. The slice is the caller's.
func (p *Partition) Producers() []ProducerState {
	out := make([]ProducerState, 0, len(p.producers))
	for _, id := range p.producers.ids() {
		e := p.producers[id]
		out = append(out, ProducerState{id, e.epoch, e.batches[e.count-1].last, e.lastMillis})
	}
	return out
}
