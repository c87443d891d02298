package meta

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sort"

	"github.com/varvelog/varve/ingest/chunk"
)

// ending is the end of a transaction, as its adopted markers tell of it. All of them have the same epoch and time.
type ending struct {
	epoch    int16
	atMillis int64 // by the leader's clock
	commit   bool
	// keeps and bumps say that batches which it ended have been seen, and had its epoch or the one before (KIP-890, or a producer that was fenced).
	keeps, bumps bool
	partitions   map[*Partition]bool // where its marker was seen
}

// endings are all that were adopted, of every producer.
type endings struct {
	byProducer map[int64][]*ending // in order of epoch and time
	// first are those of the transactions that the state knows to be open.
	first map[int64]*ending
	open  map[openIn]openAs
}

// openIn names the transaction that a producer has open in a partition, or had last.
type openIn struct {
	partition  *Partition
	producerID int64
}

// openAs says which transaction that is.
type openAs struct {
	epoch int16   // of its batches
	end   *ending // nil where nothing tells of it
	order int     // of the end among the producer's; behind all of them where nothing tells of it
}

func newEndings() *endings {
	return &endings{byProducer: map[int64][]*ending{}, first: map[int64]*ending{}, open: map[openIn]openAs{}}
}

// note enters a marker.
func (e *endings) note(p *Partition, m *PartEvent) *ending {
	known := e.byProducer[m.ProducerID]
	at, found := slices.BinarySearchFunc(known, m, func(x *ending, m *PartEvent) int {
		return cmp.Or(cmp.Compare(x.epoch, m.ProducerEpoch), cmp.Compare(x.atMillis, m.TimestampMillis), cmp.Compare(asInt(x.commit), asInt(m.Commit)))
	})
	if !found {
		known = slices.Insert(known, at, &ending{epoch: m.ProducerEpoch, atMillis: m.TimestampMillis, commit: m.Commit, partitions: map[*Partition]bool{}})
		e.byProducer[m.ProducerID] = known
	}
	known[at].partitions[p] = true
	return known[at]
}

func asInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// of notes the epoch of a batch that it ended.
func (e *ending) of(epoch int16) {
	e.keeps = e.keeps || epoch == e.epoch
	e.bumps = e.bumps || epoch == e.epoch-1
}

// raisedFrom is the end that raised a producer's epoch from this one, of a transaction that is open in the partition: there is but one. nil where nothing
// tells of it.
func (e *endings) raisedFrom(p *Partition, producerID int64, epoch int16) *ending {
	for _, end := range e.byProducer[producerID] {
		if end.bumps && end.epoch == epoch+1 && !end.partitions[p] {
			return end
		}
	}
	return nil
}

// ofBatch finds the end of the transaction that a chunk's batch is of. Where ends raise the epoch, that tells. Else it is the first one of its epoch that
// came after the chunk was made, by clocks that may differ: a producer sends nothing more before it knows of an end. No end is meant that has a marker
// in the partition, since the batch comes behind it, nor one before that of the producer's last batch in the partition.
func (e *endings) ofBatch(p *Partition, d *chunk.Detail, createdMillis int64) openAs {
	as := openAs{epoch: d.ProducerEpoch}
	if last, ok := e.open[openIn{p, d.ProducerID}]; ok && last.epoch == d.ProducerEpoch {
		as.order = last.order
	}
	known := e.byProducer[d.ProducerID]
	for ; as.order < len(known); as.order++ {
		end := known[as.order]
		keeps := end.epoch == d.ProducerEpoch && !end.bumps && end.atMillis > createdMillis
		raises := end.epoch == d.ProducerEpoch+1 && end.bumps
		if (keeps || raises) && !end.partitions[p] {
			as.end = end
			break
		}
	}
	return as
}

// begin notes what is open in a partition.
func (e *endings) begin(p *Partition, producerID, offset int64, as openAs) {
	p.begin(producerID, offset)
	e.open[openIn{p, producerID}] = as
}

// openAs says which transaction a producer has open in a partition.
func (a *applier) openAs(p *Partition, producerID int64) openAs {
	as, adopted := a.endings.open[openIn{p, producerID}]
	if !adopted { // the state has it
		t := a.transactionOf[producerID]
		as = openAs{epoch: t.epoch, end: a.endOfKnown(t)}
	} else if as.end == nil {
		as.end = a.endings.raisedFrom(p, producerID, as.epoch)
	}
	return as
}

// endOfKnown is the end of a transaction that the state knows to be open, nil where nothing tells of it. Markers in partitions that are not known to
// be in the transaction may be of the producer's next one, unless its epoch is another.
func (a *applier) endOfKnown(t *transaction) *ending {
	if end := a.endings.first[t.producerID]; end != nil {
		return end
	}
	return a.endings.raisedFrom(nil, t.producerID, t.epoch)
}

// judgeAdopted judges a batch of a transaction by what can be known: that a partition is in the transaction may have been said behind the state.
func (k *committer) judgeAdopted(p *Partition, d *chunk.Detail) Code {
	t := k.transactionOf[d.ProducerID]
	switch {
	case t == nil && k.endings.raisedFrom(p, d.ProducerID, d.ProducerEpoch) == nil:
		return InvalidProducerIDMapping
	case t != nil && d.ProducerEpoch < t.epoch:
		return InvalidProducerEpoch
	}
	return OK
}

// turns says whether an adopted batch is of another transaction than the one that its producer has open in the partition.
func (k *committer) turns(p *Partition, d *chunk.Detail) bool {
	if _, open := p.OpenSince(d.ProducerID); !open || d.Attributes&attrTransactional == 0 {
		return false
	}
	before, as := k.openAs(p, d.ProducerID), k.endings.ofBatch(p, d, k.elsewhere.CreatedMillis)
	return before.epoch != as.epoch || before.end != as.end
}

// joinAdopted notes that an adopted batch is of a transaction.
func (k *committer) joinAdopted(p *Partition, d *chunk.Detail, offset int64) {
	as := k.endings.ofBatch(p, d, k.elsewhere.CreatedMillis)
	if _, open := p.OpenSince(d.ProducerID); !open {
		k.endings.begin(p, d.ProducerID, offset, as)
	}
}

// endOpen ends what a producer has open in a partition, as its markers elsewhere say, and says whether they do. Where none does it is aborted: what was
// written to it may be lost, and its producer may have aborted it.
func (a *applier) endOpen(p *Partition, producerID int64) (told bool) {
	first, open := p.OpenSince(producerID)
	if !open {
		return false
	}
	as := a.openAs(p, producerID)
	m := TransactionMarker{
		ProducerID: producerID, ProducerEpoch: min(as.epoch, lastUsableEpoch) + 1, TimestampMillis: a.timeMillis, CoordinatorEpoch: int32(a.leader.epoch),
	}
	if as.end != nil {
		m.ProducerEpoch, m.Commit = as.end.epoch, as.end.commit
	}
	a.mark(p, m, first)
	return as.end != nil
}

// replay does what the state would have done with a batch, had it known of it.
func (r *Recovery) replay(p *Partition, e PartEvent) {
	r.noteProducer(e.ProducerID)
	if e.Marker {
		r.replayMarker(p, &e)
		return
	}
	if e.ProducerID < 0 {
		return
	}
	r.remember(p, &e)
	first, open := p.OpenSince(e.ProducerID)
	if e.Transactional && open && r.a.openAs(p, e.ProducerID).epoch != e.ProducerEpoch { // its end is missing
		p.close(e.ProducerID)
		p.aborted = append(p.aborted, AbortedTransaction{ProducerID: e.ProducerID, FirstOffset: first, LastOffset: e.Offset - 1})
		open = false
	}
	if e.Transactional && !open {
		r.a.endings.begin(p, e.ProducerID, e.Offset, openAs{epoch: e.ProducerEpoch})
	}
}

// remember has a partition remember a batch as its producer's last.
func (r *Recovery) remember(p *Partition, e *PartEvent) {
	if !e.Marker && e.ProducerID >= 0 && e.BaseSequence >= 0 && e.Records > 0 {
		r.a.remember(p, &chunk.Detail{ProducerID: e.ProducerID, ProducerEpoch: e.ProducerEpoch, BaseSequence: e.BaseSequence, Records: e.Records}, e.Offset)
	}
}

func (r *Recovery) replayMarker(p *Partition, e *PartEvent) {
	end := r.a.endings.note(p, e)
	if t := r.a.transactionOf[e.ProducerID]; t != nil {
		if _, in := t.partitions[p]; in && !r.holed[p] && (e.ProducerEpoch == t.epoch || e.ProducerEpoch == t.epoch+1) { // of the transaction that the state knows to be open, perhaps without records here
			end.of(t.epoch)
			if seen := r.a.endings.first[e.ProducerID]; seen == nil || !end.commit {
				r.a.endings.first[e.ProducerID] = end
			}
		}
		delete(t.partitions, p)
	}
	first, open := p.OpenSince(e.ProducerID)
	if !open {
		return
	}
	if as, adopted := r.a.endings.open[openIn{p, e.ProducerID}]; adopted {
		end.of(as.epoch)
	}
	p.close(e.ProducerID)
	if !e.Commit {
		p.aborted = append(p.aborted, AbortedTransaction{ProducerID: e.ProducerID, FirstOffset: first, LastOffset: e.Offset})
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

// noteProducer keeps a producer id that was given, unseen, from being given again.
func (r *Recovery) noteProducer(id int64) {
	if id >= 0 && uint64(id)/recoveryProducers < r.former+maxUnseenLogs {
		r.a.nextProducerID = max(r.a.nextProducerID, id+1)
	}
}

func (p *Partition) close(producerID int64) {
	p.open = slices.DeleteFunc(p.open, func(o openTransaction) bool { return o.producerID == producerID })
	if len(p.open) == 0 {
		p.open = nil
	}
}

// cutShort is a transaction that was open where offsets are missing.
type cutShort struct {
	partition  *Partition
	producerID int64
	openAs
	known  bool  // the state knew it to be open
	marker int64 // among the missing offsets, where it is said to end
}

// abortOpen ends, as aborted, the transactions that are open before a hole at the partition's end, which begins at base: their markers may have been in
// it, and what comes behind may be of others. Each gets one of its offsets for a marker (markAborts): no more can have ended in it than it has offsets.
// Where there are more transactions those go on that the events behind the hole are likeliest of.
func (r *Recovery) abortOpen(p *Partition, base int64, behind []PartEvent) {
	r.holed[p] = true
	var free []int64
	for at := base; at < p.next && len(free) < len(p.open); at++ {
		if i := firstMarker(p.markers, at); i == len(p.markers) || p.markers[i].Offset != at {
			free = append(free, at)
		}
	}
	n := len(free)
	open := slices.Clone(p.open)
	goesOn := func(o openTransaction) int { return r.goesOn(p, o.producerID, behind) }
	slices.SortStableFunc(open, func(x, y openTransaction) int { return cmp.Compare(goesOn(x), goesOn(y)) })
	for i, o := range open[:n] {
		marker := free[i]
		p.aborted = append(p.aborted, AbortedTransaction{ProducerID: o.producerID, FirstOffset: o.first, LastOffset: marker})
		if t := r.a.transactionOf[o.producerID]; t != nil {
			delete(t.partitions, p)
		}
		as, adopted := r.a.endings.open[openIn{p, o.producerID}]
		r.cut = append(r.cut, cutShort{partition: p, producerID: o.producerID, openAs: as, known: !adopted, marker: marker})
	}
	open = open[n:]
	if p.open = slices.DeleteFunc(p.open, func(o openTransaction) bool { return !slices.Contains(open, o) }); len(p.open) == 0 {
		p.open = nil
	}
}

// goesOn says how likely it is that a producer's open transaction goes on with the producer's first event: 0 not at all, 3 for its marker.
func (r *Recovery) goesOn(p *Partition, producerID int64, events []PartEvent) int {
	i := slices.IndexFunc(events, func(e PartEvent) bool { return e.ProducerID == producerID })
	if i < 0 {
		return 1
	}
	ahead := events[i].ProducerEpoch - r.a.openAs(p, producerID).epoch
	switch {
	case ahead == 0 && !events[i].Marker:
		return 2
	case ahead == 0 || ahead == 1 && events[i].Marker:
		return 3
	}
	return 0
}

// judgeCut takes back the aborts of transactions that markers in other partitions say were committed.
func (r *Recovery) judgeCut() {
	for _, c := range r.cut {
		end := r.a.endings.raisedFrom(nil, c.producerID, c.epoch)
		if t := r.a.transactionOf[c.producerID]; c.known {
			end = r.a.endOfKnown(t)
		}
		switch {
		case end == nil:
			r.noteAborted(c.producerID)
		case end.commit:
			p := c.partition
			p.aborted = slices.DeleteFunc(p.aborted, func(t AbortedTransaction) bool { return t.ProducerID == c.producerID && t.LastOffset == c.marker })
			if len(p.aborted) == 0 {
				p.aborted = nil
			}
		}
	}
}

// noteAborted counts a transaction that is aborted because nothing says that it was committed.
func (r *Recovery) noteAborted(producerID int64) {
	if t := r.a.transactionOf[producerID]; t != nil {
		r.aborted[t.id] = true
	} else {
		r.others++
	}
}

// markAborts puts a marker where an aborted transaction ends among lost offsets. Clients that are told of one hide whatever its producer has written from
// its first offset on, until they come to a marker that aborts: without it the producer's later transactions, too.
func (r *Recovery) markAborts(p *Partition) {
	for _, t := range p.aborted {
		if t.LastOffset < p.logStart || !slices.ContainsFunc(r.lost[p], func(s span) bool { return s.base <= t.LastOffset && t.LastOffset < s.next }) {
			continue
		}
		r.cutSpans(p, t.LastOffset, t.LastOffset+1)
		epoch := r.a.endings.open[openIn{p, t.ProducerID}].epoch
		p.markers = slices.Insert(p.markers, firstMarker(p.markers, t.LastOffset), TransactionMarker{
			Offset: t.LastOffset, ProducerID: t.ProducerID, ProducerEpoch: epoch, TimestampMillis: r.a.timeMillis, CoordinatorEpoch: int32(r.a.leader.epoch),
		})
	}
}

// EndTransactions ends every transaction that is open, and fences the producer of every transactional id. It is committed where an adopted part has a
// marker that says so, and else aborted: what was written to it after the last state that is known may be lost, so that it must not be committed. The
// same holds for one that was begun since: no command of a producer may go on with it, nor may an epoch be given that had been given then. Therefore a
// producer id's epochs are used up, and whoever initializes the transactional id next gets another one.
// The ids of the aborted ones are returned in order; others are known from what was adopted alone.
func (r *Recovery) EndTransactions() (ids []string, others int) {
	for _, topic := range r.a.topicOrder {
		for _, p := range topic.partitions {
			r.restoreLastEnds(p)
		}
	}
	r.judgeCut()
	for _, t := range r.a.transactionsInOrder() {
		if t.state == TransactionOngoing {
			end := r.a.endOfKnown(t)
			clear(t.partitions) // their markers are written below
			r.a.complete(t, end != nil && end.commit)
			if t.state == TransactionAborted {
				r.aborted[t.id] = true
			}
		}
	}
	for _, topic := range r.a.topicOrder {
		for _, p := range topic.partitions {
			for _, o := range slices.Clone(p.open) {
				if !r.a.endOpen(p, o.producerID) {
					r.noteAborted(o.producerID)
				}
			}
		}
	}
	for _, t := range r.a.transactions {
		t.epoch, t.lastEpoch, t.bumped = math.MaxInt16, noEpoch, false
	}
	return slices.Sorted(maps.Keys(r.aborted)), r.others
}
