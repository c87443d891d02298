package ingestd

import (
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/ingest/kafka"
)

const (
	// maxClientSeries bounds the series of all clients. Above it, new ones are counted and dropped.
	maxClientSeries = 20_000
	// clientSeriesExpiry: what a client has not pushed for so long is not told any more. It is above the longest interval of pushes.
	clientSeriesExpiry = 65 * time.Minute
)

// clientMetrics exports what clients push (KIP-714). It implements kafka.ClientMetrics and prometheus.Collector.
//
// The points of one metric that a client pushes at once are added up, whatever their attributes: a series is a client's metric.
type clientMetrics struct {
	pushes, points, dropped prometheus.Counter
	value, count            *prometheus.Desc

	mu struct {
		sync.Mutex
		series map[clientSeries]*clientValue
	}
}

type clientSeries struct{ instance, client, software, metric string }

type clientValue struct {
	value   float64
	count   uint64
	kind    kafka.TelemetryKind
	touched time.Time
}

func newClientMetrics(registry *prometheus.Registry) *clientMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	labels := []string{"client_instance_id", "client_id", "client_software_name", "metric"}
	m := &clientMetrics{
		pushes:  counter("varve_client_telemetry_pushes_total", "Pushes of metrics by clients."),
		points:  counter("varve_client_telemetry_points_total", "Points in pushes of metrics by clients."),
		dropped: counter("varve_client_telemetry_dropped_total", "Points that were dropped because there are too many series."),
		value:   prometheus.NewDesc("varve_client_metric", "A metric that a client pushed: a gauge, a sum since the first push, or the sum of a histogram.", labels, nil),
		count:   prometheus.NewDesc("varve_client_metric_count", "The count of a histogram that a client pushed.", labels, nil),
	}
	m.mu.series = make(map[clientSeries]*clientValue)
	registry.MustRegister(m.pushes, m.points, m.dropped, m)
	return m
}

// Pushed implements kafka.ClientMetrics.
func (m *clientMetrics) Pushed(client kafka.TelemetryClient, points []kafka.TelemetryPoint) {
	m.pushes.Inc()
	m.points.Add(float64(len(points)))
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.mu.series)+len(points) > maxClientSeries {
		m.expire(now)
	}
	for i := range points {
		p := &points[i]
		key := clientSeries{client.InstanceID, valid(client.ClientID), valid(client.SoftwareName), valid(p.Name)}
		v := m.mu.series[key]
		if v == nil {
			if len(m.mu.series) >= maxClientSeries {
				m.dropped.Inc()
				continue
			}
			v = &clientValue{}
			m.mu.series[key] = v
		}
		if v.touched != now && !p.Delta {
			v.value, v.count = 0, 0
		}
		v.kind, v.touched = p.Kind, now
		v.value += p.Value
		v.count += p.Count
	}
}

// valid makes a client's text one that can be a label.
func valid(text string) string { return strings.ToValidUTF8(text, "?") }

// Ended implements kafka.ClientMetrics.
func (m *clientMetrics) Ended(client kafka.TelemetryClient) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.mu.series {
		if key.instance == client.InstanceID {
			delete(m.mu.series, key)
		}
	}
}

func (m *clientMetrics) expire(now time.Time) {
	for key, v := range m.mu.series {
		if now.Sub(v.touched) > clientSeriesExpiry {
			delete(m.mu.series, key)
		}
	}
}

// Describe implements prometheus.Collector.
func (m *clientMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.value
	ch <- m.count
}

// Collect implements prometheus.Collector.
func (m *clientMetrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(time.Now())
	for key, v := range m.mu.series {
		labels := []string{key.instance, key.client, key.software, key.metric}
		ch <- prometheus.MustNewConstMetric(m.value, prometheus.GaugeValue, v.value, labels...)
		if v.kind == kafka.TelemetryHistogram {
			ch <- prometheus.MustNewConstMetric(m.count, prometheus.CounterValue, float64(v.count), labels...)
		}
	}
}
