package meta

import (
	"cmp"
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
	// Live: the leader hears of it, so what it holds can be had.
	Live bool
	// Draining: it is about to leave. Nobody is sent to it any more; what it holds is shipped before everything else.
	Draining bool
	// Closed: it drains, and takes no connections of clients any more.
	Closed bool
	// ZoneListeners are its addresses for clients of certain zones, in the order in which they are set.
	ZoneListeners []ZoneListener
	Forgotten     bool // its disk has been given up, and it has not come back since
	// FeatureLevel is the highest that its process knows.
	FeatureLevel uint32

	goneMillis  int64 // since when it is not live, in state time
	incarnation []byte
	past        [][]byte // incarnations that were succeeded, the last ones; a late repeat of their registration is void
	lanes       []uint64 // the last seq taken in each lane of this epoch
	released    []uint64 // hot segments to delete, ascending
	highSegment uint64   // the highest hot segment that is sealed: it and all below it are never committed to again
}

// ZoneListener is where clients of one zone reach a node.
type ZoneListener struct {
	Zone      string
	KafkaHost string
	KafkaPort int32
}

// Serves says whether clients are to be sent to the node.
func (n *Node) Serves() bool { return n.Live && !n.Draining }

// Answers says whether clients that are connected to the node are answered: it serves, or drains and has not closed their connections yet.
func (n *Node) Answers() bool { return n.Live && !n.Closed }

// AddressIn is where clients reach the node that have come through the listener of a zone, "" for the general one. A node without such a
// listener is reached at its general one.
func (n *Node) AddressIn(zone string) (host string, port int32) {
	if zone != "" {
		for _, l := range n.ZoneListeners {
			if l.Zone == zone {
				return l.KafkaHost, l.KafkaPort
			}
		}
	}
	return n.KafkaHost, n.KafkaPort
}

func zoneListeners(listeners []*metapb.ZoneListener) (out []ZoneListener) {
	for _, l := range listeners {
		out = append(out, ZoneListener{Zone: l.GetZone(), KafkaHost: l.GetKafkaHost(), KafkaPort: l.GetKafkaPort()})
	}
	return out
}

func zoneListenersToProto(listeners []ZoneListener) (out []*metapb.ZoneListener) {
	for _, l := range listeners {
		out = append(out, &metapb.ZoneListener{Zone: l.Zone, KafkaHost: l.KafkaHost, KafkaPort: l.KafkaPort})
	}
	return out
}

// Node is the node with this id, nil where there is none.
func (s *State) Node(id NodeID) *Node {
	if i := int(id) - 1; uint(i) < uint(len(s.nodes)) && s.nodes[i].ID == id {
		return s.nodes[i] // none below it was dropped
	}
	if i, there := slices.BinarySearchFunc(s.nodes, id, func(n *Node, id NodeID) int { return cmp.Compare(n.ID, id) }); there {
		return s.nodes[i]
	}
	return nil
}

// Nodes are all nodes that are known, by id, live or not.
func (s *State) Nodes() []*Node { return s.nodes }

// NodeByDisk is the node of this data directory, nil where it never registered, or was dropped since.
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
		n = &Node{ID: a.nextNode, DiskID: disk, Epoch: a.nodeEpochFloor}
		a.nextNode++
		a.nodes = append(a.nodes, n)
		a.nodeByDisk[disk] = n
	}
	if slices.ContainsFunc(n.past, func(past []byte) bool { return string(past) == string(c.Incarnation) }) {
		return Verdict{Code: Fenced, NodeID: n.ID, NodeEpoch: n.Epoch}
	}
	if string(n.incarnation) != string(c.Incarnation) {
		n.succeed()
		n.Epoch++
		n.incarnation = c.Incarnation
		n.lanes = nil
		a.sealEpochsBelow(n)
	}
	a.arrive(n)
	n.Zone, n.KafkaHost, n.KafkaPort, n.InternalAddress = c.Zone, c.KafkaHost, c.KafkaPort, c.InternalAddress
	n.ZoneListeners, n.Draining, n.Closed = zoneListeners(c.ZoneListeners), c.Draining, false
	n.Forgotten, n.FeatureLevel = false, c.FeatureLevel
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

// keptIncarnations is how many succeeded incarnations of a node are remembered.
const keptIncarnations = 8

// succeed remembers the present incarnation as one of the past.
func (n *Node) succeed() {
	if len(n.incarnation) == 0 {
		return
	}
	n.past = append(n.past, n.incarnation)
	if len(n.past) > keptIncarnations {
		n.past = slices.Delete(n.past, 0, 1)
	}
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
	for _, c := range slices.Collect(a.byID) {
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
	case n.Live && !c.Live:
		n.Live = false
		a.depart(n)
		a.changed(ChangedNodes)
	case !n.Live && c.Live:
		a.arrive(n)
		a.changed(ChangedNodes)
	}
	return Verdict{NodeID: n.ID, NodeEpoch: n.Epoch}
}

func (a *applier) drainNode(c *metapb.DrainNode) Verdict {
	n := a.Node(NodeID(c.NodeId))
	switch {
	case n == nil:
		return Verdict{Code: UnknownNode}
	case n.Epoch != c.NodeEpoch:
		return Verdict{Code: Fenced, NodeEpoch: n.Epoch}
	case !n.Draining || c.Closed && !n.Closed:
		n.Draining, n.Closed = true, n.Closed || c.Closed
		a.changed(ChangedNodes)
	}
	return Verdict{NodeID: n.ID, NodeEpoch: n.Epoch}
}

// Unshipped is what is on a node's disk and in no segment object.
type Unshipped struct {
	Segments int    // containers: hot segments, and in the class replicated pairs of them
	Bytes    uint64 // of their runs
	// ShippableSegments are those that hold more than open transactions.
	ShippableSegments int
	// Peers are the nodes that have them too, ascending; nil of what one node alone has.
	Peers []NodeID
}

// Unshipped tells what would be lost with a node's disk: what no other node has that will stay.
func (s *State) Unshipped(id NodeID) (alone Unshipped) {
	alone, _ = s.UnshippedOn(id)
	return alone
}

// UnshippedOn parts what is on a node's disk into what it alone has, and what another node has too.
func (s *State) UnshippedOn(id NodeID) (alone, copied Unshipped) {
	for c := range s.byID {
		if c.isChunk() || c.liveRuns == 0 || c.node != id && c.copy.node != id {
			continue
		}
		u := &alone
		if !s.isAloneOn(c, id) {
			u = &copied
			peer := c.otherThan(id)
			if i, there := slices.BinarySearch(u.Peers, peer); !there {
				u.Peers = slices.Insert(u.Peers, i, peer)
			}
		}
		u.Segments++
		u.Bytes += c.liveBytes
		if c.liveRuns > c.heldRuns {
			u.ShippableSegments++
		}
	}
	return alone, copied
}

// isAloneOn says whether the container is on the node's disk, and on that of no other node that is there and stays.
func (s *State) isAloneOn(c *container, id NodeID) bool {
	other := c.otherThan(id)
	return !c.isChunk() && (c.node == id || c.copy.node == id) && (other == 0 || !s.Node(other).Serves())
}

// Sealed says whether nothing is ever committed to a node's hot segment again that is not yet.
func (s *State) Sealed(id NodeID, segment uint64) bool {
	n := s.Node(id)
	return n != nil && segment <= n.highSegment
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
