package leader

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog/mem"
)

func storeTime(context.Context) (time.Time, error) { return time.Now(), nil }

func tenYearsAhead() time.Time { return time.Now().AddDate(10, 0, 0) }

// A machine that starts before its clock is set put its time into the log, for ever: producers' sequences and groups' offsets expired
// at once.
func TestAWrongClockDoesNotComeIntoTheLog(t *testing.T) {
	n := start(t, mem.New().Open(), nil, func(c *Config) { c.Now, c.StoreTime = tenYearsAhead, storeTime })
	n.replica.View(func(s *meta.State) {
		if ahead := time.Until(time.UnixMilli(s.TimeMillis())); ahead.Abs() > clockTolerance {
			t.Errorf("state time is ahead by %v", ahead)
		}
	})
}

// The next leader's clock was right and agreed with the bucket's, so retention went by a state time ten years ahead, and dropped
// everything that had an age.
func TestRetentionStopsWhereTheLogsTimeIsAhead(t *testing.T) {
	backing := mem.New()
	start(t, backing.Open(), nil, func(c *Config) { c.Now = tenYearsAhead }).halt(t)
	n := start(t, backing.Open(), nil, func(c *Config) { c.StoreTime = storeTime })
	if n.clockAgrees(timeout(t)) {
		t.Error("retention goes on by a time that is ten years ahead")
	}
}

// A standby whose clock is ten minutes off takes over. State time neither goes back nor jumps, and goes on at the bucket's pace for as long as it leads: no
// transaction, lease or record becomes older than it is.
func TestASuccessorWithAWrongClockKeepsTheTime(t *testing.T) {
	for _, off := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
		for name, answers := range map[string]bool{"the bucket tells its time": true, "the bucket does not": false} {
			t.Run(off.String()+", "+name, func(t *testing.T) {
				backing := mem.New()
				start(t, backing.Open(), nil, func(c *Config) { c.StoreTime = storeTime }).halt(t)
				var reachable atomic.Bool
				reachable.Store(answers)
				var passed atomic.Int64 // what time has passed for everybody beyond the test's own
				now := func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }
				n := start(t, backing.Open(), nil, func(c *Config) {
					c.Now = func() time.Time { return now().Add(off) }
					c.StoreTime = func(context.Context) (time.Time, error) {
						if !reachable.Load() {
							return time.Time{}, errors.New("no answer")
						}
						return now(), nil
					}
				})
				apart := func() time.Duration { return time.UnixMilli(n.clock.Load().millis()).Sub(now()).Abs() }
				if got := apart(); got > 10*time.Second {
					t.Errorf("state time is %v off when it takes over", got)
				}
				for range 100 {
					passed.Add(int64(time.Minute))
					if got := apart(); got > 10*time.Second {
						t.Fatalf("state time is %v off after %v", got, time.Duration(passed.Load()))
					}
				}
				reachable.Store(true)
				n.clockAgrees(timeout(t))
				if got := apart(); got > 10*time.Second {
					t.Errorf("state time is %v off when the bucket has been asked", got)
				}
			})
		}
	}
}
