package meta

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

// StoredTopic is what is known of a topic from a stored object.
type StoredTopic struct {
	ID         TopicID
	Name       string
	Partitions int32             // at least so many
	Overrides  map[string]string // nil where they are not known
}

// unknownOverrides are what a topic gets whose configuration is lost: nothing is deleted by age before somebody has said so.
func unknownOverrides() map[string]string {
	return map[string]string{"varve.durability": "local", "retention.ms": "-1"}
}

// AdoptTopic makes the topic known, with as many partitions as are said. fresh says that it was not known before. An error says why it
// cannot be adopted: another topic has its name.
func (r *Recovery) AdoptTopic(t StoredTopic) (fresh bool, err error) {
	s := r.a.State
	topic := s.topics[t.ID]
	if topic == nil {
		if wrong := ValidTopicName(t.Name); wrong != "" {
			return false, fmt.Errorf("topic %s: %s", t.ID, wrong)
		}
		if other := s.topicsByName[t.Name]; other != nil {
			return false, fmt.Errorf("topic %s of id %s: a topic of this name has id %s", t.Name, t.ID, other.ID)
		}
		overrides := t.Overrides
		if overrides == nil {
			overrides = unknownOverrides()
		}
		topic = &Topic{ID: t.ID, Name: t.Name, Overrides: overrides}
		s.refreshTopic(topic)
		s.addTopic(topic)
		fresh = true
	}
	if int(t.Partitions) > len(topic.partitions) {
		if t.Partitions > MaxTopicPartitions {
			return fresh, fmt.Errorf("topic %s: %d partitions", t.Name, t.Partitions)
		}
		s.addPartitions(topic, t.Partitions)
	}
	return fresh, nil
}

// PartEvent is a batch of a stored part that matters to producers and transactions.
type PartEvent struct {
	Offset        int64 // of the batch's first record
	Records       uint32
	ProducerID    int64
	ProducerEpoch int16
	BaseSequence  int32 // -1 for none
	Transactional bool
	Marker        bool // the batch is a transaction's end
	Commit        bool // of a marker
	// TimestampMillis is when a marker was written.
	TimestampMillis int64
}

// PartEpoch says that the batches of a stored part have a leader epoch from an offset on.
type PartEpoch struct {
	Epoch  int32
	Offset int64
}

// StoredPart is a part of a stored segment object.
type StoredPart struct {
	Object        SegmentID
	SizeBytes     uint64 // of the object
	CreatedMillis int64
	Part          *metapb.Part
	Events        []PartEvent
	Epochs        []PartEpoch // ascending
}

// Adoption says what has become of a part or chunk.
type Adoption struct {
	// Taken: it is part of the log now. New counts the offsets that the state did not know, Regained those that were lost.
	Taken         bool
	New, Regained int64
	// Skipped counts the offsets before it that nothing is known of.
	Skipped int64
	// Reason says why it was not taken; empty where all of it was there already.
	Reason string
}

// Fits says why a stored part cannot take its place in the log as it is known by now; empty where it can, or need not. It continues what is there, or
// takes the place of parts, unshipped runs and lost offsets which together are exactly the same offsets: what jobs that the state does not
// know of have made of them.
func (r *Recovery) Fits(c *metapb.Part) (reason string) {
	p := r.a.Partition(TopicPartition{TopicID(c.TopicId), c.Partition})
	if p == nil {
		return "its topic is not known"
	}
	_, reason = r.placeOf(p, c)
	return reason
}

// placeOf finds what a part takes the place of, as far as that is known.
func (r *Recovery) placeOf(p *Partition, c *metapb.Part) (t tiles, reason string) {
	known := min(c.NextOffset, p.next)
	if r.isFresh(p) || c.BaseOffset >= known || known <= p.logStart || p.holds(c) {
		return tiles{}, ""
	}
	t, ok := r.tiled(p, c.BaseOffset, known)
	if !ok {
		return tiles{}, fmt.Sprintf("what is known of [%d, %d) does not begin and end there", c.BaseOffset, known)
	}
	return t, ""
}

// isFresh says whether nothing at all is known of a partition's records.
func (r *Recovery) isFresh(p *Partition) bool {
	return p.next == 0 && len(p.parts)+len(p.runs)+len(p.markers)+len(p.gaps) == 0 && len(r.lost[p]) == 0
}

// holds says whether a part that is there has all of another's offsets: it is that one, or was made of it.
func (p *Partition) holds(c *metapb.Part) bool {
	at := firstPart(p.parts, c.BaseOffset)
	return at < len(p.parts) && p.parts[at].base <= c.BaseOffset && p.parts[at].next >= c.NextOffset
}

// AdoptPart takes a part of a stored object into the index, where it fits (Fits). It is to be called in order of base offset for each partition.
func (r *Recovery) AdoptPart(stored StoredPart) Adoption {
	c := stored.Part
	s := r.a.State
	p := s.Partition(TopicPartition{TopicID(c.TopicId), c.Partition})
	if p == nil {
		return Adoption{Reason: "its topic is not known"}
	}
	if r.isFresh(p) {
		p.logStart, p.next = c.BaseOffset, c.BaseOffset
		r.begun[p] = true
	}
	if c.NextOffset <= p.logStart || p.holds(c) {
		return Adoption{} // retention has taken it, or its records are there
	}
	place, reason := r.placeOf(p, c)
	if reason != "" {
		return Adoption{Reason: reason}
	}
	var a Adoption
	if c.BaseOffset > p.next {
		a.Skipped = c.BaseOffset - p.next
		r.addSpan(p, span{base: p.next, next: c.BaseOffset})
		p.next = c.BaseOffset
		r.abortOpen(p)
	}
	if known := min(c.NextOffset, p.next); c.BaseOffset < known {
		a.Regained = r.clear(p, place, c.BaseOffset, known)
	}
	o := s.objects[stored.Object]
	if o == nil {
		o = &object{id: stored.Object, sizeBytes: stored.SizeBytes, createdMillis: stored.CreatedMillis}
		s.objects[stored.Object] = o
		s.nextJob = max(s.nextJob, stored.Object.Job+1)
	}
	a.New = max(0, c.NextOffset-p.next)
	next := p.next
	r.insertPart(p, o, c)
	for _, e := range stored.Epochs {
		if e.Epoch > p.leaderEpoch && e.Offset >= next {
			p.leaderEpoch = e.Epoch
			p.epochs = append(p.epochs, epochStart{e.Epoch, e.Offset})
		}
	}
	if r.belowEnd[p] != c.BaseOffset {
		delete(r.below, p) // what began there may have ended in between
	}
	for _, e := range stored.Events {
		if e.Offset >= next {
			r.replay(p, e)
		} else if r.rescuing {
			r.recall(p, e)
		}
	}
	r.belowEnd[p] = c.NextOffset
	p.next = max(p.next, c.NextOffset)
	a.Taken = true
	return a
}

// clear makes room for a part: it lets go of what is known of [base, next), and returns how many of the offsets were lost.
func (r *Recovery) clear(p *Partition, t tiles, base, next int64) (regained int64) {
	runs := slices.Clone(p.runs[t.firstRun:t.lastRun])
	p.runs = cutRuns(p.runs, t.firstRun, t.lastRun)
	p.cutMarkers(base, next)
	p.runBytes -= sumLengths(runs)
	r.a.dropLive(runs)
	for _, old := range p.parts[t.firstPart:t.lastPart] {
		p.partBytes -= old.length
		if old.object.refs--; old.object.refs == 0 {
			delete(r.a.objects, old.object.id) // the sweeper finds that nothing refers to it
		}
	}
	p.dropGaps(base, next)
	if t.firstPart < t.lastPart {
		p.parts = slices.Delete(p.parts, t.firstPart, t.lastPart)
	}
	r.a.dropLocalRange(p, base, next) // of what may be compacted away now
	if c := p.cleaning; c != nil {
		c.cleanedTo = min(c.cleanedTo, base)
	}
	for _, s := range r.lost[p] {
		regained += max(0, min(s.next, next)-max(s.base, base, p.logStart))
	}
	r.cutSpans(p, base, next)
	return regained
}

// StoredRange is a range of offsets that a part has.
type StoredRange struct {
	BaseOffset, NextOffset int64
	Job                    JobID // that stored it
}

// StoredRanges are the parts of a partition, in order.
func (r *Recovery) StoredRanges(tp TopicPartition) (out []StoredRange) {
	if p := r.a.Partition(tp); p != nil {
		for i := range p.parts {
			out = append(out, StoredRange{p.parts[i].base, p.parts[i].next, p.parts[i].object.id.Job})
		}
	}
	return out
}

// HasStored says whether parts have all of [base, next), or what the log start and gaps leave of it.
func (r *Recovery) HasStored(tp TopicPartition, base, next int64) bool {
	p := r.a.Partition(tp)
	if p == nil {
		return false
	}
	at := max(base, p.logStart)
	if r.begun[p] {
		at = base // what was before the first part that was chosen is nowhere else
	}
	for i := firstPart(p.parts, at); at < next; i++ {
		if i == len(p.parts) || p.parts[i].base > at && !p.isGap(at, min(next, p.parts[i].base)) {
			return false
		}
		at = p.parts[i].next
	}
	return true
}

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

// tiles are runs [firstRun, lastRun) and parts [firstPart, lastPart) of a partition.
type tiles struct{ firstRun, lastRun, firstPart, lastPart int }

// tiled finds the runs and parts that, with the markers, gaps and lost offsets between them, tile [base, next), or what the log start has left
// of it. Lost offsets may be cut anywhere.
func (r *Recovery) tiled(p *Partition, base, next int64) (t tiles, ok bool) {
	start := max(base, p.logStart)
	t.firstRun, t.firstPart = firstRun(p.runs, start), firstPart(p.parts, start)
	t.lastRun, t.lastPart = t.firstRun, t.firstPart
	markers := p.markers[firstMarker(p.markers, start):]
	begins := func(first, at int64) bool { return first == at || at == start && first < at && first >= base }
	for at := start; at < next; {
		switch {
		case len(markers) > 0 && markers[0].Offset == at:
			at, markers = at+1, markers[1:]
		case t.lastRun < len(p.runs) && begins(p.runs[t.lastRun].base, at):
			at = p.runs[t.lastRun].next()
			t.lastRun++
		case t.lastPart < len(p.parts) && begins(p.parts[t.lastPart].base, at):
			at = p.parts[t.lastPart].next
			t.lastPart++
		default:
			if i := slices.IndexFunc(p.gaps, func(g gap) bool { return g.base <= at && at < g.next && (g.base >= base || base < p.logStart) }); i >= 0 {
				at = p.gaps[i].next
				break
			}
			i := slices.IndexFunc(r.lost[p], func(s span) bool { return s.base <= at && at < s.next })
			if i < 0 {
				return tiles{}, false
			}
			at = min(r.lost[p][i].next, next)
		}
		if at > next {
			return tiles{}, false
		}
	}
	return t, true
}

// cutSpans takes [base, next) out of what is lost.
func (r *Recovery) cutSpans(p *Partition, base, next int64) {
	var left []span
	for _, s := range r.lost[p] {
		if before := s; before.base < base {
			before.next = min(before.next, base)
			left = append(left, before)
		}
		if behind := s; behind.next > next {
			behind.base = max(behind.base, next)
			left = append(left, behind)
		}
		// A span that lies apart has come in whole, by one of the two.
	}
	r.lost[p] = left
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

// Rescues says whether a part that is not part of the log can take the place of lost offsets, and fits: the job that stored it came to nothing, or what it
// was made into is gone, and it holds the same records. Where records may have been compacted away, it takes the place of no part:
// later ones need not hide any more what it would bring back.
func (r *Recovery) Rescues(c *metapb.Part) bool {
	p := r.a.Partition(TopicPartition{TopicID(c.TopicId), c.Partition})
	if p == nil || c.NextOffset > p.next || r.Fits(c) != "" {
		return false
	}
	if at := firstPart(p.parts, c.BaseOffset); p.topic.Config.Compact && at < len(p.parts) && p.parts[at].base < c.NextOffset {
		return false
	}
	return slices.ContainsFunc(r.lost[p], func(s span) bool { return s.known && s.base < c.NextOffset && c.BaseOffset < s.next })
}

// Losing says whether anything that the state knew of is lost.
func (r *Recovery) Losing() bool {
	for _, spans := range r.lost {
		if slices.ContainsFunc(spans, func(s span) bool { return s.known }) {
			return true
		}
	}
	return false
}

// Elsewhere says what there is of a chunk's records outside of it, and what its header says.
type Elsewhere struct {
	// CreatedMillis is when the chunk was built, by its node's clock.
	CreatedMillis int64
	// Stored says which partitions' runs are in segments already.
	Stored func(TopicPartition) bool
	// Later says whether batches that a batch misses before it are in a chunk that is to come. It was refused then. Where they are nowhere they were
	// lost after both had been acknowledged, or are in a segment that does not tell whose they were.
	Later func(TopicPartition, *chunk.Detail) bool
}

// Expects is what a partition wants next of a producer: its epoch, and the sequence in it.
func (r *Recovery) Expects(tp TopicPartition, producerID int64) (epoch int16, sequence int32, known bool) {
	p := r.a.Partition(tp)
	if p == nil {
		return 0, 0, false
	}
	e := p.producers[producerID]
	if e == nil {
		return 0, 0, false
	}
	return e.epoch, nextSequence(e.batches[e.count-1].last), true
}

// AdoptChunk commits a chunk that was found in the bucket, or in a hot log that is there, as its node would have: its batches get the next
// offsets. Chunks of a lane are to come in order of seq. holder is the node on whose disk it was found, 0 for none: another than its own has a
// copy, of which the runs become part as if that node had taken them.
func (r *Recovery) AdoptChunk(c *metapb.CommitChunk, holder NodeID, elsewhere Elsewhere) Adoption {
	s := r.a.State
	switch id := NodeID(c.NodeId); {
	case id < 1 || id >= s.nextNode+maxUnseenNodes:
		return Adoption{Reason: fmt.Sprintf("node %d", id)}
	case s.Dropped(id):
		return Adoption{} // like an epoch that had ended
	}
	r.ensureNode(NodeID(c.NodeId))
	n := s.Node(NodeID(c.NodeId))
	switch {
	case c.NodeEpoch < n.Epoch:
		return Adoption{} // its epoch had ended; what it had not committed never will be
	case c.Lane >= MaxLanes:
		return Adoption{Reason: fmt.Sprintf("lane %d", c.Lane)}
	case c.NodeEpoch > n.Epoch:
		n.Epoch, n.lanes = c.NodeEpoch, nil
		r.a.sealEpochsBelow(n)
	}
	if c.Seq < n.nextSeq(c.Lane) {
		return Adoption{} // it was decided on
	}
	n.useSeq(c.Lane, c.Seq-1)
	t, err := chunk.ParseTable(c.RunTable)
	if err != nil {
		return Adoption{Reason: err.Error()}
	}
	for i := range t.Details() {
		r.noteProducer(t.Detail(i).ProducerID)
	}
	before := r.endsOf(t)
	r.a.elsewhere, r.a.holder = elsewhere, s.Node(holder)
	v := r.a.commitChunk(c)
	r.a.elsewhere, r.a.holder = Elsewhere{}, nil
	if v.Code != OK {
		return Adoption{Reason: fmt.Sprint(v.Code)}
	}
	a := Adoption{New: r.endsOf(t) - before}
	a.Taken = a.New > 0
	refused := map[Code]int{}
	for _, run := range v.Runs {
		if run.Code != OK && run.Code != AlreadyCommitted {
			refused[run.Code]++
		}
		for _, batch := range run.Batches {
			if batch.Code != OK && batch.Code != DuplicateSequence {
				refused[batch.Code]++
			}
		}
	}
	for _, code := range slices.Sorted(maps.Keys(refused)) {
		a.Reason = strings.TrimPrefix(fmt.Sprintf("%s, %d of its runs or batches: %s", a.Reason, refused[code], code), ", ")
	}
	return a
}

// endsOf adds up the ends of the partitions that a chunk has runs of.
func (r *Recovery) endsOf(t chunk.Table) (sum int64) {
	for i := range t.Runs() {
		run := t.Run(i)
		if p := r.a.Partition(TopicPartition{run.Topic, run.Partition}); p != nil {
			sum += p.next
		}
	}
	return sum
}

// maxUnseenNodes bounds the nodes that may have registered after the last state that is known.
const maxUnseenNodes = 10_000

// AdoptDisk says that the disk of a node is there whose registration may be newer than the last state that is known.
func (r *Recovery) AdoptDisk(id NodeID, disk [16]byte) error {
	s := r.a.State
	if known := s.nodeByDisk[disk]; known != nil {
		if known.ID != id {
			return fmt.Errorf("disk %x is node %d's, its chunks say %d", disk, known.ID, id)
		}
		return nil
	}
	if id < 1 || id >= s.nextNode+maxUnseenNodes || id < s.nextNode && (s.Dropped(id) || s.Node(id).DiskID != unseenDisk(id)) {
		return fmt.Errorf("disk %x is not known, and node %d is another's", disk, id)
	}
	r.ensureNode(id)
	n := s.Node(id)
	delete(s.nodeByDisk, n.DiskID)
	n.DiskID = disk
	s.nodeByDisk[disk] = n
	return nil
}

// DropObjects gives up what the state has in segment objects that are not there, or not whole, and returns what that was.
func (r *Recovery) DropObjects(gone map[SegmentID]bool) map[SegmentID][]PartitionRange {
	s := r.a.State
	dropped := map[SegmentID][]PartitionRange{}
	for _, t := range s.topicOrder {
		for _, p := range t.partitions {
			p.parts = slices.DeleteFunc(p.parts, func(x part) bool {
				if !gone[x.object.id] {
					return false
				}
				dropped[x.object.id] = append(dropped[x.object.id], PartitionRange{TopicPartition{t.ID, p.index}, x.base, x.next})
				p.partBytes -= x.length
				r.addSpan(p, span{base: x.base, next: x.next, known: true})
				return true
			})
		}
	}
	for id := range gone {
		delete(s.objects, id)
	}
	return dropped
}

// PartitionRange is a range of offsets of a partition.
type PartitionRange struct {
	Partition              TopicPartition
	BaseOffset, NextOffset int64
}

// DropChunk gives up what the state has in an object chunk that is not there, or not whole.
func (r *Recovery) DropChunk(id ChunkID) (runs int) {
	s := r.a.State
	c := s.chunks[id]
	if c == nil {
		return 0
	}
	for _, t := range s.topicOrder {
		for _, p := range t.partitions {
			n := len(p.runs)
			r.dropRuns(p, func(held *container) bool { return held == c })
			runs += n - len(p.runs)
		}
	}
	return runs
}

// ensureNode makes a node known that registered after the last state that is known. Nobody has its disk.
func (r *Recovery) ensureNode(id NodeID) {
	s := r.a.State
	for ; s.nextNode <= id; s.nextNode++ {
		n := &Node{ID: s.nextNode, DiskID: unseenDisk(s.nextNode), goneMillis: s.timeMillis}
		s.nodes = append(s.nodes, n)
		s.nodeByDisk[n.DiskID] = n
	}
}

// unseenDisk stands for the disk of a node of which no more than the number is known.
func unseenDisk(id NodeID) [16]byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "recovered node %d", id))
	return [16]byte(sum[:16])
}
