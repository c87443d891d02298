package lane

import (
	"context"
	"math/rand/v2"
	"time"
)

// retry is a delay that doubles with every use, with jitter.
type retry struct {
	min, max, next time.Duration
}

func (s *Set) newRetry() retry {
	return retry{min: s.config.RetryMin, max: s.config.RetryMax, next: s.config.RetryMin}
}

func (r *retry) reset() { r.next = r.min }

// delay returns the delay to wait now, between half and all of the doubling bound.
func (r *retry) delay() time.Duration {
	bound := r.next
	r.next = min(2*r.next, r.max)
	return bound/2 + rand.N(bound/2+1)
}

// wait waits; false if ctx ended.
func (r *retry) wait(ctx context.Context) bool {
	return sleep(ctx, r.delay())
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
