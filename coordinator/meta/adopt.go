package meta

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
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
}

// Adoption says what has become of a part or chunk.
type Adoption struct {
	// Taken: it is part of the log now. New counts the offsets that the state did not know.
	Taken bool
	New   int64
	// Skipped counts the offsets before it that nothing is known of.
	Skipped int64
	// Reason says why it was not taken; empty where all of it was there already.
	Reason string
}

// AdoptPart takes a part of a stored object into the index, where it continues what is there or takes the place of unshipped runs with
// the same offsets. events are those of its batches. It is to be called in order of base offset for each partition.
func (r *Recovery) AdoptPart(id SegmentID, sizeBytes uint64, createdMillis int64, c *metapb.Part, events []PartEvent) Adoption {
	s := r.a.State
	p := s.Partition(TopicPartition{TopicID(c.TopicId), c.Partition})
	if p == nil {
		return Adoption{Reason: "its topic is not known"}
	}
	fresh := p.next == 0 && len(p.parts)+len(p.runs)+len(p.markers) == 0 && len(r.lost[p]) == 0
	if fresh {
		p.logStart, p.next = c.BaseOffset, c.BaseOffset
	}
	switch at := firstPart(p.parts, c.BaseOffset); {
	case c.NextOffset <= p.logStart:
		return Adoption{} // retention has taken it
	case at < len(p.parts) && p.parts[at].base < c.NextOffset:
		return Adoption{} // its records are there in another object, or it is what such a one was made of
	}
	var a Adoption
	if c.BaseOffset > p.next {
		a.Skipped = c.BaseOffset - p.next
		r.addSpan(p, span{base: p.next, next: c.BaseOffset})
		p.next = c.BaseOffset
		r.abortOpen(p)
	}
	known := min(c.NextOffset, p.next)
	if c.BaseOffset < known {
		from, to, ok := r.tiled(p, c.BaseOffset, known)
		if !ok {
			return Adoption{Reason: fmt.Sprintf("what is known of [%d, %d) does not begin and end there", c.BaseOffset, known)}
		}
		covered := slices.Clone(p.runs[from:to])
		p.runs = cutRuns(p.runs, from, to)
		p.cutMarkers(c.BaseOffset, known)
		r.cutSpans(p, c.BaseOffset, known)
		p.runBytes -= sumLengths(covered)
		r.a.dropLive(covered)
	}
	stored := s.objects[id]
	if stored == nil {
		stored = &object{id: id, sizeBytes: sizeBytes, createdMillis: createdMillis}
		s.objects[id] = stored
		s.nextJob = max(s.nextJob, id.Job+1)
	}
	a.New = max(0, c.NextOffset-p.next)
	next := p.next
	r.insertPart(p, stored, c)
	for _, e := range events {
		if e.Offset >= next {
			r.replay(p, e)
		}
	}
	p.next = max(p.next, c.NextOffset)
	a.Taken = true
	return a
}

// replay does what the state would have done with a batch, had it known of it.
func (r *Recovery) replay(p *Partition, e PartEvent) {
	r.noteProducer(e.ProducerID)
	if e.Marker {
		r.epochs[e.ProducerID] = max(r.epochs[e.ProducerID], e.ProducerEpoch)
		first, open := p.OpenSince(e.ProducerID)
		if !open {
			return
		}
		p.open = slices.DeleteFunc(p.open, func(o openTransaction) bool { return o.producerID == e.ProducerID })
		if len(p.open) == 0 {
			p.open = nil
		}
		if t := r.a.transactionOf[e.ProducerID]; t != nil {
			if _, in := t.partitions[p]; in { // of the transaction that the state knows to be open
				r.ended[e.ProducerID] = e.Commit
				delete(t.partitions, p)
			}
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

// noteProducer keeps a producer id that was given, unseen, from being given again.
func (r *Recovery) noteProducer(id int64) {
	r.a.nextProducerID = max(r.a.nextProducerID, id+1)
}

// tiled finds the runs [from, to) that, with the markers and lost offsets between them, tile [base, next), or what the log start has left
// of it. Lost offsets may be cut anywhere.
func (r *Recovery) tiled(p *Partition, base, next int64) (from, to int, ok bool) {
	from = firstRun(p.runs, max(base, p.logStart))
	to = from
	markers := p.markers[firstMarker(p.markers, max(base, p.logStart)):]
	for at := max(base, p.logStart); at < next; {
		switch {
		case len(markers) > 0 && markers[0].Offset == at:
			at, markers = at+1, markers[1:]
		case to < len(p.runs) && (p.runs[to].base == at || to == from && p.runs[to].base < at && p.runs[to].base >= base):
			if at = p.runs[to].next(); at > next {
				return 0, 0, false
			}
			to++
		default:
			i := slices.IndexFunc(r.lost[p], func(s span) bool { return s.base <= at && at < s.next })
			if i < 0 {
				return 0, 0, false
			}
			at = min(r.lost[p][i].next, next)
		}
	}
	return from, to, true
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

// Rescue puts a part of an object that nothing refers to in the place of lost offsets: it was stored by a job that came to nothing, and holds
// the same records.
func (r *Recovery) Rescue(id SegmentID, sizeBytes uint64, createdMillis int64, c *metapb.Part) bool {
	p := r.a.Partition(TopicPartition{TopicID(c.TopicId), c.Partition})
	if p == nil || c.NextOffset > p.next {
		return false
	}
	loses := slices.ContainsFunc(r.lost[p], func(s span) bool { return s.known && s.base < c.NextOffset && c.BaseOffset < s.next })
	return loses && r.AdoptPart(id, sizeBytes, createdMillis, c, nil).Taken
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

// Elsewhere says what there is of a chunk's records outside of it.
type Elsewhere struct {
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

// DropObject gives up what the state has in a segment object that is not there, or not whole. It returns how many parts there were.
func (r *Recovery) DropObject(id SegmentID) (parts int) {
	s := r.a.State
	for _, t := range s.topicOrder {
		for _, p := range t.partitions {
			p.parts = slices.DeleteFunc(p.parts, func(x part) bool {
				if x.object.id != id {
					return false
				}
				parts++
				p.partBytes -= x.length
				r.addSpan(p, span{base: x.base, next: x.next, known: true})
				return true
			})
		}
	}
	delete(s.objects, id)
	return parts
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
