package replica

import (
	"context"
	"fmt"
)

// rebuild puts what snapshot and log say in the place of a state whose last entries came as hints, and were not those of the log (forked). Whoever
// made them knows the cluster's secret, or they are of a log that has lost its tail; the log alone decides which of the two is damage that
// nothing mends. What was told meanwhile of those entries cannot be taken back.
func (r *Replica) rebuild(ctx context.Context, forked error) error {
	if r.cfg.Logger != nil {
		r.cfg.Logger.Error("entries that came over NATS are not those of the metadata log: the state is built anew from snapshot and log. Does somebody outside the cluster know its secret (cluster.json)?",
			"seq", r.Seq(), "error", forked)
	}
	fresh := newReplica(r.cfg)
	defer fresh.Close()
	err := fresh.restoreFirst(ctx)
	if err == nil {
		err = fresh.CatchUpOrRestore(ctx)
	}
	if err != nil {
		return fmt.Errorf("build the state anew: %w", err)
	}
	if !r.replace(fresh.mu.state, fresh.mu.lastHash) {
		return fmt.Errorf("the log ends at %d: %w", fresh.Seq(), forked) // before what was applied, and so it cannot be what it was
	}
	return nil
}
