package ingestd

import (
	"log/slog"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/ingest/lane"
)

// latencyBuckets reach from a fast fsync to a slow store, in seconds.
var latencyBuckets = prometheus.ExponentialBuckets(0.000_05, 2, 19)

// metrics is what an ingest node tells of itself. It implements kafka.Metrics, lane.Observer and hotlog.Observer.
type metrics struct {
	registry *prometheus.Registry
	log      *slog.Logger

	connections   prometheus.Gauge
	requests      *prometheus.CounterVec // api, version
	requestTime   *prometheus.HistogramVec
	requestBytes  *prometheus.CounterVec // api, direction
	refused       *prometheus.CounterVec
	chunks        *prometheus.CounterVec // lane
	chunkBatches  *prometheus.CounterVec
	chunkBytes    *prometheus.CounterVec
	flushTime     *prometheus.HistogramVec
	commitTime    *prometheus.HistogramVec
	failedBatches *prometheus.CounterVec // lane, reason
	epochs        prometheus.Counter
	hotBytes      prometheus.Counter
	fsyncs        prometheus.Counter
	fsyncTime     prometheus.Histogram
}

func newMetrics(registry *prometheus.Registry, log *slog.Logger) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: latencyBuckets}, labels)
	}
	m := &metrics{
		registry: registry, log: log,
		connections:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "varve_kafka_connections", Help: "Open connections of Kafka clients."}),
		requests:      counter("varve_kafka_requests_total", "Kafka requests answered.", "api", "version"),
		requestTime:   histogram("varve_kafka_request_seconds", "From a request's last byte to its answer's.", "api"),
		requestBytes:  counter("varve_kafka_bytes_total", "Bytes of Kafka requests and answers.", "api", "direction"),
		refused:       counter("varve_kafka_refused_total", "Connections and frames refused.", "reason"),
		chunks:        counter("varve_chunks_total", "Chunks made durable.", "lane"),
		chunkBatches:  counter("varve_chunk_batches_total", "Record batches in chunks made durable.", "lane"),
		chunkBytes:    counter("varve_chunk_bytes_total", "Bytes of chunks made durable.", "lane"),
		flushTime:     histogram("varve_chunk_flush_seconds", "Time to make a chunk durable.", "lane"),
		commitTime:    histogram("varve_chunk_commit_seconds", "From a chunk's durability to its verdict.", "lane"),
		failedBatches: counter("varve_batches_failed_total", "Batches answered with a failure.", "lane", "reason"),
		epochs:        prometheus.NewCounter(prometheus.CounterOpts{Name: "varve_node_epochs_total", Help: "Epochs this process has taken."}),
		hotBytes:      prometheus.NewCounter(prometheus.CounterOpts{Name: "varve_hotlog_bytes_total", Help: "Bytes appended to the hot log."}),
		fsyncs:        prometheus.NewCounter(prometheus.CounterOpts{Name: "varve_hotlog_fsyncs_total", Help: "fdatasync calls for groups of chunks."}),
		fsyncTime:     prometheus.NewHistogram(prometheus.HistogramOpts{Name: "varve_hotlog_fsync_seconds", Help: "Time of those calls.", Buckets: latencyBuckets}),
	}
	registry.MustRegister(m.connections, m.requests, m.requestTime, m.requestBytes, m.refused, m.chunks, m.chunkBatches, m.chunkBytes,
		m.flushTime, m.commitTime, m.failedBatches, m.epochs, m.hotBytes, m.fsyncs, m.fsyncTime)
	return m
}

func (m *metrics) observeHotLog(log *hotlog.Log) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "varve_hotlog_size_bytes", Help: "Size of the hot log's segments."},
		func() float64 { return float64(log.SizeBytes()) }))
}

func (m *metrics) observeLanes(lanes *lane.Set) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "varve_lane_bytes", Help: "Bytes of batches between arrival and verdict."},
			func() float64 { return float64(lanes.Stats().BudgetedBytes) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "varve_lane_requests", Help: "Produce requests without all their verdicts."},
			func() float64 { return float64(lanes.Stats().Requests) }),
	)
}

// Connections implements kafka.Metrics.
func (m *metrics) Connections(n int) { m.connections.Set(float64(n)) }

// Request implements kafka.Metrics.
func (m *metrics) Request(api string, version int16, took time.Duration, requestBytes, responseBytes int) {
	m.requests.WithLabelValues(api, strconv.Itoa(int(version))).Inc()
	m.requestTime.WithLabelValues(api).Observe(took.Seconds())
	m.requestBytes.WithLabelValues(api, "in").Add(float64(requestBytes))
	m.requestBytes.WithLabelValues(api, "out").Add(float64(responseBytes))
}

// Refused implements kafka.Metrics.
func (m *metrics) Refused(reason string) { m.refused.WithLabelValues(reason).Inc() }

// ChunkFlushed implements lane.Observer.
func (m *metrics) ChunkFlushed(l lane.Lane, batches, sizeBytes int, took time.Duration) {
	m.chunks.WithLabelValues(l.String()).Inc()
	m.chunkBatches.WithLabelValues(l.String()).Add(float64(batches))
	m.chunkBytes.WithLabelValues(l.String()).Add(float64(sizeBytes))
	m.flushTime.WithLabelValues(l.String()).Observe(took.Seconds())
}

// ChunkCommitted implements lane.Observer.
func (m *metrics) ChunkCommitted(l lane.Lane, _ int, took time.Duration) {
	m.commitTime.WithLabelValues(l.String()).Observe(took.Seconds())
}

// BatchesFailed implements lane.Observer.
func (m *metrics) BatchesFailed(l lane.Lane, failure lane.Failure, batches int) {
	m.failedBatches.WithLabelValues(l.String(), failure.String()).Add(float64(batches))
}

// Trouble implements lane.Observer.
func (m *metrics) Trouble(operation string, err error) {
	m.log.Warn("trouble on the write path; it is tried again", "operation", operation, "error", err)
}

// EpochStarted implements lane.Observer.
func (m *metrics) EpochStarted(r lane.Registration) {
	m.epochs.Inc()
	m.log.Debug("node has a new epoch", "node", int32(r.Node), "epoch", r.Epoch)
}

// GroupAppended implements hotlog.Observer.
func (m *metrics) GroupAppended(_ int, payloadBytes int64, _, sync time.Duration) {
	m.hotBytes.Add(float64(payloadBytes))
	m.fsyncs.Inc()
	m.fsyncTime.Observe(sync.Seconds())
}
