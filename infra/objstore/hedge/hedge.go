// Package hedge decides when a PUT is so slow that it is worth beginning it a second time.
package hedge

import (
	"math/bits"
	"slices"
	"sync"
	"time"
)

const (
	// classes are the sizes that are told apart: up to 64 KiB, then each four times the one before.
	classes    = 6
	classBytes = 64 << 10
	// samples is how many of a class's PUTs are remembered, enough from how many on they are judged by.
	samples = 128
	enough  = 16
	// unknown is when a PUT counts as slow before that many are known.
	unknown = 250 * time.Millisecond
	// maxCredit is how many hedges may be saved up.
	maxCredit = 4
	// pause is how long nothing is hedged after the store has asked to be called less often.
	pause = 10 * time.Second
)

// Policy decides when a PUT is slow. Slow is above what 95 of 100 recent PUTs of about its size took. Of all PUTs a share may be hedged, so that
// a store which has become slow altogether is not asked for twice as much. Its methods may be called concurrently.
type Policy struct {
	min   time.Duration
	share float64

	mu struct {
		sync.Mutex
		recent  [classes]recentPuts
		credit  float64
		quietTo time.Time
	}
}

// recentPuts are the times of the last PUTs of a class, and the 95th percentile of them.
type recentPuts struct {
	took [samples]time.Duration
	n    int // of all there were
	p95  time.Duration
}

// New returns a policy under which no PUT is slow before shortest, and at most share of all are hedged; none where share is not positive.
func New(shortest time.Duration, share float64) *Policy {
	h := &Policy{min: shortest, share: share}
	h.mu.credit = 1
	return h
}

func class(sizeBytes int) int {
	return min(classes-1, (bits.Len(uint(max(0, sizeBytes-1)/classBytes))+1)/2)
}

// Begin counts a PUT, of which a share may be hedged, and returns when it will be slow.
func (h *Policy) Begin(sizeBytes int) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.credit = min(maxCredit, h.mu.credit+max(0, h.share))
	if r := &h.mu.recent[class(sizeBytes)]; r.n >= enough {
		return max(h.min, r.p95)
	}
	return max(h.min, unknown)
}

// Take tells whether a PUT that is slow may be hedged now, and counts it.
func (h *Policy) Take() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.share <= 0 || h.mu.credit < 1 || time.Now().Before(h.mu.quietTo) {
		return false
	}
	h.mu.credit--
	return true
}

// Took notes the time of a PUT that succeeded, or the time after which a slow one was given up for its hedge.
func (h *Policy) Took(sizeBytes int, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &h.mu.recent[class(sizeBytes)]
	r.took[r.n%samples] = d
	r.n++
	known := slices.Clone(r.took[:min(r.n, samples)])
	slices.Sort(known)
	r.p95 = known[(len(known)-1)*95/100]
}

// Throttled notes that the store asked to be called less often.
func (h *Policy) Throttled() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.quietTo = time.Now().Add(pause)
}
