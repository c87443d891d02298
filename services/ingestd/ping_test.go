package ingestd

import (
	"testing"
	"time"
)

func TestPingsOfTwoNodesDoNotStayInStep(t *testing.T) {
	intervals := map[time.Duration]bool{}
	for range 100 {
		interval := nextPing()
		if interval < pingInterval*3/4 || interval > pingInterval*5/4 {
			t.Errorf("the next ping is in %s", interval)
		}
		intervals[interval] = true
	}
	if len(intervals) < 50 {
		t.Errorf("a hundred intervals of %d lengths", len(intervals))
	}
}
