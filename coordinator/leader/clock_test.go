package leader

import (
	"context"
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
