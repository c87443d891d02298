package lane

import (
	"math"
	"sync"
	"time"
)

// tokens is a token bucket. It may go into debt, by at most one burst. It may be used concurrently.
type tokens struct {
	fixedBurst int // 0: a second's worth, at least minBurst

	mu struct {
		sync.Mutex
		perSecond float64
		burst     float64
		level     float64
		at        time.Time
	}
}

// minBurst lets what a default producer has in flight leave at once after an idle spell, however small the rate.
const minBurst = 4

// newTokens returns a full bucket. A burst of 0 goes with the rate.
func newTokens(perSecond float64, burst int) *tokens {
	t := &tokens{fixedBurst: burst}
	t.mu.at = time.Now()
	t.setRate(perSecond, t.mu.at)
	t.mu.level = t.mu.burst
	return t
}

// setRate changes the rate from now on.
func (t *tokens) setRate(perSecond float64, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refill(now)
	t.mu.perSecond, t.mu.burst = perSecond, float64(t.fixedBurst)
	if t.fixedBurst == 0 {
		t.mu.burst = max(minBurst, math.Ceil(perSecond))
	}
	t.mu.level = max(-t.mu.burst, min(t.mu.burst, t.mu.level))
}

// refill is called with mu held. Callers' times may be a little out of order.
func (t *tokens) refill(now time.Time) {
	if elapsed := now.Sub(t.mu.at); elapsed > 0 {
		t.mu.level = min(t.mu.burst, t.mu.level+elapsed.Seconds()*t.mu.perSecond)
		t.mu.at = now
	}
}

// wait returns how long it is until there is a token; 0 if there is one.
func (t *tokens) wait(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refill(now)
	if t.mu.level >= 1 {
		return 0
	}
	return time.Duration((1-t.mu.level)/t.mu.perSecond*float64(time.Second)) + time.Microsecond
}

// scarce tells whether more tokens have been taken lately than the rate gives: less than half of the burst is left.
func (t *tokens) scarce(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refill(now)
	return t.mu.level < t.mu.burst/2
}

// charge takes a token, whether or not there is one.
func (t *tokens) charge(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refill(now)
	t.mu.level = max(-t.mu.burst, t.mu.level-1)
}
