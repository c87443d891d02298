package meta

import (
	"math"
	"slices"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

// commitScratch is the verdict under construction, reused from chunk to chunk.
type commitScratch struct {
	verdict ChunkVerdict
	batches []BatchVerdict
}

// commitChunk gives the chunk's runs their offsets.
func (a *applier) commitChunk(c *metapb.CommitChunk) *ChunkVerdict {
	v := &a.commit.verdict
	v.Code, v.Expected, v.Runs = OK, 0, v.Runs[:0]
	n := a.Node(NodeID(c.NodeId))
	if n == nil || n.Epoch != c.NodeEpoch {
		v.Code = Fenced
		return v
	}
	if c.Lane >= MaxLanes {
		v.Code = Malformed
		return v
	}
	v.Expected = n.nextSeq(c.Lane)
	switch {
	case c.Seq < v.Expected:
		v.Code = AlreadyCommitted
		return v
	case c.Seq > v.Expected:
		v.Code = WrongSeq
		return v
	case c.VoidChunk:
		n.useSeq(c.Lane, c.Seq)
		v.Expected++
		return v
	}
	t, code := a.judgeChunk(n, c)
	if code != OK {
		v.Code = code
		return v
	}
	n.useSeq(c.Lane, c.Seq)
	v.Expected++
	k := committer{applier: a, command: c, node: n}
	k.runs(t, v)
	switch {
	case c.Segment != 0:
	case k.container == nil: // nothing in it was accepted
		a.addLosers(n, c)
		a.addChunkGarbage(chunkID(n, c, c.Hedge), a.timeMillis)
	default:
		a.addLosers(n, c)
		a.seal(k.container)
	}
	return v
}

func chunkID(n *Node, c *metapb.CommitChunk, hedge uint32) ChunkID {
	return ChunkID{n.ID, c.NodeEpoch, c.Lane, c.Seq, hedge}
}

// addLosers lets go of the keys that the chunk does not stand under: its seq is committed without them.
func (a *applier) addLosers(n *Node, c *metapb.CommitChunk) {
	for hedge := range c.Hedges + 1 {
		if hedge != c.Hedge {
			a.addChunkGarbage(chunkID(n, c, hedge), a.timeMillis)
		}
	}
}

// judgeChunk judges what must be right for any of the chunk to be taken.
func (a *applier) judgeChunk(n *Node, c *metapb.CommitChunk) (chunk.Table, Code) {
	t, err := chunk.ParseTable(c.RunTable)
	if err != nil {
		return t, Malformed
	}
	object := c.Durability == metapb.Durability_DURABILITY_OBJECT
	hot := c.Durability == metapb.Durability_DURABILITY_LOCAL || c.Durability == metapb.Durability_DURABILITY_REPLICATED
	bytes := uint64(chunk.HeaderSize + len(c.RunTable) + t.BodyBytes())
	switch {
	case !object && !hot, object != (c.Segment == 0), object && c.Position != 0,
		c.Hedge > c.Hedges, c.Hedges > MaxHedges, c.Hedges > 0 && !object:
		return t, Malformed
	case c.ChunkBytes != bytes || uint64(c.Position)+bytes > math.MaxUint32:
		return t, Malformed
	case (c.Durability == metapb.Durability_DURABILITY_REPLICATED) != (c.Copy != nil):
		return t, Malformed
	case object:
		return t, OK
	case a.recovering:
		return t, OK // whatever was sealed since, nobody has been told to delete it who is asked any more
	case c.Segment <= n.highSegment:
		return t, SegmentSealed
	}
	return t, a.judgeCopy(c, bytes)
}

// committer is one chunk on its way into the index.
type committer struct {
	*applier
	command   *metapb.CommitChunk
	node      *Node
	container *container // nil until something was accepted
}

func (k *committer) runs(t chunk.Table, v *ChunkVerdict) {
	batches := k.commit.batches[:0]
	if cap(batches) < t.Details() {
		batches = make([]BatchVerdict, 0, t.Details()) // whole, so that views of it stay put
	}
	var topic *Topic
	for i := range t.Runs() {
		r := t.Run(i)
		if topic == nil || topic.ID != r.Topic {
			topic = k.topics[r.Topic]
		}
		rv := RunVerdict{BaseOffset: -1, LogStartOffset: -1}
		var p *Partition
		if topic != nil {
			p = topic.Partition(r.Partition)
		}
		switch {
		case p == nil:
			rv.Code = UnknownTopic
		case k.isStored(p, r.Position, r.Length):
			rv.Code = AlreadyCommitted
			for j := range r.Details {
				d := t.Detail(int(r.FirstDetail + j))
				k.noteStored(p, &d)
			}
		case topic.Config.Durability > k.command.Durability && !k.recovering:
			rv.Code, rv.LogStartOffset = WrongDurability, p.logStart
		default:
			before := p.next
			if r.Details == 0 {
				k.accept(p, r.Position, r.Length, r.Records, r.MaxTimestamp)
				rv.BaseOffset = before
			} else {
				from := len(batches)
				batches = k.detailedRun(p, t, &r, batches)
				rv.Batches = batches[from:len(batches):len(batches)]
				if p.next > before {
					rv.BaseOffset = before
				}
			}
			rv.LogStartOffset = p.logStart
			if p.next > before && k.obs != nil {
				k.obs.Committed(TopicPartition{topic.ID, p.index}, p.next)
			}
		}
		v.Runs = append(v.Runs, rv)
	}
	k.commit.batches = batches
}

// detailedRun judges a run batch by batch; what is accepted between refused batches becomes a run of its own.
func (k *committer) detailedRun(p *Partition, t chunk.Table, r *chunk.Run, verdicts []BatchVerdict) []BatchVerdict {
	position := r.Position
	piece := chunk.Run{Position: position, MaxTimestamp: -1}
	flush := func() {
		if piece.Records > 0 {
			k.accept(p, piece.Position, piece.Length, piece.Records, piece.MaxTimestamp)
		}
	}
	for i := range r.Details {
		d := t.Detail(int(r.FirstDetail + i))
		code, offset := AlreadyCommitted, int64(-1)
		if k.isStored(p, position, d.Length) {
			k.noteStored(p, &d)
		} else {
			code, offset = k.judge(p, &d)
		}
		if code == OK && k.recovering && k.turns(p, &d) {
			flush()
			piece = chunk.Run{Position: position, MaxTimestamp: -1}
			k.endOpen(p, d.ProducerID)
		}
		if code == OK {
			offset = p.next + int64(piece.Records)
			if d.ProducerID >= 0 {
				if !k.recovering || !p.producers.precedes(&d) {
					k.remember(p, &d, offset)
				}
				k.join(p, &d, offset)
				k.dueBy(addMillis(k.timeMillis, k.cluster.ProducerIDExpirationMillis))
			}
			piece.Length += d.Length
			piece.Records += d.Records
			piece.MaxTimestamp = max(piece.MaxTimestamp, d.MaxTimestamp)
		} else {
			flush()
			piece = chunk.Run{Position: position + d.Length, MaxTimestamp: -1}
		}
		position += d.Length
		verdicts = append(verdicts, BatchVerdict{code, offset})
	}
	flush()
	return verdicts
}

// isStored says whether a recovery has what stands at a position of the chunk from a segment.
func (k *committer) isStored(p *Partition, position, length uint32) bool {
	return k.recovering && k.elsewhere.Stored(TopicPartition{p.topic.ID, p.index}, k.command.Position+position, length)
}

// judge decides on one batch. A duplicate is one whatever has become of its transaction.
func (k *committer) judge(p *Partition, d *chunk.Detail) (Code, int64) {
	if k.recovering && k.isSeen(p, d) {
		return DuplicateSequence, -1
	}
	code, offset := p.producers.judge(d)
	if code == OutOfOrderSequence && k.recovering && p.producers.misses(d) && !k.elsewhere.Later(TopicPartition{p.topic.ID, p.index}, d) {
		code = OK
	}
	if (code == OutOfOrderSequence || code == InvalidProducerEpoch) && k.recovering && p.producers.precedes(d) && k.precedes(p, d) {
		code = OK
	}
	switch {
	case code == TransactionUnsupported || code == DuplicateSequence || d.ProducerID < 0:
		return code, offset
	case d.Attributes&attrTransactional != 0:
		if transactional := k.judgeTransactional(p, d); transactional != OK {
			return transactional, -1
		}
	case len(p.open) > 0:
		if _, open := p.OpenSince(d.ProducerID); open {
			return InvalidTransactionState, -1
		}
	}
	return code, offset
}

// judgeTransactional demands the present epoch, and that the partition is in the open transaction or may join one.
func (k *committer) judgeTransactional(p *Partition, d *chunk.Detail) Code {
	if k.recovering {
		return k.judgeAdopted(p, d)
	}
	t := k.transactionOf[d.ProducerID]
	joins := d.Attributes&chunk.AttrJoinsTransaction != 0
	switch {
	case t == nil:
		return InvalidProducerIDMapping
	case t.epoch != d.ProducerEpoch:
		return InvalidProducerEpoch
	case joins && d.BaseSequence != 0 && p.producers[d.ProducerID] == nil:
		return OutOfOrderSequence // an epoch begins at 0: what came before it is missing
	case joins:
		return OK
	}
	if _, in := t.partitions[p]; !in || t.state != TransactionOngoing {
		return InvalidTransactionState
	}
	return OK
}

// join notes that an accepted batch is the first of its transaction in the partition, or even at all.
func (k *committer) join(p *Partition, d *chunk.Detail, offset int64) {
	if d.Attributes&attrTransactional == 0 {
		return
	}
	if k.recovering {
		k.joinAdopted(p, d, offset)
		return
	}
	t := k.transactionOf[d.ProducerID]
	k.beginIfNone(t)
	if first, in := t.partitions[p]; !in || first < 0 {
		t.partitions[p] = offset
		p.begin(d.ProducerID, offset)
	}
}

// accept appends a run to the partition. position counts from the chunk's first byte.
func (k *committer) accept(p *Partition, position, length, records uint32, maxTimestamp int64) {
	c := k.container
	if c == nil {
		c = k.open()
	}
	first := len(p.runs)+len(p.markers) == 0 && !slices.ContainsFunc(p.parts, func(t part) bool { return t.records > 0 })
	p.runs = appendRun(p.runs, run{
		base: p.next, maxTimestamp: maxTimestamp, container: c.slot, position: k.command.Position + position, length: length, records: records,
	})
	p.next += int64(records)
	if p.held(&p.runs[len(p.runs)-1]) {
		c.heldRuns++
	}
	p.runBytes += uint64(length)
	c.liveRuns++
	c.liveBytes += uint64(length)
	p.isIn(c)
	if first || p.topic.Config.RetentionBytes >= 0 {
		k.dueByRetention(p)
	}
}

// open finds or makes the container that the chunk is in.
func (k *committer) open() *container {
	c := k.command
	fresh := container{node: k.node.ID, epoch: c.NodeEpoch, segment: c.Segment, copy: copyKey(c.Copy)}
	if n := k.holder; n != nil {
		fresh.node, fresh.epoch = n.ID, n.Epoch
		n.released = slices.DeleteFunc(n.released, func(segment uint64) bool { return segment == c.Segment })
	}
	k.container = k.hot[fresh.keys()]
	if c.Segment == 0 || k.container == nil {
		if c.Segment == 0 {
			fresh.lane, fresh.seq, fresh.hedge = c.Lane, c.Seq, c.Hedge
		}
		k.container = k.newContainer(fresh)
	}
	if c.Copy != nil {
		k.container.addPlace(chunkPlace{c.Position, c.Copy.Position})
	}
	return k.container
}
