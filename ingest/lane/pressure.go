package lane

import (
	"math"
	"sync/atomic"
	"time"
)

const (
	// maxDelay is the longest that a client is made to wait before its next request.
	maxDelay = 2 * time.Second
	// fillSlow is from where on what keeps chunks until they are shipped slows producers down, who are refused where it is full.
	fillSlow = 0.8
	// fillEarly is from where on segments are sealed at earlySealAge, so that their runs are shipped and forgotten sooner.
	fillEarly    = 0.5
	earlySealAge = time.Second
	// heldSlow is the part of a lane's bound from where on its batches are looked at for how long they take, and sojournTarget how long is well.
	heldSlow      = 0.25
	sojournTarget = time.Second
	// markLife is for how long after the last look at a lane the next still tells how long the batch took that was waited for.
	markLife = time.Second
)

// pressure slows producers down before what stands behind the lanes is full, and refuses them where it is, so that memory and disks stay within
// their bounds and no lane takes the memory of another. Slowing down is telling clients to wait, in the answers, and not reading from
// them meanwhile.
type pressure struct {
	bound [laneCount]int64 // of held
	// held is the bytes of a lane's batches between Append and result.
	held [laneCount]atomic.Int64
	// hotLog and runs are how full the hot log and the cluster's budget of unshipped runs are, as float64 bits; 1 is full.
	hotLog, runs atomic.Uint64
	delayed      atomic.Int64 // nanoseconds of all delays
}

// mark is a batch that is waited for, to learn how long batches stay in a lane. The Set's mutex guards it.
type mark struct {
	ticket   uint64
	at, seen time.Time
	last     time.Duration // how long the one before took
}

// The lanes whose chunks wait for something beyond this node may hold half of the memory each, so that the others go on.
func newPressure(budgetBytes int64) *pressure {
	p := &pressure{}
	for lane := range p.bound {
		p.bound[lane] = max(1, budgetBytes/2)
	}
	p.bound[Local] = budgetBytes
	return p
}

// SetFill tells how full the node's hot log is, and how full the cluster's budget of runs that wait to be shipped; 1 is full. From half of the
// budget of runs on segments are sealed early. From four fifths of either on producers are slowed down; where the hot log is full, what would
// go there is refused.
func (s *Set) SetFill(hotLog, runs float64) {
	before := s.sealAge()
	s.pressure.hotLog.Store(math.Float64bits(hotLog))
	s.pressure.runs.Store(math.Float64bits(runs))
	if current := s.current.Load(); current != nil && s.sealAge() < before {
		current.segments.signal()
	}
}

// sealAge is the age at which a hot segment is sealed at present.
func (s *Set) sealAge() time.Duration {
	if math.Float64frombits(s.pressure.runs.Load()) >= fillEarly {
		return min(earlySealAge, s.config.SealAge)
	}
	return s.config.SealAge
}

// Delay is how long whoever sends these batches should be made to wait before sending more.
func (s *Set) Delay(batches []Batch) (delay time.Duration) {
	var seen [laneCount]bool
	for i := range batches {
		lane, known := laneOf(batches[i].Durability)
		if !known || seen[lane] {
			continue
		}
		seen[lane] = true
		delay = max(delay, s.laneDelay(lane))
	}
	s.pressure.delayed.Add(int64(delay))
	return delay
}

// Delayed is the sum of all delays so far.
func (s *Set) Delayed() time.Duration { return time.Duration(s.pressure.delayed.Load()) }

func (s *Set) laneDelay(lane Lane) time.Duration {
	p := s.pressure
	fill := math.Float64frombits(p.runs.Load())
	if lane != Object {
		fill = max(fill, math.Float64frombits(p.hotLog.Load()))
	}
	delay := fillDelay(fill)
	if held := float64(p.held[lane].Load()) / float64(p.bound[lane]); held > heldSlow {
		late := min(maxDelay, s.sojourn(lane, time.Now())-sojournTarget)
		delay = max(delay, time.Duration(min(1, 2*(held-heldSlow))*float64(late)))
	}
	return delay
}

// fillDelay grows from nothing to maxDelay, slowly at first.
func fillDelay(fill float64) time.Duration {
	if fill <= fillSlow {
		return 0
	}
	share := min(1, (fill-fillSlow)/(1-fillSlow))
	return time.Duration(share * share * float64(maxDelay))
}

// sojourn is about how long batches stay in the lane at present.
func (s *Set) sojourn(lane Lane, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, m := s.queues[lane], &s.mu.marks[lane]
	settled, seen := m.ticket <= q.settled.Load(), now.Sub(m.seen) <= markLife
	switch {
	case settled && seen:
		*m = mark{ticket: q.enqueued, at: now, last: now.Sub(m.at)}
	case settled: // at some time since
		*m = mark{ticket: q.enqueued, at: now}
	case !seen: // what waits has waited since, however seldom somebody looks
		m.last = 0
	}
	m.seen = now
	return max(m.last, now.Sub(m.at))
}

// overloaded tells whether the lane takes no more batches for now.
func (p *pressure) overloaded(lane Lane) bool {
	if lane == Local {
		return math.Float64frombits(p.hotLog.Load()) >= 1
	}
	return p.held[lane].Load() >= p.bound[lane] || lane != Object && math.Float64frombits(p.hotLog.Load()) >= 1
}

// released counts batches that have their results.
func (p *pressure) released(lane Lane, entries []entry) {
	bytes := int64(0)
	for i := range entries {
		bytes += int64(len(entries[i].Data))
	}
	p.held[lane].Add(-bytes)
}
