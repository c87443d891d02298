package ingestd

import (
	"context"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
)

// pingInterval is how often a node tells the leader that it lives. A fifth of leader.Config.NodeTimeout: a node is not taken for silent
// because a ping or two are lost, or because it had to wait for a processor.
const pingInterval = 200 * time.Millisecond

// pingLeader tells the leader that the node lives, until ctx ends, and learns when it has been replaced by another incarnation.
func (n *Node) pingLeader(ctx context.Context) {
	ticker := time.NewTicker(pingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		registration := n.registrar.Registration()
		if registration.Node == 0 {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, 3*pingInterval)
		answer, err := n.replica.Ping(bounded, &metapb.PingRequest{NodeId: int32(registration.Node), NodeEpoch: registration.Epoch})
		cancel()
		if current, registered := n.lanes.Registration(); err == nil && answer.Fenced && registered && current == registration {
			n.log.Warn("another process has registered this node's data directory, or the leader has fenced it", "node", int32(registration.Node), "epoch", registration.Epoch)
			n.lanes.Fence(registration)
		}
	}
}
