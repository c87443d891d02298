package meta

import (
	"cmp"
	"slices"
)

// container holds runs before shipping: a hot segment of a node, or an object chunk.
//
//	open ──seal──▶ waiting ──lease──▶ leased ──result──▶ (no live runs, no local copies) released
//	                  ▲                  │
//	                  └──failed/expired──┘
//
// A container of the class replicated is a pair of hot segments, the node's own and that of the peer which has copies of its chunks: a
// hot segment may be in several containers, and is released with the last of them, once it is sealed. It then goes to its node's list of
// files to delete; an object chunk becomes garbage.
type container struct {
	id    ContainerID
	slot  uint32
	node  NodeID
	epoch uint64
	// segment is the hot segment; 0 for an object chunk, which has lane and seq instead.
	segment uint64
	lane    uint32
	seq     uint64
	hedge   uint32 // which of the chunk's keys it stands under
	// copy is the peer's hot segment, of a replicated container; places says where in both its chunks are.
	copy   hotKey
	places []chunkPlace

	sealed          bool
	job             JobID // 0 where no job has it
	attempts        uint32
	notBeforeMillis int64 // no lease before that: the last one came to nothing
	createdMillis   int64

	// What is derived from the partitions' runs.
	liveRuns, localRuns int
	heldRuns            int // of the live ones, those that open transactions keep from being shipped
	liveBytes           uint64
	partitions          []uint32 // slots of partitions that may have runs here, live or local; may be stale or double

	earlier, later *container // its neighbours by id, nil at the ends
}

// hotKey names a hot segment, a file of a node.
type hotKey struct {
	node    NodeID
	segment uint64
}

// hotKeys names a container of hot segments: copy is the zero value where there is none.
type hotKeys struct{ source, copy hotKey }

func (c *container) keys() hotKeys { return hotKeys{hotKey{c.node, c.segment}, c.copy} }

func (c *container) isChunk() bool    { return c.segment == 0 }
func (c *container) chunkID() ChunkID { return ChunkID{c.node, c.epoch, c.lane, c.seq, c.hedge} }

// otherThan is the node that has the container too, 0 where there is none.
func (c *container) otherThan(id NodeID) NodeID {
	if c.copy.node == id {
		return c.node
	}
	return c.copy.node
}

// waits says whether a job may take the container.
func (c *container) waits(nowMillis int64) bool {
	return c.sealed && c.job == 0 && c.liveRuns > c.heldRuns && c.notBeforeMillis <= nowMillis
}

// addContainer enters a container whose identity is set.
func (s *State) addContainer(c *container) *container {
	if n := len(s.freeSlots); n > 0 {
		c.slot, s.freeSlots = s.freeSlots[n-1], s.freeSlots[:n-1]
		s.containerSlots[c.slot] = c
	} else {
		c.slot = uint32(len(s.containerSlots))
		s.containerSlots = append(s.containerSlots, c)
	}
	s.containers[c.id] = c
	c.earlier, c.later = s.newestContainer, nil // ids only grow
	if c.earlier == nil {
		s.oldestContainer = c
	} else {
		c.earlier.later = c
	}
	s.newestContainer = c
	if c.isChunk() {
		s.chunks[c.chunkID()] = c
	} else {
		s.addHot(c)
	}
	return c
}

func (s *State) newContainer(c container) *container {
	c.id, c.createdMillis = s.nextContainer, s.timeMillis
	s.nextContainer++
	return s.addContainer(&c)
}

// isIn notes that the partition has runs in the container. Those that are kept as local copies count as well: a snapshot tells of them too, and who has read
// it must find what others find (ForgetNode).
func (p *Partition) isIn(c *container) {
	if p.lastContainer != c.id {
		p.lastContainer = c.id
		c.partitions = append(c.partitions, p.slot)
	}
}

// unlink takes a container out of the order. It costs the same however many there are: what deletes a topic that was not shipped may release millions at once, the
// oldest first.
func (s *State) unlink(c *container) {
	if c.earlier == nil {
		s.oldestContainer = c.later
	} else {
		c.earlier.later = c.later
	}
	if c.later == nil {
		s.newestContainer = c.earlier
	} else {
		c.later.earlier = c.earlier
	}
	c.earlier, c.later = nil, nil
}

// byID calls yield for every container, oldest first, until it answers false. The containers must not change meanwhile.
func (s *State) byID(yield func(*container) bool) {
	for c := s.oldestContainer; c != nil && yield(c); c = c.later {
	}
}

// dropIfDone releases a container that nothing refers to and nothing will be added to.
func (a *applier) dropIfDone(c *container) {
	if !c.sealed || c.liveRuns > 0 || c.localRuns > 0 {
		return
	}
	s := a.State
	if j := s.jobs[c.job]; j != nil {
		j.containers = slices.DeleteFunc(j.containers, func(id ContainerID) bool { return id == c.id })
	}
	delete(s.containers, c.id)
	s.unlink(c)
	s.containerSlots[c.slot] = nil
	s.freeSlots = append(s.freeSlots, c.slot)
	if c.isChunk() {
		delete(s.chunks, c.chunkID())
		a.addChunkGarbage(c.chunkID(), c.createdMillis)
	} else {
		s.dropHot(c)
	}
	s.dueByDepartures()
	a.changed(ChangedContainers)
}

// dropLive takes runs, which their partition has let go of, out of their containers' live runs.
func (a *applier) dropLive(runs []run) {
	for i := range runs {
		c := a.containerSlots[runs[i].container]
		c.liveRuns--
		c.liveBytes -= uint64(runs[i].length)
		a.dropIfDone(c)
	}
}

// dropLocal is dropLive for copies kept by local retention.
func (a *applier) dropLocal(runs []run) {
	for i := range runs {
		c := a.containerSlots[runs[i].container]
		c.localRuns--
		a.dropIfDone(c)
	}
}

// ContainerRun is a live run of a container.
type ContainerRun struct {
	Partition  TopicPartition
	BaseOffset int64
	Records    uint32
	Position   uint32
	Length     uint32
	// CopyPosition is the position in the copy's segment, where the container has a copy.
	CopyPosition uint32
	Marker       *TransactionMarker // nil, or what stands at the offset: there are no bytes
}

// Container is a view of a container for readers.
type Container struct {
	ID        ContainerID
	Node      NodeID
	NodeEpoch uint64
	Segment   uint64  // the hot segment, 0 for an object chunk
	Chunk     ChunkID // the object chunk, where Segment is 0
	// CopyNode has a copy of every chunk in its CopySegment, in the class replicated; 0 for none.
	CopyNode    NodeID
	CopySegment uint64
	Sealed      bool
	Job         JobID
	LiveRuns    int
	LiveBytes   uint64
	LocalRuns   int
}

// IsChunk says whether the container is an object chunk.
func (c Container) IsChunk() bool { return c.Segment == 0 }

func (c *container) view() Container {
	v := Container{
		ID: c.id, Node: c.node, NodeEpoch: c.epoch, Segment: c.segment, CopyNode: c.copy.node, CopySegment: c.copy.segment, Sealed: c.sealed, Job: c.job,
		LiveRuns: c.liveRuns, LiveBytes: c.liveBytes, LocalRuns: c.localRuns,
	}
	if c.isChunk() {
		v.Chunk = c.chunkID()
	}
	return v
}

// Containers calls yield for every container, oldest first, until it answers false.
func (s *State) Containers(yield func(Container) bool) {
	for c := range s.byID {
		if !yield(c.view()) {
			return
		}
	}
}

// UnshippedRuns counts the live runs of all containers: what the cluster-wide budget of runs is held against.
func (s *State) UnshippedRuns() (runs int) {
	for c := range s.byID {
		runs += c.liveRuns
	}
	return runs
}

// ContainerRuns are the live runs of a container in order of position. The slice is the caller's.
func (s *State) ContainerRuns(id ContainerID) []ContainerRun {
	c := s.containers[id]
	if c == nil {
		return nil
	}
	return s.runsOf([]*container{c}, false)[c.slot]
}

// runsOf are the live runs of containers by their slot, in order of position. Each partition is gone through once, however many of
// the containers it is in: readers hold up the log meanwhile. With shippable, those that an open transaction holds are left out, and the
// transaction markers that go to the bucket with the others stand behind them.
func (s *State) runsOf(containers []*container, shippable bool) map[uint32][]ContainerRun {
	out := make(map[uint32][]ContainerRun, len(containers))
	markers := map[uint32][]ContainerRun{}
	var slots []uint32
	for _, c := range containers {
		out[c.slot] = make([]ContainerRun, 0, c.liveRuns)
		slots = append(slots, c.partitions...)
	}
	slices.Sort(slots)
	for _, slot := range slices.Compact(slots) {
		p := s.partitions[slot]
		if p == nil {
			continue
		}
		tp := TopicPartition{p.topic.ID, p.index}
		alone := shippable
		for i := range p.runs {
			r := &p.runs[i]
			runs, wanted := out[r.container]
			if !wanted || shippable && p.held(r) {
				continue
			}
			if alone {
				alone = false
				p.strandedMarkers(func(m TransactionMarker) {
					markers[r.container] = append(markers[r.container], ContainerRun{Partition: tp, BaseOffset: m.Offset, Records: 1, Marker: &m})
				})
			}
			out[r.container] = append(runs, ContainerRun{Partition: tp, BaseOffset: r.base, Records: r.records, Position: r.position, Length: r.length})
			if shippable {
				p.markersWith(r, func(m TransactionMarker) {
					markers[r.container] = append(markers[r.container], ContainerRun{Partition: tp, BaseOffset: m.Offset, Records: 1, Marker: &m})
				})
			}
		}
	}
	for slot, runs := range out {
		s.containerSlots[slot].placeCopies(runs)
		slices.SortFunc(runs, func(x, y ContainerRun) int { return cmp.Compare(x.Position, y.Position) })
	}
	for slot, some := range markers {
		out[slot] = append(out[slot], some...)
	}
	return out
}
