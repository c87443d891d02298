package fetch

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// budget bounds the memory of responses. Waiters are served in order.
type budget struct {
	limit int64
	used  atomic.Int64
	sem   *semaphore.Weighted
}

func newBudget(limit int64) *budget {
	return &budget{limit: limit, sem: semaphore.NewWeighted(limit)}
}

// tryAcquire is acquire where that need not wait.
func (b *budget) tryAcquire(bytes int64) (int64, bool) {
	bytes = min(bytes, b.limit)
	if !b.sem.TryAcquire(bytes) {
		return 0, false
	}
	b.used.Add(bytes)
	return bytes, true
}

// acquire waits for bytes, at most the whole limit, and returns how many to release.
func (b *budget) acquire(ctx context.Context, bytes int64) (int64, error) {
	bytes = min(bytes, b.limit)
	if err := b.sem.Acquire(ctx, bytes); err != nil {
		return 0, err
	}
	b.used.Add(bytes)
	return bytes, nil
}

// leastShare is what a response may take however little is left: as much as a batch has by default.
const leastShare = 1 << 20

// share is what one response may take of what is left, so that a few whose clients do not read them leave something to all others.
func (b *budget) share() int { return int(max(leastShare, (b.limit-b.used.Load())/4)) }

func (b *budget) release(bytes int64) {
	b.used.Add(-bytes)
	b.sem.Release(bytes)
}
