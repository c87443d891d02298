package world

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Progress is what Fail is told where nothing has been broken but something has not come to its end.
const Progress = "progress"

// World is everything that is not a process of the cluster.
type World struct {
	Swarm Swarm

	processes atomic.Uint64 // begun so far

	mu struct {
		sync.Mutex
		rng     *rand.Rand
		calm    bool
		servers map[string]*endpoint
		links   map[[2]string]*link
		bus     map[string][]*subscription
		failed  []string
		counts  map[string]int
	}
	began time.Time
	trace io.Writer
	// Verbose writes Detail's lines too.
	Verbose bool
	// Hasty ends the run at the first invariant that does not hold.
	Hasty func()
}

// New makes a world from a seed. What happens in it is written to trace, a line an event.
func New(seed uint64, trace io.Writer) *World {
	w := &World{began: time.Now(), trace: trace}
	w.mu.rng = rand.New(rand.NewPCG(seed, 0x76617276))
	w.mu.servers = map[string]*endpoint{}
	w.mu.links = map[[2]string]*link{}
	w.mu.bus = map[string][]*subscription{}
	w.mu.counts = map[string]int{}
	w.mu.calm = true
	w.Swarm = newSwarm(rand.New(rand.NewPCG(seed, 0x737761726d)))
	return w
}

// Now is the virtual time since the beginning.
func (w *World) Now() time.Duration { return time.Since(w.began) }

// Trace writes a line.
func (w *World) Trace(format string, args ...any) {
	_, _ = fmt.Fprintf(w.trace, "%12.6f %s\n", w.Now().Seconds(), fmt.Sprintf(format, args...))
}

// Detail writes a line where the world is verbose. It looks at no clock, since that would let time pass.
func (w *World) Detail(format string, args ...any) {
	if w.Verbose {
		_, _ = fmt.Fprintf(w.trace, "           . %s\n", fmt.Sprintf(format, args...))
	}
}

// Fail notes that an invariant does not hold.
func (w *World) Fail(invariant, format string, args ...any) {
	text := fmt.Sprintf("%s: %s", invariant, fmt.Sprintf(format, args...))
	w.mu.Lock()
	if len(w.mu.failed) < 20 {
		w.mu.failed = append(w.mu.failed, text)
	}
	w.mu.Unlock()
	w.Trace("VIOLATION %s", text)
	if w.Hasty != nil && invariant != Progress {
		w.Hasty()
	}
}

// Failed returns what did not hold.
func (w *World) Failed() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.failed
}

// Count counts an event by name, for the summary of a run.
func (w *World) Count(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.counts[name]++
}

// Counts returns how often each event was counted.
func (w *World) Counts() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.counts
}

// IntN is a random number in [0, n).
func (w *World) IntN(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.rng.IntN(n)
}

// OneIn is true once in n times; never for 0.
func (w *World) OneIn(n int) bool { return n > 0 && w.IntN(n) == 0 }

// Chance is true with the probability p, between Begin and Heal; else never.
func (w *World) Chance(p float64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.mu.calm && p > 0 && w.mu.rng.Float64() < p
}

// Between is a random duration in [low, high).
func (w *World) Between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return low + time.Duration(w.mu.rng.Int64N(int64(high-low)))
}

// Calm says that there are no faults, yet or any more.
func (w *World) Calm() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.calm
}

// Begin lets faults happen.
func (w *World) Begin() {
	w.mu.Lock()
	w.mu.calm = false
	w.mu.Unlock()
	w.Trace("faults begin")
}

// Heal ends all faults: nothing is lost, held or refused from now on.
func (w *World) Heal() {
	w.mu.Lock()
	w.mu.calm = true
	links := make([]*link, 0, len(w.mu.links))
	for _, l := range w.mu.links {
		links = append(links, l)
	}
	w.mu.Unlock()
	for _, l := range links {
		l.set(false)
	}
	w.Trace("heal")
}

// yield gives other goroutines a turn, or time a chance to pass: the seeded scheduler's way into the order of things.
func (w *World) yield() {
	switch n := w.IntN(16); {
	case n == 0:
		time.Sleep(w.Between(0, 300*time.Microsecond))
	case n < 6:
		runtime.Gosched()
	}
}

// Sleep waits for d or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
