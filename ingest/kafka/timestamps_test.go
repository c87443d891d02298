package kafka

import (
	"math"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/recordbatch"
)

func TestTimestampBoundsAreExact(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	bounded := &topic{config: meta.TopicConfig{TimestampBeforeMaxMillis: 1000, TimestampAfterMaxMillis: 2000}}
	for _, test := range []struct {
		first, largest int64
		refused        bool
	}{
		{1_000_000, 1_000_000, false},
		{999_000, 999_000, false}, {998_999, 1_000_000, true},
		{1_000_000, 1_002_000, false}, {1_000_000, 1_002_001, true},
		{recordbatch.NoTimestamp, 1_000_000, false}, // the first record has no time
	} {
		var limits recordbatch.Limits
		limits.OldestMillis, limits.NewestMillis = bounded.timestampBounds(now)
		h := &recordbatch.Header{BaseTimestamp: test.first, MaxTimestamp: test.largest}
		if limits.Holds(h) == test.refused {
			t.Errorf("%d to %d at %d: refused %v", test.first, test.largest, now.UnixMilli(), !test.refused)
		}
	}
	unbounded := &topic{config: meta.TopicConfig{TimestampBeforeMaxMillis: math.MaxInt64, TimestampAfterMaxMillis: math.MaxInt64}}
	if oldest, newest := unbounded.timestampBounds(now); oldest > 0 || newest != math.MaxInt64 {
		t.Errorf("without bounds: %d to %d", oldest, newest)
	}
}
