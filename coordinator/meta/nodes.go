package meta

import (
	"slices"

	"github.com/varvelog/varve/coordinator/metapb"
)

// MaxLanes bounds the lanes of a node. Lane 0 is local, 1 is object, 2 is replicated.
const MaxLanes = 16

// Node is an ingest node, known by its disk.
type Node struct {
	ID              NodeID
	DiskID          [16]byte
	Epoch           uint64 // raised by each registration of a new incarnation; the older ones are fenced
	Zone            string
	KafkaHost       string
	KafkaPort       int32
	InternalAddress string
	Live            bool
	Forgotten       bool // its disk has been given up, and it has not come back since

	incarnation []byte
	lanes       []uint64 // the last seq taken in each lane of this epoch
	released    []uint64 // hot segments to delete, ascending
	highSegment uint64   // the highest hot segment that is sealed: it and all below it are never committed to again
}

// Node is the node with this id, nil where there is none.
func (s *State) Node(id NodeID) *Node {
	if id < 1 || int(id) > len(s.nodes) {
		return nil
	}
	return s.nodes[id-1]
}

// Nodes are all nodes, by id, live or not.
func (s *State) Nodes() []*Node { return s.nodes }

// NodeByDisk is the node of this data directory, nil where it never registered.
func (s *State) NodeByDisk(diskID [16]byte) *Node { return s.nodeByDisk[diskID] }

// Released are hot segments of the node that nothing refers to: the node deletes them and then proposes LocalReleased.
func (s *State) Released(id NodeID) []uint64 {
	if n := s.Node(id); n != nil {
		return n.released
	}
	return nil
}

// NextSeq is the seq that the next chunk of a lane must have.
func (s *State) NextSeq(id NodeID, lane uint32) uint64 {
	if n := s.Node(id); n != nil {
		return n.nextSeq(lane)
	}
	return 1
}

func (n *Node) nextSeq(lane uint32) uint64 {
	if int64(lane) < int64(len(n.lanes)) {
		return n.lanes[lane] + 1
	}
	return 1
}

func (n *Node) useSeq(lane uint32, seq uint64) {
	for int64(len(n.lanes)) <= int64(lane) {
		n.lanes = append(n.lanes, 0)
	}
	n.lanes[lane] = seq
}

func (a *applier) registerNode(c *metapb.RegisterNode) Verdict {
	if len(c.DiskId) != 16 || len(c.Incarnation) == 0 {
		return refuse(Malformed, "disk id of %d bytes, incarnation of %d", len(c.DiskId), len(c.Incarnation))
	}
	disk := [16]byte(c.DiskId)
	n := a.nodeByDisk[disk]
	if n == nil {
		n = &Node{ID: NodeID(len(a.nodes) + 1), DiskID: disk}
		a.nodes = append(a.nodes, n)
		a.nodeByDisk[disk] = n
	}
	if string(n.incarnation) != string(c.Incarnation) {
		n.Epoch++
		n.incarnation = c.Incarnation
		n.lanes = nil
		a.sealEpochsBelow(n)
	}
	n.Zone, n.KafkaHost, n.KafkaPort, n.InternalAddress, n.Live = c.Zone, c.KafkaHost, c.KafkaPort, c.InternalAddress, true
	n.Forgotten = false
	a.changed(ChangedNodes)

	v := Verdict{NodeID: n.ID, NodeEpoch: n.Epoch}
	onDisk := make(map[uint64]bool, len(c.Segments))
	for _, segment := range c.Segments {
		onDisk[segment] = true
		if len(a.files[hotKey{n.ID, segment}]) == 0 {
			v.UnreferencedSegments = append(v.UnreferencedSegments, segment)
		}
	}
	for file := range a.files {
		if file.node == n.ID && !onDisk[file.segment] {
			v.MissingSegments = append(v.MissingSegments, file.segment)
		}
	}
	slices.Sort(v.MissingSegments)
	n.released = slices.DeleteFunc(n.released, func(segment uint64) bool { return !onDisk[segment] })
	return v
}

// sealEpochsBelow seals what the node's older epochs left open: whatever it is to write, it writes to segments of its new epoch.
func (a *applier) sealEpochsBelow(n *Node) {
	var last uint64
	for file := range a.files {
		if file.node == n.ID {
			last = max(last, file.segment)
		}
	}
	a.sealSegments(n, last)
	for _, c := range slices.Clone(a.containerOrder) {
		if c.node == n.ID && c.epoch < n.Epoch && !c.sealed {
			a.seal(c)
		}
	}
}

func (a *applier) seal(c *container) {
	c.sealed = true
	a.changed(ChangedContainers)
	a.dropIfDone(c)
}

func (a *applier) setNodeLive(c *metapb.SetNodeLive) Verdict {
	n := a.Node(NodeID(c.NodeId))
	switch {
	case n == nil:
		return Verdict{Code: UnknownNode}
	case n.Epoch != c.NodeEpoch:
		return Verdict{Code: Fenced, NodeEpoch: n.Epoch}
	case n.Live != c.Live:
		n.Live = c.Live
		a.changed(ChangedNodes)
	}
	return Verdict{NodeID: n.ID, NodeEpoch: n.Epoch}
}

func (a *applier) sealContainer(c *metapb.SealContainer) Verdict {
	n := a.Node(NodeID(c.NodeId))
	switch {
	case n == nil:
		return Verdict{Code: UnknownNode}
	case n.Epoch != c.NodeEpoch:
		return Verdict{Code: Fenced, NodeEpoch: n.Epoch}
	case c.Segment == 0:
		return refuse(Malformed, "segment 0")
	}
	if c.Segment > n.highSegment {
		if len(a.files[hotKey{n.ID, c.Segment}]) == 0 {
			// Nothing refers to it, and nothing ever will.
			n.release(c.Segment)
			a.changed(ChangedContainers)
		}
		a.sealSegments(n, c.Segment)
	}
	return Verdict{NodeID: n.ID, NodeEpoch: n.Epoch}
}

func (a *applier) localReleased(c *metapb.LocalReleased) Verdict {
	n := a.Node(NodeID(c.NodeId))
	if n == nil {
		return Verdict{Code: UnknownNode}
	}
	gone := make(map[uint64]bool, len(c.Segments))
	for _, segment := range c.Segments {
		gone[segment] = true
	}
	n.released = slices.DeleteFunc(n.released, func(segment uint64) bool { return gone[segment] })
	return Verdict{NodeID: n.ID, NodeEpoch: n.Epoch}
}
