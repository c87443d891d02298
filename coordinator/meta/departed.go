package meta

import (
	"slices"
	"strconv"
)

// How long a node that is not there is known, where nothing refers to its disk any more: an autoscaled group would make the state grow for ever
// else. A node that comes back later is registered as another one, which loses nothing.
const (
	// leftMillis is for one that has drained or was given up.
	leftMillis = 24 * 60 * 60 * 1000
	// missingMillis is for one that went without a word. It may be under repair.
	missingMillis = 30 * leftMillis
	// returnMillis is how long one is known at least when the first is there after there was none: all may have been stopped for long.
	returnMillis = 60 * 60 * 1000
)

// Dropped says whether there was a node with this id that is not known any more. Nothing refers to it, and nothing can: ids are given once.
func (s *State) Dropped(id NodeID) bool { return id >= 1 && id < s.nextNode && s.Node(id) == nil }

// NextNode is the id that the next new node is given.
func (s *State) NextNode() NodeID { return s.nextNode }

// patienceMillis is for how long the node is known after it has gone.
func (n *Node) patienceMillis() int64 {
	if n.Draining || n.Forgotten {
		return leftMillis
	}
	return missingMillis
}

// departsMillis is until when the node is known, while it is not there.
func (n *Node) departsMillis() int64 { return addMillis(n.goneMillis, n.patienceMillis()) }

// depart notes that the node is not there from now on.
func (a *applier) depart(n *Node) {
	n.goneMillis = a.timeMillis
	a.dueByDepartures()
}

// arrive notes that the node is there.
func (a *applier) arrive(n *Node) {
	if !a.anyLive() {
		for _, other := range a.nodes {
			other.goneMillis = max(other.goneMillis, a.timeMillis-other.patienceMillis()+returnMillis)
		}
	}
	n.Live = true
	a.dueByDepartures()
}

func (s *State) anyLive() bool {
	for _, n := range s.nodes {
		if n.Live {
			return true
		}
	}
	return false
}

// departing calls yield for the nodes that are to be dropped in their time, until it answers false: those that are not there and that nothing
// refers to. While nobody is there, there are none; and where all that are there are at one address, the last that was at another stays: a
// cluster that has been scaled in to one node still is one, by what topics are created as.
func (s *State) departing(yield func(*Node) bool) {
	var there *Node
	away, apart := false, false
	for _, n := range s.nodes {
		if !n.Live {
			away = true
			continue
		}
		apart = apart || there != nil && !there.isAt(n)
		there = n
	}
	if there == nil || !away {
		return
	}
	held := make(map[NodeID]bool, len(s.nodes))
	for c := range s.byID {
		held[c.node], held[c.copy.node] = true, true
	}
	for _, n := range slices.Backward(s.nodes) {
		switch {
		case n.Live:
		case !apart && !there.isAt(n):
			apart = true
		case !held[n.ID] && !yield(n):
			return
		}
	}
}

// isAt says whether clients reach both nodes at one address.
func (n *Node) isAt(other *Node) bool {
	return n.KafkaHost == other.KafkaHost && n.KafkaPort == other.KafkaPort
}

// dropDeparted forgets nodes whose time is over.
func (a *applier) dropDeparted() {
	var kept []*Node
	gone := map[NodeID]bool{}
	for n := range a.departing {
		gone[n.ID] = n.departsMillis() <= a.timeMillis
	}
	for _, n := range a.nodes {
		if !gone[n.ID] {
			kept = append(kept, n)
			continue
		}
		delete(a.nodeByDisk, n.DiskID)
		if own := (configKey{ScopeBroker, strconv.Itoa(int(n.ID))}); a.configs[own] != nil {
			delete(a.configs, own)
			a.changed(ChangedConfigs)
		}
	}
	if len(kept) < len(a.nodes) {
		a.nodes = kept
		a.changed(ChangedNodes)
	}
}

// dueByDepartures notes that which nodes are to be dropped may be others than before.
func (s *State) dueByDepartures() {
	for _, n := range s.nodes {
		if !n.Live {
			s.dueBy(n.departsMillis())
		}
	}
}
