package leader

import (
	"context"
	"sync"
	"time"
)

// slewDivisor bounds how fast state time is drawn towards the wall clock: by one part in so many of the time that passes.
const slewDivisor = 10

// storeTimeTimeout bounds the question for the bucket's time.
const storeTimeTimeout = 3 * time.Second

// clock is state time. It advances with the monotonic clock, so that a wall clock that is set back or far ahead neither stops
// nor jumps it.
type clock struct {
	now func() time.Time
	mu  struct {
		sync.Mutex
		last  time.Time
		value time.Duration // since the Unix epoch
	}
}

// newClock starts at the time given, or at the log's where that is later.
func newClock(now func() time.Time, start time.Time, stateMillis int64) *clock {
	c := &clock{now: now}
	c.mu.last = now()
	c.mu.value = max(time.Duration(start.UnixNano()), time.Duration(stateMillis)*time.Millisecond)
	return c
}

// millis is never less than what it was.
func (c *clock) millis() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	elapsed := max(0, now.Sub(c.mu.last))
	c.mu.last = now
	next := c.mu.value + elapsed
	bound := elapsed / slewDivisor
	next += min(max(time.Duration(now.UnixNano())-next, -bound), bound)
	c.mu.value = next
	return next.Milliseconds()
}

// startTime is what state time starts at: the wall clock's, unless the bucket's is another. State time never goes back, so a machine
// that starts before its clock is set must not put its time into the log. Where the bucket does not answer, the log's time goes on.
func (l *Leader) startTime(ctx context.Context, stateMillis int64) time.Time {
	here := l.cfg.Now()
	if l.cfg.StoreTime == nil {
		return here
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeTimeout)
	defer cancel()
	there, err := l.cfg.StoreTime(ctx)
	switch {
	case err != nil && stateMillis > 0:
		l.complain("the bucket does not tell its time: state time goes on from the log's", err)
		return time.UnixMilli(stateMillis)
	case err != nil:
		return here
	}
	if apart := here.Sub(there); apart.Abs() > clockTolerance {
		l.cfg.Logger.Error("this machine's clock and the bucket's are apart: state time starts at the bucket's", "by", apart)
		return there
	}
	return here
}
