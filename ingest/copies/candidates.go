package copies

import (
	"cmp"
	"slices"

	"github.com/varvelog/varve/coordinator/meta"
)

// Peer is a node that may have copies.
type Peer struct {
	Node    meta.NodeID
	Epoch   uint64
	Address string // of its internal listener
}

// Candidates are the nodes that may have copies of a node's chunks, in rendezvous order: those that live and stay, in other zones than the
// node's. Where neither has a zone, they count as apart.
func Candidates(s *meta.State, own meta.NodeID) []Peer {
	self := s.Node(own)
	if self == nil {
		return nil
	}
	type ranked struct {
		Peer
		weight uint64
	}
	var found []ranked
	for _, n := range s.Nodes() {
		if n.ID == own || !n.Serves() || n.Zone == self.Zone && n.Zone != "" {
			continue
		}
		found = append(found, ranked{Peer{n.ID, n.Epoch, n.InternalAddress}, weight(self.DiskID, n.DiskID)})
	}
	slices.SortFunc(found, func(a, b ranked) int { return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.Node, b.Node)) })
	peers := make([]Peer, len(found))
	for i := range found {
		peers[i] = found[i].Peer
	}
	return peers
}

// weight is the rendezvous weight of a pair of disks (FNV-1a, finished so that all bits count).
func weight(a, b [16]byte) uint64 {
	h := uint64(14695981039346656037)
	for _, part := range [...][]byte{a[:], b[:]} {
		for _, c := range part {
			h = (h ^ uint64(c)) * 1099511628211
		}
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return h
}

// Met tells whether there are two nodes at all of which one may have copies of the other's chunks.
func Met(s *meta.State) bool {
	for _, n := range s.Nodes() {
		if n.Serves() && len(Candidates(s, n.ID)) > 0 {
			return true
		}
	}
	return false
}
