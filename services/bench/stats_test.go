package bench

import (
	"math"
	"testing"
	"time"
)

func TestPercentileIsTheNearestRank(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(100 - i)
	}
	for _, test := range []struct {
		samples []time.Duration
		q       float64
		want    time.Duration
	}{
		{nil, 0.5, 0},
		{[]time.Duration{7}, 0.99, 7},
		{[]time.Duration{3, 1, 2}, 0.5, 2},
		{[]time.Duration{4, 3, 2, 1}, 0.5, 2},
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 1, 100},
		{hundred, 0, 1},
	} {
		if got := percentile(test.samples, test.q); got != test.want {
			t.Errorf("percentile %v of %d samples: got %d, want %d", test.q, len(test.samples), got, test.want)
		}
	}
}

func TestMedianLeavesItsInputAlone(t *testing.T) {
	values := []float64{5, 1, 3}
	if got := median(values); got != 3 {
		t.Errorf("odd: got %v", got)
	}
	if values[0] != 5 {
		t.Errorf("input was sorted: %v", values)
	}
	if got := median([]float64{4, 1, 2, 3}); got != 2.5 {
		t.Errorf("even: got %v", got)
	}
	if got := median(nil); got != 0 {
		t.Errorf("empty: got %v", got)
	}
}

func TestRatiosOfNothingAreZero(t *testing.T) {
	if got := ratio(1, 0); got != 0 {
		t.Errorf("ratio: got %v", got)
	}
	if got := secondsPerGB(time.Second, 0); got != 0 {
		t.Errorf("secondsPerGB: got %v", got)
	}
	if got := secondsPerGB(time.Second, 500_000_000); math.Abs(got-2) > 1e-9 {
		t.Errorf("secondsPerGB: got %v, want 2", got)
	}
}
