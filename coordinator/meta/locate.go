package meta

// Tier tells where the bytes of an extent are.
type Tier uint8

// The tiers.
const (
	TierHot     Tier = iota + 1 // a hot segment on a node's disk
	TierChunk                   // an object chunk, not yet shipped
	TierSegment                 // a stored segment object
	TierMarker                  // a transaction's marker, which has no bytes: Location.Marker is all there is
	TierGap                     // nowhere: declared lost with the disk that had them. Extents names them, Locate passes over
)

// Location is where an extent of a partition is: a run or a part.
type Location struct {
	Tier                   Tier
	BaseOffset, NextOffset int64 // half-open. May begin below the log start: what lies below is not to be served
	MaxTimestamp           int64 // milliseconds, -1 for none
	Position, Length       uint64

	// Runs (TierHot, TierChunk).
	Container ContainerID
	Node      NodeID
	NodeEpoch uint64
	DiskID    [16]byte // of the node: a disk of another id does not hold the bytes
	Segment   uint64   // TierHot: the hot log segment; Position counts from its first byte
	Chunk     ChunkID  // TierChunk: names the object
	Copy      Copy     // TierHot, in the class replicated: where the same bytes are a second time

	// Parts (TierSegment).
	Object                     SegmentID
	ObjectBytes                uint64
	IndexPosition, IndexLength uint64
	MaxTimestampOffset         int64
	Records                    uint64

	Marker TransactionMarker // TierMarker
}

// Copy is the second place of a run's bytes. The zero value is none.
type Copy struct {
	Node     NodeID
	DiskID   [16]byte
	Segment  uint64
	Position uint64
}

// Key is the object's key for TierChunk and TierSegment, empty for TierHot.
func (l Location) Key() string {
	switch l.Tier {
	case TierChunk:
		return l.Chunk.Key()
	case TierSegment:
		return l.Object.Key()
	}
	return ""
}

// Locate finds the extent that holds offset, or the next one above it; false where there is none. Where a shipped run is still
// kept in its container, that is the answer.
func (s *State) Locate(tp TopicPartition, offset int64) (Location, bool) {
	p := s.Partition(tp)
	if p == nil || offset >= p.next {
		return Location{}, false
	}
	offset = max(offset, p.logStart)
	best, found := s.locateRun(p.runs, offset)
	if l, ok := s.locateRun(p.local, offset); ok && (!found || nearer(l, best, offset)) {
		best, found = l, true
	}
	if l, ok := p.locatePart(offset); ok && (!found || nearer(l, best, offset)) {
		best, found = l, true
	}
	if i := firstMarker(p.markers, offset); i < len(p.markers) && (!found || p.markers[i].Offset < max(best.BaseOffset, offset)) {
		best, found = p.markers[i].location(), true
	}
	return best, found
}

func (m *TransactionMarker) location() Location {
	return Location{Tier: TierMarker, BaseOffset: m.Offset, NextOffset: m.Offset + 1, MaxTimestamp: -1, MaxTimestampOffset: -1, Marker: *m}
}

// Extents calls yield for the extents that a partition is made of, in order of offsets, until it answers false. Copies that local retention
// keeps are not among them.
func (s *State) Extents(p *Partition, yield func(Location) bool) {
	runs, parts, markers, gaps := p.runs, p.parts, p.markers, p.gaps
	for len(runs)+len(parts)+len(markers)+len(gaps) > 0 {
		var l Location
		switch earliest(runs, parts, markers, gaps) {
		case earliestGap:
			l, gaps = Location{Tier: TierGap, BaseOffset: gaps[0].base, NextOffset: gaps[0].next, MaxTimestamp: -1, MaxTimestampOffset: -1}, gaps[1:]
		case earliestRun:
			l, runs = s.runLocation(&runs[0]), runs[1:]
		case earliestPart:
			l, parts = parts[0].location(), parts[1:]
		case earliestMarker:
			l, markers = markers[0].location(), markers[1:]
		}
		if !yield(l) {
			return
		}
	}
}

// LocateStored is Locate for parts alone: where to read when a local copy cannot be had.
func (s *State) LocateStored(tp TopicPartition, offset int64) (Location, bool) {
	p := s.Partition(tp)
	if p == nil || offset >= p.next {
		return Location{}, false
	}
	return p.locatePart(max(offset, p.logStart))
}

// nearer says whether l answers for offset better than than.
func nearer(l, than Location, offset int64) bool {
	return max(l.BaseOffset, offset) < max(than.BaseOffset, offset)
}

func (s *State) locateRun(runs []run, offset int64) (Location, bool) {
	i := firstRun(runs, offset)
	if i == len(runs) {
		return Location{}, false
	}
	return s.runLocation(&runs[i]), true
}

func (p *Partition) locatePart(offset int64) (Location, bool) {
	i := firstPart(p.parts, offset)
	if i == len(p.parts) {
		return Location{}, false
	}
	return p.parts[i].location(), true
}

func (s *State) runLocation(r *run) Location {
	c := s.containerSlots[r.container]
	l := Location{
		Tier: TierHot, BaseOffset: r.base, NextOffset: r.next(), MaxTimestamp: r.maxTimestamp,
		Position: uint64(r.position), Length: uint64(r.length), Records: uint64(r.records),
		Container: c.id, Node: c.node, NodeEpoch: c.epoch, DiskID: s.Node(c.node).DiskID, Segment: c.segment, MaxTimestampOffset: -1,
	}
	if c.isChunk() {
		l.Tier, l.Chunk = TierChunk, c.chunkID()
	}
	if c.copy.node != 0 {
		l.Copy = Copy{Node: c.copy.node, DiskID: s.Node(c.copy.node).DiskID, Segment: c.copy.segment, Position: uint64(c.copyPosition(r.position))}
	}
	return l
}

func (p *part) location() Location {
	return Location{
		Tier: TierSegment, BaseOffset: p.base, NextOffset: p.next, MaxTimestamp: p.maxTimestamp, Position: p.position, Length: p.length,
		Object: p.object.id, ObjectBytes: p.object.sizeBytes, IndexPosition: p.indexPosition, IndexLength: p.indexLength,
		MaxTimestampOffset: p.maxTimestampOffset, Records: p.records,
	}
}

// OffsetForTime finds the first extent that ends above offset from and whose maximum timestamp is at least millis: the first
// such record of the partition is in it, or, where it lies below the log start, in the next one. False where there is none.
func (s *State) OffsetForTime(tp TopicPartition, millis, from int64) (Location, bool) {
	p := s.Partition(tp)
	if p == nil {
		return Location{}, false
	}
	from = max(from, p.logStart)
	var best Location
	found := false
	take := func(l Location) {
		if !found || nearer(l, best, from) {
			best, found = l, true
		}
	}
	for _, runs := range [...][]run{p.runs, p.local} {
		for i := firstRun(runs, from); i < len(runs); i++ {
			if runs[i].maxTimestamp >= millis {
				take(s.runLocation(&runs[i]))
				break
			}
		}
	}
	for i := firstPart(p.parts, from); i < len(p.parts); i++ {
		if p.parts[i].maxTimestamp >= millis {
			take(p.parts[i].location())
			break
		}
	}
	return best, found
}

// MaxTimestamp finds, of the extents that end above offset from, the first with the highest timestamp; false where no record of theirs has one. What
// an extent has is an upper bound where the log start has cut into it.
func (s *State) MaxTimestamp(tp TopicPartition, from int64) (Location, bool) {
	p := s.Partition(tp)
	if p == nil {
		return Location{}, false
	}
	from = max(from, p.logStart)
	highest := int64(-1)
	for i := firstRun(p.runs, from); i < len(p.runs); i++ {
		highest = max(highest, p.runs[i].maxTimestamp)
	}
	for i := firstPart(p.parts, from); i < len(p.parts); i++ {
		highest = max(highest, p.parts[i].maxTimestamp)
	}
	if highest < 0 {
		return Location{}, false
	}
	return s.OffsetForTime(tp, highest, from)
}

// LocateCut finds the run or part that the log start has cut into; false where it has cut into none.
func (s *State) LocateCut(tp TopicPartition) (Location, bool) {
	p := s.Partition(tp)
	if p == nil {
		return Location{}, false
	}
	if i := firstRun(p.runs, p.logStart); i < len(p.runs) && p.runs[i].base < p.logStart {
		return s.runLocation(&p.runs[i]), true
	}
	if i := firstPart(p.parts, p.logStart); i < len(p.parts) && p.parts[i].base < p.logStart {
		return p.parts[i].location(), true
	}
	return Location{}, false
}
