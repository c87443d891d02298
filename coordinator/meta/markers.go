package meta

import (
	"math"
	"slices"
	"sort"
)

// TransactionMarker is the end of a transaction in one partition. It takes one offset and no bytes: readers make the control batch.
type TransactionMarker struct {
	Offset           int64
	ProducerID       int64
	TimestampMillis  int64 // state time
	CoordinatorEpoch int32 // the leader's that ended the transaction
	ProducerEpoch    int16
	Commit           bool
}

// openTransaction is a transaction with records in the partition that is not ended.
type openTransaction struct {
	producerID int64
	first      int64 // the offset of its first record
}

// AbortedTransaction is an aborted transaction's range in a partition: records of the producer in [FirstOffset, LastOffset] are not
// to be given to read_committed consumers.
type AbortedTransaction struct {
	ProducerID  int64
	FirstOffset int64
	LastOffset  int64 // of the marker
	// lastStable is the last stable offset right behind the marker: an entry whose own is higher ends a search.
	lastStable int64
}

// LastStableOffset is the first offset of the earliest transaction that is open here, else the high watermark. It never decreases.
func (p *Partition) LastStableOffset() int64 {
	if len(p.open) == 0 {
		return p.next
	}
	return max(p.open[0].first, p.logStart)
}

// AbortedTransactions appends the transactions that were aborted and have records in [from, to), in the order of their markers. to
// must not be above the last stable offset.
func (p *Partition) AbortedTransactions(out []AbortedTransaction, from, to int64) []AbortedTransaction {
	first := sort.Search(len(p.aborted), func(i int) bool { return p.aborted[i].LastOffset >= from })
	for _, t := range p.aborted[first:] {
		if t.FirstOffset < to {
			out = append(out, t)
		}
		if t.lastStable >= to {
			break
		}
	}
	return out
}

// begin notes the first record of a producer's transaction in the partition.
func (p *Partition) begin(producerID, offset int64) {
	p.open = append(p.open, openTransaction{producerID, offset})
}

// OpenSince is the first offset of the producer's open transaction in the partition, false where it has none.
func (p *Partition) OpenSince(producerID int64) (int64, bool) {
	for _, o := range p.open {
		if o.producerID == producerID {
			return o.first, true
		}
	}
	return 0, false
}

// firstMarker is the index of the first marker at or above offset.
func firstMarker(markers []TransactionMarker, offset int64) int {
	return sort.Search(len(markers), func(i int) bool { return markers[i].Offset >= offset })
}

// mark ends a transaction in the partition with a marker. first is the offset of its first record, -1 for none.
func (a *applier) mark(p *Partition, m TransactionMarker, first int64) {
	before := p.LastStableOffset()
	if first >= 0 {
		if i := slices.IndexFunc(p.open, func(o openTransaction) bool { return o.first == first }); i >= 0 {
			p.open = slices.Delete(p.open, i, i+1)
		}
		if len(p.open) == 0 {
			p.open = nil
		}
	}
	m.Offset = p.next
	atHead := len(p.runs)+len(p.parts)+len(p.markers) == 0
	p.markers = append(p.markers, m)
	p.next++
	a.settle(p, before)
	if first >= 0 && !m.Commit {
		p.aborted = append(p.aborted, AbortedTransaction{m.ProducerID, first, m.Offset, p.LastStableOffset()})
	}
	if atHead {
		a.dueByRetention(p)
	}
	if a.obs != nil {
		a.obs.Committed(TopicPartition{p.topic.ID, p.index}, p.next)
	}
}

// settle follows the last stable offset, which was before: the runs that it has passed may be shipped.
func (a *applier) settle(p *Partition, before int64) {
	now := p.LastStableOffset()
	for i := firstRun(p.runs, before); i < len(p.runs) && p.runs[i].next() <= now; i++ {
		c := a.containerSlots[p.runs[i].container]
		if c.heldRuns--; c.sealed && c.job == 0 && c.heldRuns < c.liveRuns {
			a.changed(ChangedContainers)
		}
	}
}

// held says whether a run is not to be shipped yet: it reaches above the last stable offset.
func (p *Partition) held(r *run) bool { return r.next() > p.LastStableOffset() }

// dropMarkers lets go of what lies below the log start.
func (p *Partition) dropMarkers() {
	if n := firstMarker(p.markers, p.logStart); n > 0 {
		p.markers = slices.Clip(slices.Delete(p.markers, 0, n))
	}
	if len(p.markers) == 0 {
		p.markers = nil
	}
	p.dropAborted(p.logStart)
}

// dropAborted forgets the aborted transactions that end below an offset.
func (p *Partition) dropAborted(below int64) {
	n := sort.Search(len(p.aborted), func(i int) bool { return p.aborted[i].LastOffset >= below })
	if n > 0 {
		p.aborted = slices.Delete(p.aborted, 0, n)
	}
	if len(p.aborted) == 0 {
		p.aborted = nil
	}
}

// firstHot is the first offset that is in no part.
func (p *Partition) firstHot() int64 {
	first := int64(math.MaxInt64)
	if len(p.runs) > 0 {
		first = p.runs[0].base
	}
	if len(p.markers) > 0 {
		first = min(first, p.markers[0].Offset)
	}
	return first
}

// markersWith calls yield for the markers that go to the bucket together with a run: those right behind it, and those right before
// it unless they follow another run that is not shipped. Every marker thus goes with one run.
func (p *Partition) markersWith(r *run, yield func(TransactionMarker)) {
	if len(p.markers) == 0 {
		return
	}
	at := firstMarker(p.markers, r.base)
	head := at
	for head > 0 && p.markers[head-1].Offset == r.base-int64(at-head)-1 {
		head--
	}
	if head < at && !p.runEndsAt(p.markers[head].Offset) {
		for _, m := range p.markers[head:at] {
			yield(m)
		}
	}
	next := r.next()
	for i := at; i < len(p.markers) && p.markers[i].Offset == next; i++ {
		yield(p.markers[i])
		next++
	}
}

// strandedMarkers calls yield for the markers that go with no run: what was next to them is shipped or lost.
func (p *Partition) strandedMarkers(yield func(TransactionMarker)) {
	stable := p.LastStableOffset()
	for i := 0; i < len(p.markers); {
		end := i + 1
		for end < len(p.markers) && p.markers[end].Offset == p.markers[end-1].Offset+1 {
			end++
		}
		next := p.markers[end-1].Offset + 1
		at := firstRun(p.runs, next)
		before := at < len(p.runs) && p.runs[at].base == next
		if next <= stable && next < p.next && !before && !p.runEndsAt(p.markers[i].Offset) {
			for _, m := range p.markers[i:end] {
				yield(m)
			}
		}
		i = end
	}
}

func (p *Partition) runEndsAt(offset int64) bool {
	i := sort.Search(len(p.runs), func(i int) bool { return p.runs[i].next() >= offset })
	return i < len(p.runs) && p.runs[i].next() == offset
}

// cutMarkers lets go of the markers in [base, next).
func (p *Partition) cutMarkers(base, next int64) {
	from, to := firstMarker(p.markers, base), firstMarker(p.markers, next)
	if from == to {
		return
	}
	if p.markers = slices.Clip(slices.Delete(p.markers, from, to)); len(p.markers) == 0 {
		p.markers = nil
	}
}
