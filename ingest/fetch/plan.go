package fetch

import "github.com/varvelog/varve/coordinator/meta"

const (
	// maxLocalExtents and maxRemoteExtents bound what one partition gets in one round.
	maxLocalExtents  = 2048
	maxRemoteExtents = 8
)

// cursor is how far the read of one partition has come.
type cursor struct {
	read *PartitionRead
	data *PartitionData
	next int64 // the offset after what has been read
	// bound is the offset up to which may be read: the high watermark, or the last stable offset.
	bound int64
	seen  int64 // the bound up to which was read or tried to be, -1 for none
	// more: everything planned was read, and there is more below the bound.
	more bool
	// doubt is an answer that needs a barrier before it is given.
	doubt Code
	// final: data.Code stands, nothing more is read.
	final bool
	// failures counts reads that missed bytes. After one, copies in the bucket are preferred.
	failures int
	// silent: the node that has what comes next has not answered in all the time there was.
	silent bool
	// abortedTo: the aborted transactions with records below it are in the answer.
	abortedTo int64
	extents   []extent
}

// plan decides what to read next, under one view of the state: of each partition that is not finished what lies between its
// cursor and the high watermark, as far as the limits go.
func (f *reading) plan(st *meta.State) {
	planned := 0
	count := len(f.cursors)
	for i := range count {
		c := &f.cursors[(int(f.request.Rotation%uint32(count))+i)%count]
		c.extents = c.extents[:0]
		if c.final || !f.inRange(c, st) {
			continue
		}
		planned += f.planPartition(c, st, planned)
	}
	f.planned = planned
}

// inRange brings the partition's watermarks up to date and tells whether there can be anything to read.
func (f *reading) inRange(c *cursor, st *meta.State) bool {
	c.doubt = OK
	if c.read.Open && !f.behindBarrier {
		c.doubt = OffsetNotAvailable
		return false
	}
	p := st.Partition(c.read.TopicPartition)
	if p == nil {
		c.doubt = UnknownTopic
		return false
	}
	d := c.data
	d.HighWatermark, d.LogStartOffset, d.LeaderEpoch = p.HighWatermark(), p.LogStartOffset(), p.LeaderEpoch()
	d.LastStableOffset = p.LastStableOffset()
	c.bound = d.HighWatermark
	if f.request.Committed {
		c.bound = d.LastStableOffset
	}
	switch epoch := c.read.LeaderEpoch; {
	case epoch >= 0 && epoch < p.LeaderEpoch():
		c.doubt, c.final, d.Code = OK, true, FencedLeaderEpoch
	case epoch > p.LeaderEpoch():
		c.doubt = UnknownLeaderEpoch
	case c.next > p.HighWatermark():
		c.doubt = OffsetOutOfRange
	case c.next >= p.LogStartOffset():
		return true
	case d.Bytes == 0:
		c.final, d.Code = true, OffsetOutOfRange
	}
	// Otherwise the log start has passed what was read: it is returned, and the next request hears of it.
	return false
}

// planPartition collects extents of one partition and returns the bytes they may take; planned are those of the partitions
// before it.
func (f *reading) planPartition(c *cursor, st *meta.State, planned int) int {
	end := c.bound
	if c.seen == end && !c.more {
		return 0
	}
	left := max(0, min(c.read.MaxBytes-c.data.Bytes, f.left()-planned))
	// KIP-74: whatever the limits, the first partition that has anything gets a batch.
	mustHave := f.bytes == 0 && planned == 0
	total, offset := 0, c.next
	for offset < end && (left > 0 || mustHave && len(c.extents) == 0) {
		e := f.locate(c, st, offset)
		if len(c.extents) > 0 && !f.joins(c, &e) {
			break
		}
		e.limit = left
		if e.mustHave = mustHave && len(c.extents) == 0; e.mustHave {
			e.beyond.room = f.room
		}
		if !e.hole {
			n := int(min(uint64(left), e.sizeBytes()))
			left -= n
			total += max(n, 1)
		}
		if offset = e.loc.NextOffset; offset > end {
			e.to = end
		}
		c.extents = append(c.extents, e)
	}
	if f.request.Committed && offset > c.next {
		c.noteAborted(st, min(offset, end))
	}
	return total
}

// noteAborted adds the aborted transactions of what is planned up to an offset. It is done with the plan: by the time the records are
// read the log start may have passed them.
func (c *cursor) noteAborted(st *meta.State, to int64) {
	p, had := st.Partition(c.read.TopicPartition), len(c.data.Aborted)
	c.data.Aborted = p.AbortedTransactions(c.data.Aborted, c.next, to)
	kept := c.data.Aborted[:had]
	for _, t := range c.data.Aborted[had:] {
		if t.FirstOffset >= c.abortedTo {
			kept = append(kept, t)
		}
	}
	c.data.Aborted, c.abortedTo = kept, max(c.abortedTo, to)
}

// joins tells whether e may follow the partition's extents in the same round: those of a kind are read together.
func (f *reading) joins(c *cursor, e *extent) bool {
	first := c.firstRead()
	if e.made() || first == nil {
		return len(c.extents) < maxLocalExtents
	}
	if first.local != e.local {
		return false
	}
	if e.local {
		return len(c.extents) < maxLocalExtents
	}
	return len(c.extents) < maxRemoteExtents
}

// firstRead is the first extent that is to be read from somewhere, nil for none.
func (c *cursor) firstRead() *extent {
	for k := range c.extents {
		if !c.extents[k].made() {
			return &c.extents[k]
		}
	}
	return nil
}

// locate finds the extent that holds offset, which is below the high watermark, or the hole in which it lies.
func (f *reading) locate(c *cursor, st *meta.State, offset int64) extent {
	tp := c.read.TopicPartition
	e := extent{tp: tp, leaderEpoch: c.data.LeaderEpoch, from: offset}
	loc, ok := st.Locate(tp, offset)
	if c.failures > 0 {
		if storedLoc, found := st.LocateStored(tp, offset); found && storedLoc.BaseOffset <= offset {
			loc, ok = storedLoc, true
		}
	}
	switch {
	case !ok:
		e.hole = true
		e.loc = meta.Location{BaseOffset: offset, NextOffset: c.data.HighWatermark}
	case loc.BaseOffset > offset:
		e.hole = true
		e.loc = meta.Location{BaseOffset: offset, NextOffset: loc.BaseOffset}
	default:
		e.loc = loc
		f.reader.place(&e, st, c.failures)
	}
	return e
}

// place tells whether an extent is on the node's own disk, or at whose address it is. Of two copies it takes the one that is here, or
// else one whose node lives; after a read that failed, the other first. The second place stays for readAt to fall back on.
func (r *Reader) place(e *extent, st *meta.State, failures int) {
	if e.loc.Tier != meta.TierHot {
		return
	}
	isCopied := e.loc.Copy.Node != 0
	if isCopied && r.prefersCopy(&e.loc, st) != (failures%2 == 1) {
		e.swap()
	}
	if e.local = e.loc.DiskID == r.diskID && r.log != nil; e.local {
		return
	}
	if n := st.Node(e.loc.Node); n != nil {
		e.address = n.InternalAddress
	}
	if n := st.Node(e.loc.Copy.Node); n != nil {
		e.otherAddress = n.InternalAddress
	}
}

func (r *Reader) prefersCopy(l *meta.Location, st *meta.State) bool {
	if r.log != nil && (l.DiskID == r.diskID || l.Copy.DiskID == r.diskID) {
		return l.Copy.DiskID == r.diskID
	}
	source, held := st.Node(l.Node), st.Node(l.Copy.Node)
	return (source == nil || !source.Live) && held != nil && held.Live
}
