package lane

import (
	"math/bits"
	"slices"
	"sync"
	"time"
)

const (
	// hedgeClasses are the sizes that are told apart: up to 64 KiB, then each four times the one before.
	hedgeClasses    = 6
	hedgeClassBytes = 64 << 10
	// hedgeSamples is how many of a class's PUTs are remembered, hedgeEnough from how many on they are judged by.
	hedgeSamples = 128
	hedgeEnough  = 16
	// hedgeUnknown is when a PUT counts as slow before that many are known.
	hedgeUnknown = 250 * time.Millisecond
	// hedgeCredit is how many hedges may be saved up.
	hedgeCredit = 4
	// hedgePause is how long nothing is hedged after the store has asked to be called less often.
	hedgePause = 10 * time.Second
)

// hedging decides when a PUT is slow, so that it is worth beginning it again under a second key. Slow is above what 95 of 100 recent PUTs of
// about its size took. Of all PUTs a share may be hedged, so that a store which has become slow altogether is not asked for twice as much.
// It outlives epochs, and may be used concurrently.
type hedging struct {
	min   time.Duration
	share float64

	mu struct {
		sync.Mutex
		recent  [hedgeClasses]recentPuts
		credit  float64
		quietTo time.Time
	}
}

// recentPuts are the times of the last PUTs of a class, and the 95th percentile of them.
type recentPuts struct {
	took [hedgeSamples]time.Duration
	n    int // of all there were
	p95  time.Duration
}

func newHedging(config *Config) *hedging {
	h := &hedging{min: config.HedgeMin, share: config.HedgeShare}
	h.mu.credit = 1
	return h
}

func hedgeClass(sizeBytes int) int {
	return min(hedgeClasses-1, (bits.Len(uint(max(0, sizeBytes-1)/hedgeClassBytes))+1)/2)
}

// begin counts a PUT, of which a share may be hedged, and returns when it will be slow.
func (h *hedging) begin(sizeBytes int) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.credit = min(hedgeCredit, h.mu.credit+max(0, h.share))
	if r := &h.mu.recent[hedgeClass(sizeBytes)]; r.n >= hedgeEnough {
		return max(h.min, r.p95)
	}
	return max(h.min, hedgeUnknown)
}

// take tells whether a PUT that is slow may be hedged now, and counts it.
func (h *hedging) take() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.share <= 0 || h.mu.credit < 1 || time.Now().Before(h.mu.quietTo) {
		return false
	}
	h.mu.credit--
	return true
}

// took notes the time of a PUT that succeeded, or the time after which a slow one was given up for its hedge.
func (h *hedging) took(sizeBytes int, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &h.mu.recent[hedgeClass(sizeBytes)]
	r.took[r.n%hedgeSamples] = d
	r.n++
	known := slices.Clone(r.took[:min(r.n, hedgeSamples)])
	slices.Sort(known)
	r.p95 = known[(len(known)-1)*95/100]
}

// throttled notes that the store asked to be called less often.
func (h *hedging) throttled() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.quietTo = time.Now().Add(hedgePause)
}
