package meta

import (
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

// seenBatch names a batch of a producer.
type seenBatch struct {
	partition  *Partition
	producerID int64
	epoch      int16
	sequence   int32
}

func batchSeen(p *Partition, d *chunk.Detail) seenBatch {
	return seenBatch{p, d.ProducerID, d.ProducerEpoch, d.BaseSequence}
}

// ExpectStored says which batches of a chunk that is to be adopted are in a segment, which may not tell whose they are: what Elsewhere.Stored will say. It comes
// for all chunks before the first of them is adopted, since repeats may stand in any.
func (r *Recovery) ExpectStored(c *metapb.CommitChunk, stored func(tp TopicPartition, position, length uint32) bool) {
	t, err := chunk.ParseTable(c.RunTable)
	if err != nil {
		return // AdoptChunk tells
	}
	for i := range t.Runs() {
		run := t.Run(i)
		tp := TopicPartition{run.Topic, run.Partition}
		p := r.a.Partition(tp)
		if p == nil || run.Details == 0 {
			continue
		}
		whole, position := stored(tp, c.Position+run.Position, run.Length), run.Position
		for j := range run.Details {
			d := t.Detail(int(run.FirstDetail + j))
			if d.ProducerID >= 0 && (whole || stored(tp, c.Position+position, d.Length)) {
				b := batchSeen(p, &d)
				r.coming[b]++
				r.storedIn[c] = append(r.storedIn[c], b)
			}
			position += d.Length
		}
	}
}

// arrive takes back what was expected of a chunk that comes now.
func (r *Recovery) arrive(c *metapb.CommitChunk) {
	for _, b := range r.storedIn[c] {
		if r.coming[b]--; r.coming[b] == 0 {
			delete(r.coming, b)
		}
	}
	delete(r.storedIn, c)
}

// isSeen says whether a batch is in the log already, or will be found to be.
func (r *Recovery) isSeen(p *Partition, d *chunk.Detail) bool {
	b := batchSeen(p, d)
	return r.seen[b] || r.coming[b] > 0
}

// HasSeen says whether a batch of a producer has been found to be in the log, though the partition may not remember it: of chunks that are still to come
// nothing is said.
func (r *Recovery) HasSeen(tp TopicPartition, producerID int64, epoch int16, sequence int32) bool {
	p := r.a.Partition(tp)
	return p != nil && r.seen[seenBatch{p, producerID, epoch, sequence}]
}

// noteStored notes a batch that stands among what is in a segment, which may not tell whose it is. It is not there itself where it was refused, since it came
// before others of its producer that are to come: then it came again behind them.
func (r *Recovery) noteStored(p *Partition, d *chunk.Detail) {
	if d.ProducerID < 0 {
		return
	}
	unknown := p.producers[d.ProducerID] == nil
	if (unknown || p.producers.misses(d)) && r.a.elsewhere.Later(TopicPartition{p.topic.ID, p.index}, d) {
		return
	}
	r.seen[batchSeen(p, d)] = true
}

// precedes says whether a batch that precedes what its producer has sent to a partition may have been acknowledged, and takes it for that. It was, if
// anywhere, where offsets are that nothing is known of, and once. It may be a repeat of what a segment has that does not tell whose it is, and whose
// chunk is gone: then its records are there twice.
func (r *Recovery) precedes(p *Partition, d *chunk.Detail) bool {
	holes := int64(0)
	for _, s := range r.lost[p] {
		if !s.known {
			holes += s.next - s.base
		}
	}
	b := batchSeen(p, d)
	if r.filled[p]+int64(d.Records) > holes {
		return false
	}
	r.seen[b] = true
	r.filled[p] += int64(d.Records)
	return true
}
