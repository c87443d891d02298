package ingestd

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
)

// pingInterval is how often, about, a node tells the leader that it lives. A fifth of leader.Config.NodeTimeout: a node is not taken for silent
// because a ping or two are lost, or because it had to wait for a processor. Nodes that were started in one moment, or waited for the same leader,
// would go on pinging in one moment; so each interval is a quarter longer or shorter.
const pingInterval = 200 * time.Millisecond

func nextPing() time.Duration { return pingInterval*3/4 + rand.N(pingInterval/2) }

// pingLeader tells the leader that the node lives, until ctx ends, and learns when it has been replaced by another incarnation.
func (n *Node) pingLeader(ctx context.Context) {
	timer := time.NewTimer(nextPing())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(nextPing())
		registration := n.registrar.Registration()
		if registration.Node == 0 {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, 3*pingInterval)
		began := time.Now()
		answer, err := n.replica.Ping(bounded, &metapb.PingRequest{NodeId: int32(registration.Node), NodeEpoch: registration.Epoch})
		cancel()
		if err == nil {
			n.contact.note(began, answer.Away || answer.Fenced)
		}
		if current, registered := n.lanes.Registration(); err == nil && answer.Fenced && registered && current == registration {
			n.log.Warn("another process has registered this node's data directory, or the leader has fenced it", "node", int32(registration.Node), "epoch", registration.Epoch)
			n.lanes.Fence(registration)
		}
	}
}
