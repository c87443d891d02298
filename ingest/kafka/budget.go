package kafka

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// byteBudget bounds the bytes of requests in flight on the node. Waiters are served in order, so that a large frame is not starved by
// small ones; while one waits its socket is not read.
type byteBudget struct {
	limit int64
	sem   *semaphore.Weighted
}

func newByteBudget(limit int64) *byteBudget {
	return &byteBudget{limit: limit, sem: semaphore.NewWeighted(limit)}
}

// acquire takes n bytes, or the whole budget where n is more, and returns what it took.
func (b *byteBudget) acquire(ctx context.Context, n int64) (int64, error) {
	n = min(n, b.limit)
	if b.sem.TryAcquire(n) {
		return n, nil
	}
	if err := b.sem.Acquire(ctx, n); err != nil {
		return 0, err
	}
	return n, nil
}

// tryAcquire is acquire where there is room at once.
func (b *byteBudget) tryAcquire(n int64) (int64, bool) {
	n = min(n, b.limit)
	return n, b.sem.TryAcquire(n)
}

func (b *byteBudget) release(n int64) { b.sem.Release(n) }
