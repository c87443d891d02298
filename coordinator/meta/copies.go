package meta

import (
	"cmp"
	"math"
	"slices"
	"sort"

	"github.com/varvelog/varve/coordinator/metapb"
)

// chunkPlace is where a replicated chunk's first byte is, in the source's hot segment and in the copy's. A container has one for each
// of its chunks, ascending: with the 32 bytes of a run that is at most 48 for each, whatever the spare room of both lists.
type chunkPlace struct{ source, copy uint32 }

func copyKey(c *metapb.ChunkCopy) hotKey {
	if c == nil {
		return hotKey{}
	}
	return hotKey{NodeID(c.NodeId), c.Segment}
}

// judgeCopy demands that the copy, where there is one, is on another node, was made in its present epoch, and is in a segment that
// nobody has been told to delete.
func (a *applier) judgeCopy(c *metapb.CommitChunk, bytes uint64) Code {
	if c.Copy == nil {
		return OK
	}
	peer := a.Node(NodeID(c.Copy.NodeId))
	switch {
	case a.Dropped(NodeID(c.Copy.NodeId)):
		return SegmentSealed
	case peer == nil, c.Copy.NodeId == c.NodeId, c.Copy.Segment == 0, uint64(c.Copy.Position)+bytes > math.MaxUint32:
		return Malformed
	case peer.Epoch != c.Copy.NodeEpoch, c.Copy.Segment <= peer.highSegment:
		return SegmentSealed
	}
	return OK
}

// addPlace notes a chunk of the container. Chunks of a lane are committed in the order in which they were appended.
func (c *container) addPlace(place chunkPlace) {
	if len(c.places) == cap(c.places) {
		grown := make([]chunkPlace, len(c.places), len(c.places)+len(c.places)/4+2)
		copy(grown, c.places)
		c.places = grown
	}
	c.places = append(c.places, place)
}

// copyPosition is where the copy has what the source has at position.
func (c *container) copyPosition(position uint32) uint32 {
	i := sort.Search(len(c.places), func(i int) bool { return c.places[i].source > position }) - 1
	if i < 0 {
		return 0 // no run of a container lies before its first chunk
	}
	return c.places[i].copy + (position - c.places[i].source)
}

// placeCopies fills in where the copies of the container's runs are.
func (c *container) placeCopies(runs []ContainerRun) {
	if c.copy.node == 0 {
		return
	}
	for i := range runs {
		runs[i].CopyPosition = c.copyPosition(runs[i].Position)
	}
}

// addHot and dropHot keep track of a container by the hot segments it is in. A segment that is in no container any more, and in which
// there will be none, is its node's to delete.
func (s *State) addHot(c *container) {
	s.hot[c.keys()] = c
	for _, file := range c.filesOf() {
		s.files[file] = append(s.files[file], c)
	}
}

func (s *State) dropHot(c *container) {
	delete(s.hot, c.keys())
	for _, file := range c.filesOf() {
		left := slices.DeleteFunc(s.files[file], func(other *container) bool { return other == c })
		if len(left) > 0 {
			s.files[file] = left
			continue
		}
		delete(s.files, file)
		if n := s.Node(file.node); file.segment <= n.highSegment && !n.Forgotten {
			n.release(file.segment)
		}
	}
}

// filesOf are the hot segments the container is in.
func (c *container) filesOf() []hotKey {
	if c.copy.node == 0 {
		return []hotKey{{c.node, c.segment}}
	}
	return []hotKey{{c.node, c.segment}, c.copy}
}

func (n *Node) release(segment uint64) {
	if i, there := slices.BinarySearch(n.released, segment); !there {
		n.released = slices.Insert(n.released, i, segment)
	}
}

// sealSegments seals the node's hot segments up to last, and all containers in them: nothing will be added to any of them.
func (a *applier) sealSegments(n *Node, last uint64) {
	if last <= n.highSegment {
		return
	}
	n.highSegment = last
	var in []*container
	for file, containers := range a.files {
		if file.node == n.ID && file.segment <= last {
			in = append(in, containers...)
		}
	}
	slices.SortFunc(in, func(x, y *container) int { return cmp.Compare(x.id, y.id) })
	for _, c := range in {
		if !c.sealed {
			a.seal(c)
		}
	}
}

// packCopies writes the copies of containers that have some: 24 bytes, and 8 for each chunk (FORMAT.md).
func packCopies(containers []*container) []byte {
	var b []byte
	for _, c := range containers {
		if c.copy.node == 0 {
			continue
		}
		b = le.AppendUint64(b, uint64(c.id))
		b = le.AppendUint64(b, c.copy.segment)
		b = le.AppendUint32(b, uint32(c.copy.node))
		b = le.AppendUint32(b, uint32(len(c.places)))
		for _, p := range c.places {
			b = le.AppendUint32(b, p.source)
			b = le.AppendUint32(b, p.copy)
		}
	}
	return b
}

const packedCopySize = 24

// unpackCopies reads those of c, if they come next, and returns what follows.
func unpackCopies(c *container, b []byte) ([]byte, bool) {
	if len(b) == 0 {
		return b, true
	}
	if len(b) < packedCopySize {
		return b, false
	}
	if ContainerID(le.Uint64(b)) != c.id {
		return b, true
	}
	c.copy = hotKey{NodeID(le.Uint32(b[16:])), le.Uint64(b[8:])}
	count := int(le.Uint32(b[20:]))
	b = b[packedCopySize:]
	if count == 0 || count > len(b)/8 || c.copy.node == 0 || c.copy.segment == 0 || c.isChunk() {
		return b, false
	}
	c.places = make([]chunkPlace, count)
	for i := range c.places {
		c.places[i] = chunkPlace{le.Uint32(b), le.Uint32(b[4:])}
		if b = b[8:]; i > 0 && c.places[i-1].source >= c.places[i].source {
			return b, false
		}
	}
	return b, true
}
