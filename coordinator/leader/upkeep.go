package leader

import (
	"context"
	"errors"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
)

const (
	// clockTolerance is how far the wall clock may be from the bucket's before retention stops.
	clockTolerance = time.Minute
	// upkeepTimeout bounds one round, which comes again anyway.
	upkeepTimeout = 10 * time.Second
)

func (l *Leader) runUpkeep(ctx context.Context) {
	tick := time.NewTicker(l.cfg.UpkeepInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.upkeep(ctx)
		}
	}
}

// upkeep submits what time has brought. Nothing is submitted when nothing is due.
func (l *Leader) upkeep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, upkeepTimeout)
	defer cancel()
	if l.clock.Load().isUnsure() {
		if _, err := l.askStoreTime(ctx); err != nil {
			l.complain("the bucket does not tell its time", err)
		}
	}
	var due meta.Due
	now := l.clock.Load().millis()
	unshipped := 0
	l.cfg.Replica.View(func(s *meta.State) { due, unshipped = s.Due(now), s.UnshippedRuns() })
	l.setFull(unshipped)
	retention := due.Retention && l.clockAgrees(ctx)
	if !due.Tick && !retention {
		return
	}
	tick := &metapb.Command{Kind: &metapb.Command_Tick{Tick: &metapb.Tick{Retention: retention}}}
	if _, err := l.queue.submit(ctx, []*metapb.Command{tick}); err != nil && !errors.Is(err, replica.ErrNotLeader) {
		l.complain("upkeep was not logged, trying again", err)
	}
}

// setFull holds back new chunks while more runs wait to be shipped than the replicas are to keep in memory.
func (l *Leader) setFull(unshipped int) {
	full := unshipped >= l.cfg.MaxUnshippedRuns
	if l.full.Swap(full) != full {
		l.cfg.Logger.Warn("budget of runs that wait to be shipped", "exceeded", full, "runs", unshipped, "budget", l.cfg.MaxUnshippedRuns)
	}
}

// clockAgrees asks the bucket for its time before anything is deleted by age.
func (l *Leader) clockAgrees(ctx context.Context) bool {
	if l.cfg.StoreTime == nil {
		return true
	}
	there, err := l.askStoreTime(ctx)
	if err != nil {
		l.complain("retention waits: the bucket does not tell its time", err)
		return false
	}
	// State time is what retention goes by. It never goes back: a former leader's wrong clock stays in it.
	if ahead := time.UnixMilli(l.clock.Load().millis()).Sub(there); ahead > clockTolerance {
		l.cfg.Logger.Error("retention stops: the log's time is ahead of the bucket's", "by", ahead)
		return false
	}
	if apart := l.cfg.Now().Sub(there); apart.Abs() > clockTolerance {
		l.cfg.Logger.Error("retention stops: this machine's clock and the bucket's are apart", "by", apart)
		return false
	}
	return true
}
