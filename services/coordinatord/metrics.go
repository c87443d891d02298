package coordinatord

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/coordinator/leader"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/replica"
)

// observe registers the metrics of a replica.
func observe(registry *prometheus.Registry, r *replica.Replica) {
	gauge := func(name, help string, value func(*meta.State) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() (v float64) {
			r.View(func(s *meta.State) { v = value(s) })
			return v
		})
	}
	registry.MustRegister(
		gauge("varve_metadata_seq", "Sequence of the last metadata entry applied.", func(s *meta.State) float64 { return float64(s.Seq()) }),
		gauge("varve_partitions", "Partitions of all topics.", func(s *meta.State) float64 { return float64(s.PartitionCount()) }),
		gauge("varve_leader_epoch", "Epoch of the coordinator that leads.", func(s *meta.State) float64 { return float64(s.LeaderEpoch()) }),
		gauge("varve_feature_level", "Level of what the metadata log may hold; it rises when everybody knows a higher one.", func(s *meta.State) float64 { return float64(s.FeatureLevel()) }),
		gauge("varve_unshipped_bytes", "Bytes of sealed containers that wait to be shipped.", func(s *meta.State) float64 {
			_, bytes := s.Waiting(s.TimeMillis())
			return float64(bytes)
		}),
		gauge("varve_lost_offsets", "Offsets whose records were declared lost with a node, and that no retention has passed.", func(s *meta.State) float64 { return float64(s.LostOffsets()) }),
		gauge("varve_garbage_objects", "Objects that wait to be deleted.", func(s *meta.State) float64 { return float64(len(s.Garbage())) }),
	)
}

// appends are the metrics of a leader. It is a leader.Observer.
type appends struct {
	seconds, commands, bytes       prometheus.Histogram
	snapshots, snapshotHeldSeconds prometheus.Counter
	snapshotRewrites               prometheus.Counter
	snapshotBytes                  prometheus.Gauge
}

var _ leader.Observer = (*appends)(nil)

func newAppends(registry *prometheus.Registry) *appends {
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	a := &appends{
		seconds:             histogram("varve_metalog_append_seconds", "How long an entry took to become durable.", prometheus.ExponentialBuckets(50e-6, 2, 16)),
		commands:            histogram("varve_metalog_entry_commands", "Commands in one entry.", prometheus.ExponentialBuckets(1, 4, 7)),
		bytes:               histogram("varve_metalog_entry_bytes", "Bytes of one entry.", prometheus.ExponentialBuckets(128, 4, 7)),
		snapshots:           counter("varve_snapshots_total", "Snapshots of the metadata written."),
		snapshotHeldSeconds: counter("varve_snapshot_held_seconds_total", "How long entries waited for snapshots."),
		snapshotRewrites:    counter("varve_snapshot_objects_rewritten_total", "Objects of snapshots that were damaged in the bucket, or could not be read, and were written again."),
		snapshotBytes:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "varve_snapshot_bytes", Help: "Bytes of the last snapshot, parts that were kept among them."}),
	}
	registry.MustRegister(a.seconds, a.commands, a.bytes, a.snapshots, a.snapshotHeldSeconds, a.snapshotRewrites, a.snapshotBytes)
	return a
}

// Appended implements leader.Observer.
func (a *appends) Appended(commands, sizeBytes int, took time.Duration) {
	a.seconds.Observe(took.Seconds())
	a.commands.Observe(float64(commands))
	a.bytes.Observe(float64(sizeBytes))
}

// Snapshotted implements leader.Observer.
func (a *appends) Snapshotted(sizeBytes int64, held time.Duration) {
	a.snapshots.Inc()
	a.snapshotHeldSeconds.Add(held.Seconds())
	a.snapshotBytes.Set(float64(sizeBytes))
}

// Rewrote implements leader.Observer.
func (a *appends) Rewrote(objects int) { a.snapshotRewrites.Add(float64(objects)) }
