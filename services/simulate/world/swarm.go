package world

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Swarm says which faults a seed has, and how hard they strike. Chances are per operation, intervals are means.
type Swarm struct {
	Group bool // three coordinators that stand by for each other, instead of two that do not know each other
	Zones bool // nodes are in two zones, instead of in none
	// Of calls between processes.
	RequestLost, AnswerLost, Repeated float64
	Delay                             time.Duration // the longest of an ordinary message
	Straggle                          float64       // a message that takes up to a hundred times as long
	// Of hints on the bus.
	HintLost, HintLate float64
	BusDead            bool // none arrives, and the bus says so
	// Of the metadata log.
	AppendLost, AppendUnanswered, AppendLate, ReadFails, EndStale float64
	MetalogOnBucket                                               bool
	// Of the store.
	StoreFails, StoreFailsAfter, StoreThrottles, StoreLate float64
	// Of the disks.
	WriteFails, SyncFails float64
	DiskFull              bool
	DiskLost              bool // one node's, once, with the node: nothing is of the class local then, and the node is forgotten

	// How often something happens to a process; 0 for never.
	Crash, PowerLoss, Restart, Pause, Cut, CoordinatorCrash, WorkerCrash time.Duration
	// Rot is how often a bit of the metadata's snapshots flips in the bucket.
	Rot time.Duration
	// PauseFor is how long a pause lasts at most, CutFor a cut.
	PauseFor, CutFor time.Duration
	// ClockSkew is how far a process's clock may be from the world's, ClockDrift how much faster or slower it may run.
	ClockSkew  time.Duration
	ClockDrift float64
}

// newSwarm draws which faults there are.
func newSwarm(r *rand.Rand) Swarm {
	chance := func(most float64) float64 {
		if r.IntN(5) < 2 {
			return 0
		}
		return most * r.Float64() * r.Float64()
	}
	every := func(least, most time.Duration) time.Duration {
		if r.IntN(2) == 0 {
			return 0
		}
		return least + time.Duration(r.Int64N(int64(most-least)))
	}
	s := Swarm{
		RequestLost: chance(0.05), AnswerLost: chance(0.1), Repeated: chance(0.05), Straggle: chance(0.05),
		Delay:    time.Duration(1+r.IntN(4000)) * time.Microsecond,
		HintLost: chance(0.5), HintLate: chance(0.3), BusDead: r.IntN(8) == 0,
		AppendLost: chance(0.1), AppendUnanswered: chance(0.15), AppendLate: chance(0.1), ReadFails: chance(0.1), EndStale: chance(0.1),
		MetalogOnBucket: r.IntN(4) == 0,
		StoreFails:      chance(0.15), StoreFailsAfter: chance(0.15), StoreThrottles: chance(0.1), StoreLate: chance(0.1),
		WriteFails: chance(0.01), SyncFails: chance(0.03), DiskFull: r.IntN(6) == 0,
		Crash: every(time.Second, 10*time.Second), PowerLoss: every(2*time.Second, 15*time.Second),
		Pause: every(time.Second, 10*time.Second), Cut: every(time.Second, 8*time.Second),
		Restart: every(3*time.Second, 15*time.Second), CoordinatorCrash: every(2*time.Second, 15*time.Second),
		WorkerCrash: every(2*time.Second, 15*time.Second),
		PauseFor:    time.Duration(1+r.IntN(60)) * 200 * time.Millisecond, CutFor: time.Duration(1+r.IntN(40)) * 100 * time.Millisecond,
	}
	if r.IntN(2) == 0 {
		s.ClockSkew = time.Duration(r.IntN(20*60)) * time.Second
		s.ClockDrift = 0.1 * r.Float64()
	}
	s.Group = r.IntN(3) > 0
	if rot := every(500*time.Millisecond, 5*time.Second); r.IntN(20) > 0 {
		s.Rot = rot
	} else { // a quiet one
		s = Swarm{Group: s.Group, Delay: s.Delay, MetalogOnBucket: s.MetalogOnBucket}
	}
	s.Zones, s.DiskLost = r.IntN(2) == 0, r.IntN(4) == 0
	return s
}

// String names every field.
func (s Swarm) String() string {
	type plain Swarm // without this method
	return fmt.Sprintf("%+v", plain(s))
}
