package blockcache

import "github.com/prometheus/client_golang/prometheus"

// Stats counts what a cache has done. Hits, Misses, Joins and ReadAheads are in blocks.
type Stats struct {
	// Hits were cached, Joins were on their way for another reader or read ahead, Misses had to be fetched.
	Hits, Joins, Misses uint64
	// ReadAheads were fetched before anyone asked for them.
	ReadAheads uint64
	// Fetches were started; each is one GET, and Retries more. Failures brought an error in the end.
	Fetches, Retries, Failures uint64
	FetchedBytes               uint64
	// KeptBytes came from the writers of objects.
	KeptBytes uint64
	// Evicted blocks; of them EvictedUnread were read ahead for nothing.
	Evicted, EvictedUnread uint64

	// InFlight are the fetches in progress or waiting for their turn.
	InFlight int
	// CachedBytes are held, ProtectedBytes of them as hot; PendingBytes are reserved for blocks on their way.
	CachedBytes, ProtectedBytes, PendingBytes int64
}

// Stats returns the counts so far.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	stats, shelf := c.mu.stats, &c.mu.shelf
	stats.Evicted, stats.EvictedUnread = shelf.evicted, shelf.evictedUnread
	stats.CachedBytes = shelf.queueBytes + shelf.protectedBytes
	stats.ProtectedBytes = shelf.protectedBytes
	stats.PendingBytes = shelf.pendingBytes
	return stats
}

var metrics = []struct {
	description *prometheus.Desc
	kind        prometheus.ValueType
	value       func(Stats) float64
}{
	counter("hits_total", "Blocks found in the cache.", func(s Stats) float64 { return float64(s.Hits) }),
	counter("joins_total", "Blocks found on their way.", func(s Stats) float64 { return float64(s.Joins) }),
	counter("misses_total", "Blocks that had to be fetched.", func(s Stats) float64 { return float64(s.Misses) }),
	counter("read_ahead_blocks_total", "Blocks fetched before they were asked for.", func(s Stats) float64 { return float64(s.ReadAheads) }),
	counter("fetches_total", "Fetches of adjacent blocks.", func(s Stats) float64 { return float64(s.Fetches) }),
	counter("retries_total", "GETs repeated within fetches.", func(s Stats) float64 { return float64(s.Retries) }),
	counter("failures_total", "Fetches that failed.", func(s Stats) float64 { return float64(s.Failures) }),
	counter("fetched_bytes_total", "Bytes brought by fetches.", func(s Stats) float64 { return float64(s.FetchedBytes) }),
	counter("kept_bytes_total", "Bytes cached as their object was stored.", func(s Stats) float64 { return float64(s.KeptBytes) }),
	counter("evicted_blocks_total", "Blocks evicted.", func(s Stats) float64 { return float64(s.Evicted) }),
	counter("evicted_unread_blocks_total", "Blocks read ahead and evicted unread.", func(s Stats) float64 { return float64(s.EvictedUnread) }),
	gauge("inflight_fetches", "Fetches in progress or waiting for their turn.", func(s Stats) float64 { return float64(s.InFlight) }),
	gauge("cached_bytes", "Bytes of cached blocks.", func(s Stats) float64 { return float64(s.CachedBytes) }),
	gauge("protected_bytes", "Bytes of cached blocks that are read repeatedly.", func(s Stats) float64 { return float64(s.ProtectedBytes) }),
	gauge("pending_bytes", "Bytes reserved for blocks on their way.", func(s Stats) float64 { return float64(s.PendingBytes) }),
}

type metric = struct {
	description *prometheus.Desc
	kind        prometheus.ValueType
	value       func(Stats) float64
}

func counter(name, help string, value func(Stats) float64) metric {
	return metric{prometheus.NewDesc("varve_blockcache_"+name, help, nil, nil), prometheus.CounterValue, value}
}

func gauge(name, help string, value func(Stats) float64) metric {
	return metric{prometheus.NewDesc("varve_blockcache_"+name, help, nil, nil), prometheus.GaugeValue, value}
}

// Describe implements prometheus.Collector.
func (c *Cache) Describe(descriptions chan<- *prometheus.Desc) {
	for _, m := range metrics {
		descriptions <- m.description
	}
}

// Collect implements prometheus.Collector.
func (c *Cache) Collect(collected chan<- prometheus.Metric) {
	stats := c.Stats()
	for _, m := range metrics {
		collected <- prometheus.MustNewConstMetric(m.description, m.kind, m.value(stats))
	}
}
