package replica

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// barrierTimeout bounds one round, so that a leader that hangs holds up only those who wait for it now.
const barrierTimeout = 10 * time.Second

// Barrier returns when everything that was answered to anybody before the call is applied here. One round to the leader is
// under way at a time; whoever comes during it shares the next. In the process of a leader that has the log to itself
// it costs nothing.
func (r *Replica) Barrier(ctx context.Context) error {
	leader, err := r.leader()
	if err != nil {
		return fmt.Errorf("barrier: %w", err)
	}
	if free, ok := leader.(interface{ BarrierIsFree() bool }); ok && free.BarrierIsFree() {
		return nil
	}
	round := r.barriers.join(r)
	if round == nil {
		return fmt.Errorf("barrier: %w", ErrClosed)
	}
	select {
	case <-round.done:
		return round.err
	case <-ctx.Done():
		return fmt.Errorf("barrier: %w", ctx.Err())
	}
}

type barrierRound struct {
	done chan struct{}
	err  error // set before done is closed
}

type barriers struct {
	pinged atomic.Int64 // when the leader last answered a ping, Unix nanoseconds
	mu     struct {
		sync.Mutex
		running bool
		next    *barrierRound // waits for the running one to end
	}
}

// join returns the round that begins after now, starting it where none is running.
func (b *barriers) join(r *Replica) *barrierRound {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.ctx.Err() != nil {
		return nil
	}
	if b.mu.next == nil {
		b.mu.next = &barrierRound{done: make(chan struct{})}
	}
	round := b.mu.next
	if !b.mu.running {
		b.mu.running = true
		r.tasks.Go(func() { b.run(r) })
	}
	return round
}

// run runs rounds until nobody waits for one.
func (b *barriers) run(r *Replica) {
	for {
		b.mu.Lock()
		round := b.mu.next
		b.mu.next = nil
		if round == nil {
			b.mu.running = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		round.err = r.barrierRound()
		close(round.done)
	}
}

func (r *Replica) barrierRound() error {
	ctx, cancel := context.WithTimeout(r.ctx, barrierTimeout)
	defer cancel()
	leader, err := r.leader()
	if err != nil {
		return fmt.Errorf("barrier: %w", err)
	}
	seq, err := leader.Barrier(ctx)
	if err != nil {
		return fmt.Errorf("barrier: %w", err)
	}
	if err := r.WaitSeq(ctx, seq); err != nil {
		return fmt.Errorf("barrier: wait for entry %d: %w", seq, err)
	}
	return nil
}
