package kafka

import (
	"hash/crc32"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// ClientMetrics takes what clients push. Its methods are called by many goroutines, must not block and must bound what they keep.
type ClientMetrics interface {
	// Pushed: a client has pushed points, which are valid during the call only.
	Pushed(client TelemetryClient, points []TelemetryPoint)
	// Ended: a client has said that it goes.
	Ended(client TelemetryClient)
}

// TelemetryClient is who pushed.
type TelemetryClient struct {
	InstanceID   string
	ClientID     string
	SoftwareName string
}

// telemetry is what a node knows of the clients that are asked for metrics.
type telemetry struct {
	metadata Metadata

	mu struct {
		sync.Mutex
		instances map[[16]byte]*telemetryInstance
	}
}

// telemetryInstance is one client.
type telemetryInstance struct {
	subscriptionID    int32
	metrics           []string
	interval          time.Duration
	lastGet, lastPush time.Time
	mayAskAgain       bool // its last push was refused in a way that only asking again mends
	terminating       bool
}

const (
	maxTelemetryInstances   = 16_384
	defaultPushInterval     = 5 * time.Minute
	minTelemetryExpiry      = time.Minute
	allTelemetry            = "*"
	clientMetricsMetrics    = "metrics"
	clientMetricsMatch      = "match"
	clientMetricsIntervalMs = "interval.ms"
)

func newTelemetry(metadata Metadata) *telemetry {
	t := &telemetry{metadata: metadata}
	t.mu.instances = make(map[[16]byte]*telemetryInstance)
	return t
}

// telemetrySource is what a client can be told by, named as the match setting names it.
func (c *call) telemetrySource(id [16]byte) map[string]string {
	_, port, err := net.SplitHostPort(c.conn.nc.RemoteAddr().String())
	if err != nil {
		port = ""
	}
	return map[string]string{
		"client_id": c.clientID(), "client_instance_id": uuid.UUID(id).String(), "client_source_address": c.conn.host, "client_source_port": port,
		"client_software_name": c.conn.softwareName, "client_software_version": c.conn.softwareVersion,
	}
}

// subscribe tells what is wanted of a client.
func (t *telemetry) subscribe(id [16]byte, source map[string]string, now time.Time) (telemetryInstance, *kerr.Error) {
	metrics, interval := t.wanted(source)
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.instance(id, metrics, interval, now)
	if i == nil {
		return telemetryInstance{}, kerr.ThrottlingQuotaExceeded
	}
	last := i.lastGet
	if i.lastPush.After(last) {
		last = i.lastPush
	}
	if !i.mayAskAgain && now.Sub(last) < i.interval {
		return telemetryInstance{}, kerr.ThrottlingQuotaExceeded
	}
	i.lastGet, i.mayAskAgain = now, false
	return *i, nil
}

// admit judges a push.
func (t *telemetry) admit(r *kmsg.PushTelemetryRequest, source map[string]string, now time.Time) *kerr.Error {
	metrics, interval := t.wanted(source)
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.instance(r.ClientInstanceID, metrics, interval, now)
	if i == nil {
		return kerr.ThrottlingQuotaExceeded
	}
	if i.terminating {
		return kerr.InvalidRequest
	}
	i.terminating = r.Terminating
	// The first push after asking may come at any time.
	inTime := i.lastGet.After(i.lastPush) || now.Sub(i.lastPush) >= i.interval
	if !inTime && !r.Terminating {
		return kerr.ThrottlingQuotaExceeded
	}
	i.lastPush = now
	switch {
	case r.SubscriptionID != i.subscriptionID:
		i.mayAskAgain = true
		return kerr.UnknownSubscriptionID
	case !recordbatch.Codec(r.CompressionType).Valid():
		i.mayAskAgain = true
		return kerr.UnsupportedCompressionType
	case len(r.Metrics) > telemetryMaxBytes:
		return kerr.TelemetryTooLarge
	}
	return nil
}

// instance finds or makes a client's, new where what is wanted of it has changed; nil where there are too many. mu is held.
func (t *telemetry) instance(id [16]byte, metrics []string, interval time.Duration, now time.Time) *telemetryInstance {
	subscription := subscriptionID(id, metrics, interval)
	i := t.mu.instances[id]
	if i != nil && i.subscriptionID == subscription {
		return i
	}
	if i == nil && len(t.mu.instances) >= maxTelemetryInstances {
		for id, i := range t.mu.instances {
			if expiry := max(3*i.interval, minTelemetryExpiry); now.Sub(i.lastGet) > expiry && now.Sub(i.lastPush) > expiry {
				delete(t.mu.instances, id)
			}
		}
		if len(t.mu.instances) >= maxTelemetryInstances {
			return nil
		}
	}
	i = &telemetryInstance{subscriptionID: subscription, metrics: metrics, interval: interval}
	t.mu.instances[id] = i
	return i
}

// subscriptionID names what is wanted of a client; all nodes name it the same.
func subscriptionID(id [16]byte, metrics []string, interval time.Duration) int32 {
	sum := crc32.Checksum([]byte(strings.Join(metrics, ",")+strconv.FormatInt(interval.Milliseconds(), 10)), crc32.MakeTable(crc32.Castagnoli))
	return int32(sum ^ crc32.ChecksumIEEE(id[:]))
}

// wanted gathers what the resources that match a client ask for.
func (t *telemetry) wanted(source map[string]string) (metrics []string, interval time.Duration) {
	interval = defaultPushInterval
	t.metadata.View(func(s *meta.State) {
		for _, name := range s.ConfiguredNames(meta.ScopeClientMetrics) {
			values, _ := s.DescribeConfig(meta.ScopeClientMetrics, name)
			asked := make(map[string]string, len(values))
			for i := range values {
				asked[values[i].Name] = values[i].Value
			}
			patterns, err := meta.ParseClientMatch(asked[clientMetricsMatch])
			if err != nil || !matchesClient(patterns, source) {
				continue
			}
			for metric := range strings.SplitSeq(asked[clientMetricsMetrics], ",") {
				if metric = strings.TrimSpace(metric); metric != "" {
					metrics = append(metrics, metric)
				}
			}
			if millis, err := strconv.Atoi(asked[clientMetricsIntervalMs]); err == nil {
				interval = min(interval, time.Duration(millis)*time.Millisecond)
			}
		}
	})
	if slices.Contains(metrics, allTelemetry) {
		return []string{allTelemetry}, interval
	}
	slices.Sort(metrics)
	return slices.Compact(metrics), interval
}

func matchesClient(patterns map[string]*regexp.Regexp, source map[string]string) bool {
	for name, pattern := range patterns {
		if !pattern.MatchString(source[name]) {
			return false
		}
	}
	return true
}
