package tieringd

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/tiering/compact"
)

// metrics implements the observers of shipping, compacting and sweeping.
type metrics struct {
	objects, failures prometheus.Counter
	bytes             *prometheus.CounterVec
	took              prometheus.Histogram
	damaged           *prometheus.CounterVec
	deleted           *prometheus.CounterVec

	rounds, merges                   prometheus.Counter
	compactionFailures               prometheus.Counter
	compactedBytes, compactedRecords *prometheus.CounterVec
	compactionTook                   prometheus.Histogram
}

func newMetrics(registry *prometheus.Registry) *metrics {
	m := &metrics{
		objects:  prometheus.NewCounter(prometheus.CounterOpts{Name: "varve_shipped_objects_total", Help: "Segment objects stored."}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "varve_ship_failures_total", Help: "Tiering jobs that failed and wait again."}),
		bytes:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "varve_shipped_bytes_total", Help: "Bytes of batches read, and of objects stored."}, []string{"direction"}),
		took:     prometheus.NewHistogram(prometheus.HistogramOpts{Name: "varve_ship_seconds", Help: "Time of a tiering job.", Buckets: prometheus.ExponentialBuckets(0.01, 2, 14)}),
		deleted:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "varve_deleted_objects_total", Help: "Objects deleted."}, []string{"why"}),
	}
	m.damaged = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "varve_ship_damaged_runs_total", Help: "Runs whose bytes in one place were damaged, by whether another copy was shipped or the run was left."}, []string{"outcome"})
	m.rounds = prometheus.NewCounter(prometheus.CounterOpts{Name: "varve_compaction_rounds_total", Help: "Rounds of compaction that came to their end."})
	m.merges = prometheus.NewCounter(prometheus.CounterOpts{Name: "varve_merge_rounds_total", Help: "Rounds that put small parts of a partition together."})
	m.compactionFailures = prometheus.NewCounter(prometheus.CounterOpts{Name: "varve_compaction_failures_total", Help: "Rounds of compaction that failed and are tried again."})
	m.compactedBytes = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "varve_compacted_bytes_total", Help: "Bytes of batches that rounds of compaction or merging went through, and of objects stored."}, []string{"direction"})
	m.compactedRecords = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "varve_compacted_records_total", Help: "Records that rounds of compaction kept, and removed."}, []string{"outcome"})
	m.compactionTook = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "varve_compaction_seconds", Help: "Time of a round of compaction.", Buckets: prometheus.ExponentialBuckets(0.01, 2, 18)})
	registry.MustRegister(m.objects, m.failures, m.bytes, m.took, m.damaged, m.deleted)
	registry.MustRegister(m.rounds, m.merges, m.compactionFailures, m.compactedBytes, m.compactedRecords, m.compactionTook)
	return m
}

// Shipped implements ship.Observer.
func (m *metrics) Shipped(objects int, bytesIn, bytesOut int64, took time.Duration) {
	m.objects.Add(float64(objects))
	m.bytes.WithLabelValues("in").Add(float64(bytesIn))
	m.bytes.WithLabelValues("out").Add(float64(bytesOut))
	m.took.Observe(took.Seconds())
}

// ShipFailed implements ship.Observer.
func (m *metrics) ShipFailed() { m.failures.Inc() }

// ShipDamaged implements ship.Observer.
func (m *metrics) ShipDamaged(left bool) {
	outcome := "copy"
	if left {
		outcome = "left"
	}
	m.damaged.WithLabelValues(outcome).Inc()
}

// Deleted implements sweep.Observer.
func (m *metrics) Deleted(garbage, orphans int) {
	m.deleted.WithLabelValues("garbage").Add(float64(garbage))
	m.deleted.WithLabelValues("orphan").Add(float64(orphans))
}

// Compacted implements compact.Observer.
func (m *metrics) Compacted(s compact.Stats, took time.Duration) {
	switch {
	case s.Complete && s.Merged:
		m.merges.Inc()
	case s.Complete:
		m.rounds.Inc()
	}
	m.compactedBytes.WithLabelValues("in").Add(float64(s.BytesIn))
	m.compactedBytes.WithLabelValues("out").Add(float64(s.BytesOut))
	m.compactedRecords.WithLabelValues("kept").Add(float64(s.Kept))
	m.compactedRecords.WithLabelValues("removed").Add(float64(s.Removed))
	m.compactionTook.Observe(took.Seconds())
}

// CompactionFailed implements compact.Observer.
func (m *metrics) CompactionFailed() { m.compactionFailures.Inc() }
