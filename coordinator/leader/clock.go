package leader

import (
	"context"
	"sync"
	"time"
)

// slewDivisor bounds how fast state time is drawn towards the wall clock: by one part in so many of the time that passes.
const slewDivisor = 10

// clock is state time. It advances with the monotonic clock, so that a wall clock that is set back or far ahead neither stops
// nor jumps it.
type clock struct {
	now func() time.Time
	mu  struct {
		sync.Mutex
		last  time.Time
		value time.Duration // since the Unix epoch
		ahead time.Duration // by how much the wall clock is known to be wrong
		// unsure: the bucket did not answer at the start, and nobody knows how right the wall clock is, or how long there was no leader.
		unsure bool
	}
}

// newClock starts at the time given, or at the log's where that is later.
func newClock(now func() time.Time, start time.Time, stateMillis int64) *clock {
	c := &clock{now: now}
	c.mu.last = now()
	c.mu.value = max(time.Duration(start.UnixNano()), time.Duration(stateMillis)*time.Millisecond)
	return c
}

// correct takes note of how far the wall clock is ahead of the bucket's. A difference within the tolerance is none: the bucket's answer takes time.
func (c *clock) correct(ahead time.Duration) {
	if ahead.Abs() <= clockTolerance {
		ahead = 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.ahead = ahead
	if now := c.now(); c.mu.unsure {
		c.mu.last, c.mu.unsure = now, false
		c.mu.value = max(c.mu.value, time.Duration(now.UnixNano())-ahead)
	}
}

func (c *clock) isUnsure() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.unsure
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
	next += min(max(time.Duration(now.UnixNano())-c.mu.ahead-next, -bound), bound)
	c.mu.value = next
	return next.Milliseconds()
}

// startClock is state time as this leader goes on with it. It starts at the wall clock's, unless the bucket's is another: state time never goes back, so a
// machine whose clock is wrong must not put its time into the log. Where the bucket does not answer, the log's time goes on.
func (l *Leader) startClock(ctx context.Context, stateMillis int64) *clock {
	here := l.cfg.Now()
	if l.cfg.StoreTime == nil {
		return newClock(l.cfg.Now, here, stateMillis)
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.StoreTimeTimeout)
	defer cancel()
	there, err := l.cfg.StoreTime(ctx)
	switch {
	case err != nil && stateMillis > 0:
		l.complain("the bucket does not tell its time: state time goes on from the log's", err)
		c := newClock(l.cfg.Now, time.UnixMilli(stateMillis), stateMillis)
		c.mu.ahead, c.mu.unsure = here.Sub(time.UnixMilli(stateMillis)), true
		return c
	case err != nil:
		return newClock(l.cfg.Now, here, stateMillis)
	}
	apart := here.Sub(there)
	if apart.Abs() <= clockTolerance {
		return newClock(l.cfg.Now, here, stateMillis)
	}
	l.cfg.Logger.Error("this machine's clock and the bucket's are apart: state time goes by the bucket's", "by", apart)
	c := newClock(l.cfg.Now, there, stateMillis)
	c.correct(apart)
	return c
}

// askStoreTime asks the bucket for its time, and has state time go by it where the wall clock is wrong.
func (l *Leader) askStoreTime(ctx context.Context) (there time.Time, err error) {
	there, err = l.cfg.StoreTime(ctx)
	if err == nil {
		l.clock.Load().correct(l.cfg.Now().Sub(there))
	}
	return there, err
}
