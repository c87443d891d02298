package ingestd

import (
	"context"
	"strconv"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/services/process"
)

// staticConfigs are the broker settings that the command line gives the node, and that administrators may override while it runs.
func staticConfigs(p *process.Process) map[string]string {
	return map[string]string{meta.ObjectPutsPerSecond: meta.FormatDouble(p.Config.ObjectPuts)}
}

// followSettings keeps the lanes to the settings in effect until ctx ends.
func (n *Node) followSettings(ctx context.Context, p *process.Process, r *replica.Replica, node meta.NodeID) {
	wake := make(chan struct{}, 1)
	cancel := r.Listen(changes{meta.ChangedConfigs, wake})
	inEffect := p.Config.ObjectPuts
	n.running.Go(func() {
		defer cancel()
		for {
			if puts := objectPuts(r, node, p.Config.ObjectPuts); puts != inEffect {
				n.lanes.SetPutsPerSecond(puts)
				p.Log.Info("the budget of the object lane has changed", "setting", meta.ObjectPutsPerSecond, "putsPerSecond", puts)
				inEffect = puts
			}
			select {
			case <-wake:
			case <-ctx.Done():
				return
			}
		}
	})
}

// objectPuts is the PUT budget in effect: the node's own, else the cluster's, else what the node was started with.
func objectPuts(r *replica.Replica, node meta.NodeID, static float64) (puts float64) {
	r.View(func(s *meta.State) {
		puts = static
		if text, set := s.NodeOverride(strconv.Itoa(int(node)), meta.ObjectPutsPerSecond); set {
			if n, err := strconv.ParseFloat(text, 64); err == nil { // what is not a number has been refused before it was set
				puts = n
			}
		}
	})
	return puts
}
