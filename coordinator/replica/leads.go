package replica

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/varvelog/varve/coordinator/meta"
)

// errSucceeded is why a call to a leader ends when the log says that it leads no more.
var errSucceeded = errors.New("the leader has been succeeded")

// leads knows the last leader's epoch, and ends what waits for an earlier one.
type leads struct {
	epoch atomic.Uint64 // of the last LeaderStart applied
	gaps  atomic.Uint64 // how often a snapshot has stood in for entries, whose verdicts nobody heard
	mu    struct {
		sync.Mutex
		next    uint64
		waiting map[uint64]context.CancelCauseFunc
	}
}

// began ends what waits for earlier leaders.
func (l *leads) began(epoch uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch.Store(epoch)
	for id, cancel := range l.mu.waiting {
		cancel(errSucceeded)
		delete(l.mu.waiting, id)
	}
}

// during returns a context that ends with cause errSucceeded when a later leader than that of epoch has begun. release must be called.
func (l *leads) during(parent context.Context, epoch uint64) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(parent)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch.Load() > epoch {
		cancel(errSucceeded)
		return ctx, func() {}
	}
	if l.mu.waiting == nil {
		l.mu.waiting = map[uint64]context.CancelCauseFunc{}
	}
	l.mu.next++
	id := l.mu.next
	l.mu.waiting[id] = cancel
	return ctx, func() {
		l.mu.Lock()
		delete(l.mu.waiting, id)
		l.mu.Unlock()
		cancel(nil)
	}
}

// LeaderEpoch is the epoch of the last leader that the log names, 0 for none.
func (r *Replica) LeaderEpoch() uint64 { return r.leads.epoch.Load() }

// leaderNamed is the last leader that the log names.
func (r *Replica) leaderNamed() (epoch uint64, address string) {
	r.View(func(s *meta.State) { epoch, address = s.LeaderEpoch(), s.LeaderAddress() })
	return epoch, address
}

// Doubt has Follow ask the log soon whether another leads: the one that the log named last does not answer.
func (r *Replica) Doubt() { signal(r.doubted) }

// AwaitLeader returns when the log names the leader of epoch or a later one.
func (r *Replica) AwaitLeader(ctx context.Context, epoch uint64) error {
	for r.LeaderEpoch() < epoch {
		next, release := r.leads.during(ctx, r.LeaderEpoch())
		r.Doubt()
		<-next.Done()
		release()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}
