package ingestd

import (
	"context"
	"net"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/rpc"
	"github.com/varvelog/varve/ingest/copies"
)

// copiesPath is where a node takes copies of other nodes' chunks.
const copiesPath = "/copies"

// peers are the other nodes (lane.Peers).
type peers struct {
	client  *rpc.Client
	replica *replica.Replica
}

// Candidates implements lane.Peers.
func (p peers) Candidates(own meta.NodeID) (found []copies.Peer) {
	p.replica.View(func(s *meta.State) { found = copies.Candidates(s, own) })
	return found
}

// Dial implements lane.Peers.
func (p peers) Dial(ctx context.Context, address string) (net.Conn, error) {
	return p.client.OpenStream(ctx, address, copiesPath)
}

// Settled implements lane.Peers.
func (p peers) Settled(chunk copies.Header) (settled bool) {
	p.replica.View(func(s *meta.State) {
		if n := s.Node(chunk.Node); n != nil {
			settled = n.Epoch > chunk.Epoch || n.Epoch == chunk.Epoch && s.NextSeq(chunk.Node, chunk.Lane) > chunk.Seq
		}
	})
	return settled
}
