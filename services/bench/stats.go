package bench

import (
	"slices"
	"time"
)

// percentile returns the value below or at which the fraction q (0 to 1) of the samples lies: the nearest rank. It is 0 without samples.
// samples is sorted by the call.
func percentile(samples []time.Duration, q float64) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	slices.Sort(samples)
	rank := int(q*float64(len(samples)) + 0.999999)
	return samples[min(max(rank, 1), len(samples))-1]
}

// median returns the middle value, or the mean of the two in the middle; 0 without values. values is left as it is.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// ratio is a / b, and 0 where b is 0: nothing was measured.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

const bytesPerGB = 1e9

// secondsPerGB is what moving so many bytes cost for each 10^9 of them.
func secondsPerGB(cost time.Duration, sizeBytes int64) float64 {
	return ratio(cost.Seconds()*bytesPerGB, float64(sizeBytes))
}

// millis is d in milliseconds.
func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// latencies summarises one slice of a latency measurement.
type latencies struct {
	p50, p99 time.Duration
	count    int
}

func summarise(samples []time.Duration) latencies {
	return latencies{p50: percentile(samples, 0.50), p99: percentile(samples, 0.99), count: len(samples)}
}
