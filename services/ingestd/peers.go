package ingestd

import (
	"context"
	"net"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/ingest/copies"
)

// copiesPath is where a node takes copies of other nodes' chunks.
const copiesPath = "/copies"

// Peers are the other nodes (lane.Peers).
type Peers struct {
	// Open connects to what takes copies at the node whose internal address is given.
	Open    func(ctx context.Context, address string) (net.Conn, error)
	Replica *replica.Replica
}

// Candidates implements lane.Peers.
func (p Peers) Candidates(own meta.NodeID) (found []copies.Peer) {
	p.Replica.View(func(s *meta.State) { found = copies.Candidates(s, own) })
	return found
}

// Dial implements lane.Peers.
func (p Peers) Dial(ctx context.Context, address string) (net.Conn, error) {
	return p.Open(ctx, address)
}

// Settled implements lane.Peers.
func (p Peers) Settled(chunk copies.Header) (settled bool) {
	p.Replica.View(func(s *meta.State) {
		if n := s.Node(chunk.Node); n != nil {
			settled = n.Epoch > chunk.Epoch || n.Epoch == chunk.Epoch && s.NextSeq(chunk.Node, chunk.Lane) > chunk.Seq
		} else {
			settled = s.Dropped(chunk.Node)
		}
	})
	return settled
}
