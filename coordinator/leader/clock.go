package leader

import (
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
	}
}

// newClock starts at the wall clock, or at the log's time where that is later.
func newClock(now func() time.Time, stateMillis int64) *clock {
	c := &clock{now: now}
	c.mu.last = now()
	c.mu.value = max(time.Duration(c.mu.last.UnixNano()), time.Duration(stateMillis)*time.Millisecond)
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
