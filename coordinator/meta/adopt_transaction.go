package meta

import (
	"slices"
	"sort"

	"github.com/varvelog/varve/ingest/chunk"
)

// replay does what the state would have done with a batch, had it known of it.
func (r *Recovery) replay(p *Partition, e PartEvent) {
	r.noteProducer(e.ProducerID)
	if e.Marker {
		r.epochs[e.ProducerID] = max(r.epochs[e.ProducerID], e.ProducerEpoch)
		if t := r.a.transactionOf[e.ProducerID]; t != nil {
			if _, in := t.partitions[p]; in { // of the transaction that the state knows to be open, perhaps without records here
				seen := r.ended[e.ProducerID]
				if seen == nil {
					seen = &markerSeen{commit: true, partitions: map[*Partition]bool{}}
					r.ended[e.ProducerID] = seen
				}
				seen.commit, seen.atMillis = seen.commit && e.Commit, max(seen.atMillis, e.TimestampMillis)
				seen.partitions[p] = true
				delete(t.partitions, p)
			}
		}
		first, open := p.OpenSince(e.ProducerID)
		if !open {
			return
		}
		p.open = slices.DeleteFunc(p.open, func(o openTransaction) bool { return o.producerID == e.ProducerID })
		if len(p.open) == 0 {
			p.open = nil
		}
		if !e.Commit {
			p.aborted = append(p.aborted, AbortedTransaction{ProducerID: e.ProducerID, FirstOffset: first, LastOffset: e.Offset})
		}
		return
	}
	if e.ProducerID < 0 {
		return
	}
	if e.BaseSequence >= 0 && e.Records > 0 {
		p.remember(&chunk.Detail{ProducerID: e.ProducerID, ProducerEpoch: e.ProducerEpoch, BaseSequence: e.BaseSequence, Records: e.Records}, e.Offset, r.a.timeMillis)
	}
	if _, open := p.OpenSince(e.ProducerID); e.Transactional && !open {
		r.epochs[e.ProducerID] = max(r.epochs[e.ProducerID], e.ProducerEpoch)
		p.begin(e.ProducerID, e.Offset)
	}
}

// recall makes known again what was aborted in a rescued part: compaction forgets it where it has dropped the records. What has its marker in another
// part that is there stays unknown.
func (r *Recovery) recall(p *Partition, e PartEvent) {
	open := r.below[p]
	first, begun := open[e.ProducerID]
	switch {
	case !e.Marker:
		if e.Transactional && !begun {
			if open == nil {
				open = map[int64]int64{}
				r.below[p] = open
			}
			open[e.ProducerID] = e.Offset
		}
		return
	case !begun:
		return
	}
	delete(open, e.ProducerID)
	at := sort.Search(len(p.aborted), func(i int) bool { return p.aborted[i].LastOffset >= e.Offset })
	if !e.Commit && (at == len(p.aborted) || p.aborted[at].LastOffset > e.Offset) {
		p.aborted = slices.Insert(p.aborted, at, AbortedTransaction{ProducerID: e.ProducerID, FirstOffset: first, LastOffset: e.Offset})
	}
}

// markerSeen is what adopted parts say of the end of a transaction that the state knows to be open.
type markerSeen struct {
	commit     bool
	atMillis   int64               // by the leader's clock
	partitions map[*Partition]bool // where it was seen
}

// endsBefore says whether a batch of a chunk belongs to a transaction behind the one of which an adopted part has the marker. It does in a partition
// that has the marker. Elsewhere the time tells, since a producer begins the next one when it knows of the end: clocks that
// differ by more than lies between mislead it.
func (a *applier) endsBefore(p *Partition, d *chunk.Detail) bool {
	seen, t := a.ended[d.ProducerID], a.transactionOf[d.ProducerID]
	return seen != nil && d.Attributes&attrTransactional != 0 && t != nil && t.state == TransactionOngoing &&
		(seen.partitions[p] || a.elsewhere.CreatedMillis > seen.atMillis)
}

// completeEnded ends a producer's transaction as its marker says.
func (a *applier) completeEnded(producerID int64) {
	a.complete(a.transactionOf[producerID], a.ended[producerID].commit)
	delete(a.ended, producerID)
}

// noteProducer keeps a producer id that was given, unseen, from being given again.
func (r *Recovery) noteProducer(id int64) {
	r.a.nextProducerID = max(r.a.nextProducerID, id+1)
}

// abortOpen ends, as aborted, the transactions that are open before a hole at the partition's end: their markers may have been in it, and
// what comes behind may be of others.
func (r *Recovery) abortOpen(p *Partition) {
	for _, o := range p.open {
		p.aborted = append(p.aborted, AbortedTransaction{ProducerID: o.producerID, FirstOffset: o.first, LastOffset: p.next - 1})
		if t := r.a.transactionOf[o.producerID]; t != nil {
			delete(t.partitions, p)
		}
		r.others++
	}
	p.open = nil
}
