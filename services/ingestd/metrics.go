package ingestd

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/ingest/fetch"
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
	parked        prometheus.Gauge
	inflated      *prometheus.CounterVec // "stored", "inflated"
	shared        *prometheus.CounterVec // "first", "again"
	acknowledged  *prometheus.CounterVec // by type
	requests      *prometheus.CounterVec // api, version
	requestTime   *prometheus.HistogramVec
	requestBytes  *prometheus.CounterVec // api, direction
	refused       *prometheus.CounterVec
	chunks        *prometheus.CounterVec // lane
	chunkBatches  *prometheus.CounterVec
	chunkBytes    *prometheus.CounterVec
	flushTime     *prometheus.HistogramVec
	commitTime    *prometheus.HistogramVec
	objectPuts    *prometheus.CounterVec // kind, outcome
	objectBytes   *prometheus.CounterVec // kind
	objectPutTime *prometheus.HistogramVec
	failedBatches *prometheus.CounterVec // lane, reason
	epochs        prometheus.Counter
	hotLogFill    prometheus.Gauge
	unshippedRuns prometheus.Gauge
	hotBytes      prometheus.Counter
	fsyncs        prometheus.Counter
	fsyncTime     prometheus.Histogram

	// Looking a child up by its labels costs more than counting does, so those of hot paths are kept.
	perRequest atomic.Pointer[map[requestKey]*requestMetrics] // never changed, only replaced, with adding held
	adding     sync.Mutex
	perLane    [len(lane.Lanes)]laneMetrics
}

type requestKey struct {
	api     string
	version int16
}

// requestMetrics are the children of one API at one version.
type requestMetrics struct {
	count, bytesIn, bytesOut prometheus.Counter
	time                     prometheus.Observer
}

// laneMetrics are the children of one lane.
type laneMetrics struct {
	chunks, batches, bytes prometheus.Counter
	flushTime, commitTime  prometheus.Observer
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
		parked:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "varve_kafka_connections_parked", Help: "Open connections that are idle and have no goroutine of their own."}),
		inflated:      counter("varve_kafka_inflated_bytes_total", "Bytes of zstd batches that were inflated for clients not known to read zstd, and of what became of them.", "bytes"),
		shared:        counter("varve_share_records_given_total", "Records given to members of share groups, for the first time or again.", "delivery"),
		acknowledged:  counter("varve_share_records_acknowledged_total", "Records that members of share groups have acknowledged, by type.", "type"),
		requests:      counter("varve_kafka_requests_total", "Kafka requests answered.", "api", "version"),
		requestTime:   histogram("varve_kafka_request_seconds", "From a request's last byte to its answer's.", "api"),
		requestBytes:  counter("varve_kafka_bytes_total", "Bytes of Kafka requests and answers.", "api", "direction"),
		refused:       counter("varve_kafka_refused_total", "Connections and frames refused.", "reason"),
		chunks:        counter("varve_chunks_total", "Chunks made durable.", "lane"),
		chunkBatches:  counter("varve_chunk_batches_total", "Record batches in chunks made durable.", "lane"),
		chunkBytes:    counter("varve_chunk_bytes_total", "Bytes of chunks made durable.", "lane"),
		flushTime:     histogram("varve_chunk_flush_seconds", "Time to make a chunk durable.", "lane"),
		commitTime:    histogram("varve_chunk_commit_seconds", "From a chunk's durability to its verdict.", "lane"),
		objectPuts:    counter("varve_object_puts_total", "PUTs of chunks, each of which costs: first ones and repeats, and hedges under a second key.", "kind", "outcome"),
		objectBytes:   counter("varve_object_put_bytes_total", "Bytes of those PUTs.", "kind"),
		objectPutTime: histogram("varve_object_put_seconds", "Time of those PUTs that stored their object.", "kind"),
		failedBatches: counter("varve_batches_failed_total", "Batches answered with a failure.", "lane", "reason"),
		epochs:        prometheus.NewCounter(prometheus.CounterOpts{Name: "varve_node_epochs_total", Help: "Epochs this process has taken."}),
		hotLogFill:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "varve_hotlog_fill_ratio", Help: "How full the hot log is within its bound or its disk; producers are slowed down from 0.8 on."}),
		unshippedRuns: prometheus.NewGauge(prometheus.GaugeOpts{Name: "varve_unshipped_runs", Help: "Runs of the cluster that wait to be shipped."}),
		hotBytes:      prometheus.NewCounter(prometheus.CounterOpts{Name: "varve_hotlog_bytes_total", Help: "Bytes appended to the hot log."}),
		fsyncs:        prometheus.NewCounter(prometheus.CounterOpts{Name: "varve_hotlog_fsyncs_total", Help: "fdatasync calls for groups of chunks."}),
		fsyncTime:     prometheus.NewHistogram(prometheus.HistogramOpts{Name: "varve_hotlog_fsync_seconds", Help: "Time of those calls.", Buckets: latencyBuckets}),
	}
	registry.MustRegister(m.connections, m.parked, m.inflated, m.shared, m.acknowledged, m.requests, m.requestTime, m.requestBytes, m.refused, m.chunks, m.chunkBatches, m.chunkBytes,
		m.flushTime, m.commitTime, m.objectPuts, m.objectBytes, m.objectPutTime, m.failedBatches, m.epochs, m.hotLogFill, m.unshippedRuns, m.hotBytes, m.fsyncs, m.fsyncTime)
	m.perRequest.Store(&map[requestKey]*requestMetrics{})
	for _, l := range lane.Lanes {
		name := l.String()
		m.perLane[l] = laneMetrics{
			chunks: m.chunks.WithLabelValues(name), batches: m.chunkBatches.WithLabelValues(name), bytes: m.chunkBytes.WithLabelValues(name),
			flushTime: m.flushTime.WithLabelValues(name), commitTime: m.commitTime.WithLabelValues(name),
		}
	}
	return m
}

func (m *metrics) observeHotLog(log *hotlog.Log) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "varve_hotlog_size_bytes", Help: "Size of the hot log's segments."},
		func() float64 { return float64(log.SizeBytes()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "varve_hotlog_overwrites_total", Help: "Segments of the hot log made from the files of segments that had been shipped."},
			func() float64 { return float64(log.Stats().Overwrites) }))
}

func (m *metrics) observeLanes(lanes *lane.Set) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "varve_lane_bytes", Help: "Bytes of batches between arrival and verdict."},
			func() float64 { return float64(lanes.Stats().BudgetedBytes) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "varve_lane_requests", Help: "Produce requests without all their verdicts."},
			func() float64 { return float64(lanes.Stats().Requests) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "varve_produce_throttle_seconds_total", Help: "How long producers were told to wait since the node cannot keep up."},
			func() float64 { return lanes.Delayed().Seconds() }),
	)
}

func (m *metrics) observeReader(reader *fetch.Reader) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "varve_fetch_bytes", Help: "Memory of Fetch answers that clients have not taken yet."},
		func() float64 { return float64(reader.HeldBytes()) }))
}

// Connections implements kafka.Metrics.
func (m *metrics) Connections(n int) { m.connections.Set(float64(n)) }

// Parked implements kafka.Metrics.
func (m *metrics) Parked(n int) { m.parked.Set(float64(n)) }

// Inflated implements kafka.Metrics.
func (m *metrics) Inflated(storedBytes, inflatedBytes int) {
	m.inflated.WithLabelValues("stored").Add(float64(storedBytes))
	m.inflated.WithLabelValues("inflated").Add(float64(inflatedBytes))
}

// Shared implements kafka.Metrics.
func (m *metrics) Shared(records, again int64) {
	m.shared.WithLabelValues("first").Add(float64(records - again))
	m.shared.WithLabelValues("again").Add(float64(again))
}

// Acknowledged implements kafka.Metrics.
func (m *metrics) Acknowledged(what string, records int64) {
	m.acknowledged.WithLabelValues(what).Add(float64(records))
}

// Request implements kafka.Metrics.
func (m *metrics) Request(api string, version int16, took time.Duration, requestBytes, responseBytes int) {
	r := m.of(requestKey{api, version})
	r.count.Inc()
	r.time.Observe(took.Seconds())
	r.bytesIn.Add(float64(requestBytes))
	r.bytesOut.Add(float64(responseBytes))
}

func (m *metrics) of(key requestKey) *requestMetrics {
	if known := (*m.perRequest.Load())[key]; known != nil {
		return known
	}
	m.adding.Lock()
	defer m.adding.Unlock()
	all := maps.Clone(*m.perRequest.Load())
	if all[key] == nil {
		all[key] = &requestMetrics{
			count: m.requests.WithLabelValues(key.api, strconv.Itoa(int(key.version))), time: m.requestTime.WithLabelValues(key.api),
			bytesIn: m.requestBytes.WithLabelValues(key.api, "in"), bytesOut: m.requestBytes.WithLabelValues(key.api, "out"),
		}
	}
	m.perRequest.Store(&all)
	return all[key]
}

// Refused implements kafka.Metrics.
func (m *metrics) Refused(reason string) { m.refused.WithLabelValues(reason).Inc() }

// ChunkFlushed implements lane.Observer.
func (m *metrics) ChunkFlushed(l lane.Lane, batches, sizeBytes int, took time.Duration) {
	kept := &m.perLane[l]
	kept.chunks.Inc()
	kept.batches.Add(float64(batches))
	kept.bytes.Add(float64(sizeBytes))
	kept.flushTime.Observe(took.Seconds())
}

// ChunkCommitted implements lane.Observer.
func (m *metrics) ChunkCommitted(l lane.Lane, _ int, took time.Duration) {
	m.perLane[l].commitTime.Observe(took.Seconds())
}

// ObjectPut implements lane.Observer.
func (m *metrics) ObjectPut(hedge bool, sizeBytes int, took time.Duration, err error) {
	kind, outcome := "first", "stored"
	if hedge {
		kind = "hedge"
	}
	switch {
	case errors.Is(err, context.Canceled):
		outcome = "given up"
	case err != nil:
		outcome = "failed"
	default:
		m.objectPutTime.WithLabelValues(kind).Observe(took.Seconds())
	}
	m.objectPuts.WithLabelValues(kind, outcome).Inc()
	m.objectBytes.WithLabelValues(kind).Add(float64(sizeBytes))
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
