package meta

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/varvelog/varve/coordinator/metapb"
)

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
	Events        []PartEvent // ascending
	Epochs        []PartEpoch // ascending
	// LeaderEpoch is the one that its directory has, though a bit of it may have flipped before: no batch can be read whose epoch is above the partition's.
	LeaderEpoch int32
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
	if c.BaseOffset >= known || known <= p.logStart || p.holds(c) {
		return tiles{}, ""
	}
	t, ok := r.tiled(p, c.BaseOffset, known)
	if !ok {
		return tiles{}, fmt.Sprintf("what is known of [%d, %d) does not begin and end there", c.BaseOffset, known)
	}
	return t, ""
}

// OffsetRange is [BaseOffset, NextOffset).
type OffsetRange struct{ BaseOffset, NextOffset int64 }

// Unknown are the offsets of a partition, in order, of which the records are gone, or of which nothing is known.
func (r *Recovery) Unknown(tp TopicPartition) (out []OffsetRange) {
	p := r.a.Partition(tp)
	if p == nil {
		return nil
	}
	for _, s := range r.spans(p) {
		out = append(out, OffsetRange{max(s.base, p.logStart), s.next})
	}
	return append(out, OffsetRange{p.next, math.MaxInt64})
}

// KnownLost are the offsets of a partition, in order, of which the state knew the records that are gone.
func (r *Recovery) KnownLost(tp TopicPartition) (out []OffsetRange) {
	p := r.a.Partition(tp)
	if p == nil {
		return nil
	}
	for _, s := range r.spans(p) {
		if s.known {
			out = append(out, OffsetRange{max(s.base, p.logStart), s.next})
		}
	}
	return out
}

// Epochs are where the leader epochs of a partition began, as far as is known.
func (r *Recovery) Epochs(tp TopicPartition) (out []PartEpoch) {
	if p := r.a.Partition(tp); p != nil {
		for _, e := range p.epochs {
			out = append(out, PartEpoch{e.epoch, e.start})
		}
	}
	return out
}

// RaiseLogStart says that a partition's log begins at an offset, or behind it: what is below was deleted, perhaps after the last state that is known. It
// comes before the partition's parts.
// Transactions that are open where offsets are not known are treated as before a hole. Of batches that were deleted, as parts tell, ascending, the partition
// remembers the producers: a chunk may have repeats. before is where the log began.
func (r *Recovery) RaiseLogStart(tp TopicPartition, offset int64, deleted []PartEvent) (before int64, raised bool) {
	p := r.a.Partition(tp)
	if p == nil || offset <= p.logStart {
		return 0, false
	}
	before = p.logStart
	if end := p.next; offset > end {
		p.next = offset
		for _, e := range deleted {
			if e.Offset >= end && e.Offset+int64(e.Records) <= offset {
				r.noteProducer(e.ProducerID)
				r.remember(p, &e)
			}
		}
		r.abortOpen(p, end, nil)
		for _, t := range r.a.transactions {
			delete(t.partitions, p)
		}
	}
	r.a.raiseLogStart(p, offset)
	return before, true
}

// holds says whether a part that is there has all of another's offsets, and more: it was made of it.
func (p *Partition) holds(c *metapb.Part) bool {
	at := firstPart(p.parts, c.BaseOffset)
	if at == len(p.parts) {
		return false
	}
	held := &p.parts[at]
	return held.base <= c.BaseOffset && held.next >= c.NextOffset && (held.base < c.BaseOffset || held.next > c.NextOffset)
}

// AdoptPart takes a part of a stored object into the index, where it fits (Fits). It is to be called in order of base offset for each partition.
func (r *Recovery) AdoptPart(stored StoredPart) Adoption {
	c := stored.Part
	s := r.a.State
	p := s.Partition(TopicPartition{TopicID(c.TopicId), c.Partition})
	if p == nil {
		return Adoption{Reason: "its topic is not known"}
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
		hole := span{base: p.next, next: c.BaseOffset}
		r.addSpan(p, hole)
		p.next = c.BaseOffset
		r.restoreEnds(p, hole.base)
		r.abortOpen(p, hole.base, stored.Events)
	}
	if known := min(c.NextOffset, p.next); c.BaseOffset < known {
		a.Regained = r.makeRoom(p, place, c.BaseOffset, known)
		p.forgetAborted(c, stored.Events)
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
		if e.Epoch > p.EpochAt(math.MaxInt64) && c.NextOffset > next {
			p.leaderEpoch = max(p.leaderEpoch, e.Epoch)
			p.epochs = append(p.epochs, epochStart{e.Epoch, max(e.Offset, next)}) // the log may start within it
		}
	}
	p.leaderEpoch = max(p.leaderEpoch, stored.LeaderEpoch)
	if r.belowEnd[p] != c.BaseOffset {
		delete(r.below, p) // what began there may have ended in between
	}
	for _, e := range stored.Events {
		if e.Offset+int64(e.Records) > next { // the log may start within it
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

// makeRoom lets go of what is known of [base, next), and returns how many of the offsets were lost.
func (r *Recovery) makeRoom(p *Partition, t tiles, base, next int64) (regained int64) {
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

// forgetAborted forgets the transactions that were aborted within a part that has no marker of theirs: compaction has dropped it with their records.
// Clients would wait for it.
func (p *Partition) forgetAborted(c *metapb.Part, events []PartEvent) {
	p.aborted = slices.DeleteFunc(p.aborted, func(t AbortedTransaction) bool {
		_, there := slices.BinarySearchFunc(events, t.LastOffset, func(e PartEvent, offset int64) int { return cmp.Compare(e.Offset, offset) })
		return t.FirstOffset >= c.BaseOffset && t.LastOffset < c.NextOffset && !there
	})
	if len(p.aborted) == 0 {
		p.aborted = nil
	}
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
	for i := firstPart(p.parts, at); at < next; i++ {
		if i == len(p.parts) || p.parts[i].base > at && !p.isGap(at, min(next, p.parts[i].base)) {
			return false
		}
		at = p.parts[i].next
	}
	return true
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
