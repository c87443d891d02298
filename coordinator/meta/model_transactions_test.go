package meta

import (
	"slices"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

// modelProducer is a transactional id in the model.
type modelProducer struct {
	producerID int64
	epoch      int16
	open       bool
	startedAt  int64
	first      map[TopicPartition]int64 // -1: added, nothing written
}

const modelTransactionMillis = 50_000

func (m *machine) initTransactional(t *rapid.T) {
	id := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "id")
	v := m.log.do(&metapb.InitTransactionalProducer{TransactionalId: id, TimeoutMillis: modelTransactionMillis, ExpectedProducerId: -1})
	expect(t, v.Code, OK)
	p := m.producers[id]
	if p == nil {
		m.producers[id] = &modelProducer{producerID: v.ProducerID, first: map[TopicPartition]int64{}}
		expect(t, v.ProducerEpoch, 0)
		return
	}
	if p.open {
		p.epoch++
		m.close(p, false)
	}
	p.epoch++
	expectProducer(t, v, p)
}

// producer draws a transactional id that is known.
func (m *machine) producer(t *rapid.T) (string, *modelProducer) {
	var ids []string
	for id := range m.producers {
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		t.Skip("no transactional id")
	}
	slices.Sort(ids)
	id := rapid.SampledFrom(ids).Draw(t, "id")
	return id, m.producers[id]
}

func (m *machine) add(t *rapid.T) {
	id, p := m.producer(t)
	if len(m.topics) == 0 {
		t.Skip("no topic")
	}
	tp := TopicPartition{topicID(rapid.SampledFrom(m.topics).Draw(t, "topic")), 0}
	v := m.log.do(&metapb.AddToTransaction{
		TransactionalId: id, ProducerId: p.producerID, ProducerEpoch: int32(p.epoch),
		Topics: []*metapb.TransactionTopic{{TopicId: tp.Topic[:], Partitions: []int32{0}}},
	})
	expect(t, v.Code, OK)
	m.openUp(p)
	if _, in := p.first[tp]; !in {
		p.first[tp] = -1
	}
}

func (m *machine) end(t *rapid.T) {
	id, p := m.producer(t)
	c := &metapb.EndTransaction{
		TransactionalId: id, ProducerId: p.producerID, ProducerEpoch: int32(p.epoch), Commit: rapid.Bool().Draw(t, "commit"),
		BumpsEpoch: rapid.Bool().Draw(t, "bump"),
	}
	if !p.open {
		t.Skip("what a repeat does is in the scenarios")
	}
	v := m.log.do(c)
	if c.BumpsEpoch {
		p.epoch++
	}
	m.close(p, c.Commit)
	expectProducer(t, v, p)
}

func (m *machine) openUp(p *modelProducer) {
	if !p.open {
		p.open, p.startedAt = true, m.log.now
	}
}

// close puts the markers in their places.
func (m *machine) close(p *modelProducer, commit bool) {
	p.open = false
	firsts := p.first
	p.first = map[TopicPartition]int64{}
	for tp, first := range firsts {
		mp := m.partitions[tp]
		if first >= 0 && !commit {
			mp.aborted = append(mp.aborted, AbortedTransaction{ProducerID: p.producerID, FirstOffset: first, LastOffset: int64(len(mp.records))})
		}
		mp.records = append(mp.records, "marker")
	}
}

func (m *machine) timeOut() {
	for _, id := range []string{"x", "y"} {
		p := m.producers[id]
		if p != nil && p.open && p.startedAt+modelTransactionMillis <= m.log.now {
			p.epoch++
			m.close(p, false)
		}
	}
}

func (m *machine) transactionalBatch(t *rapid.T, p *modelPartition, b chunk.Batch) chunk.Batch {
	_, producer := m.producer(t)
	b.ProducerID, b.ProducerEpoch = producer.producerID, producer.epoch-int16(rapid.IntRange(0, 4).Draw(t, "late")/4)
	b.ProducerEpoch = max(b.ProducerEpoch, 0)
	b.Attributes = attrTransactional
	if rapid.Bool().Draw(t, "joins") {
		b.Attributes |= chunk.AttrJoinsTransaction
	}
	if seen := p.seen[b.ProducerID]; len(seen) > 0 && seen[len(seen)-1].epoch == b.ProducerEpoch {
		last := seen[len(seen)-1]
		b.BaseSequence = last.next
		if rapid.IntRange(0, 4).Draw(t, "again") == 0 {
			b.BaseSequence, b.Records = last.first, uint32(last.next-last.first)
		}
	}
	return b
}

func (m *machine) ofProducer(producerID int64) *modelProducer {
	for _, p := range m.producers {
		if p.producerID == producerID {
			return p
		}
	}
	return nil
}

func (m *machine) judgeTransactional(tp TopicPartition, d *chunk.Detail) Code {
	p := m.ofProducer(d.ProducerID)
	_, in := p.first[tp]
	joins := d.Attributes&chunk.AttrJoinsTransaction != 0
	switch {
	case d.ProducerEpoch != p.epoch:
		return InvalidProducerEpoch
	case joins && d.BaseSequence != 0 && len(m.partitions[tp].seen[d.ProducerID]) == 0:
		return OutOfOrderSequence
	case !joins && !in:
		return InvalidTransactionState
	}
	return OK
}

func (m *machine) join(tp TopicPartition, producerID, offset int64) {
	p := m.ofProducer(producerID)
	m.openUp(p)
	if first, in := p.first[tp]; !in || first < 0 {
		p.first[tp] = offset
	}
}

func (m *machine) transacts(producerID int64, tp TopicPartition) bool {
	p := m.ofProducer(producerID)
	return p != nil && p.first[tp] >= 0 && has(p.first, tp)
}

func has(m map[TopicPartition]int64, tp TopicPartition) bool { _, ok := m[tp]; return ok }

// checkStable holds the last stable offset and the index of aborted transactions to the model's.
func (m *machine) checkStable(t *rapid.T, tp TopicPartition, p *modelPartition) {
	stable := int64(len(p.records))
	for _, producer := range m.producers {
		if first, in := producer.first[tp]; in && first >= 0 {
			stable = min(stable, max(first, p.start))
		}
	}
	got := m.log.s.Partition(tp)
	expect(t, got.LastStableOffset(), stable)
	for from := p.start; from <= stable; from++ {
		for to := from + 1; to <= stable; to += 3 {
			var want []AbortedTransaction
			for _, a := range p.aborted {
				if a.LastOffset >= from && a.FirstOffset < to {
					want = append(want, a)
				}
			}
			aborted := got.AbortedTransactions(nil, from, to)
			for i := range aborted {
				aborted[i].lastStable = 0
			}
			if !slices.Equal(aborted, want) {
				t.Fatalf("%s: aborted in [%d, %d): %+v, want %+v", tp, from, to, aborted, want)
			}
		}
	}
}

func expectProducer(t *rapid.T, v Verdict, p *modelProducer) {
	t.Helper()
	if v.Code != OK || v.ProducerID != p.producerID || v.ProducerEpoch != p.epoch {
		t.Fatalf("got %+v, want %+v", v, p)
	}
}
