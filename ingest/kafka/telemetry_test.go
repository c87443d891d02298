package kafka

import (
	"math"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/varvelog/varve/coordinator/metapb"
)

// pushedMetrics keeps what clients push.
type pushedMetrics struct {
	mu     sync.Mutex
	client TelemetryClient
	points []TelemetryPoint
	ended  bool
}

func (p *pushedMetrics) Pushed(client TelemetryClient, points []TelemetryPoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.client, p.points = client, append(p.points, points...)
}

func (p *pushedMetrics) Ended(TelemetryClient) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
}

func nested(number protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), b)
}

func fixed64(number protowire.Number, bits uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(nil, number, protowire.Fixed64Type), bits)
}

// otlp is a MetricsData message with a gauge, a delta sum and a histogram.
func otlp() []byte {
	delta := protowire.AppendVarint(protowire.AppendTag(nil, metricTemporality, protowire.VarintType), temporalityDelta)
	gauge := append(nested(metricName, []byte("gauge")), nested(metricGauge, nested(metricPoints, fixed64(pointDouble, math.Float64bits(1.5))))...)
	sum := append(nested(metricName, []byte("sum")), nested(metricSum, append(nested(metricPoints, fixed64(pointInt, 7)), delta...))...)
	histogram := append(nested(metricName, []byte("histogram")), nested(metricHistogram, nested(metricPoints,
		append(fixed64(histogramCount, 3), fixed64(histogramSum, math.Float64bits(9))...)))...)
	var metrics []byte
	for _, m := range [][]byte{gauge, sum, histogram} {
		metrics = append(metrics, nested(scopeMetrics, m)...)
	}
	return nested(dataResourceMetrics, nested(resourceScopeMetrics, metrics))
}

func TestClientsPushWhatMatchesThem(t *testing.T) {
	c := newCluster(t)
	sink := &pushedMetrics{}
	_, addr := start(t, c, Config{ClientMetrics: sink})
	subscribe := func(name string, settings map[string]string) {
		command := &metapb.AlterConfig{Resource: metapb.AlterConfig_CLIENT_METRICS, Name: name}
		for k, v := range settings {
			command.Entries = append(command.Entries, &metapb.ConfigEntry{Name: k, Value: v})
		}
		if v := c.apply(&metapb.Command{Kind: &metapb.Command_AlterConfig{AlterConfig: command}}); v.Code != 0 {
			t.Fatal(v.Message)
		}
	}
	subscribe("mine", map[string]string{"metrics": "b.,a.", "interval.ms": "100", "match": "client_id=r.w,client_source_address=127.*"})
	subscribe("others", map[string]string{"metrics": "c.", "interval.ms": "200", "match": "client_id=raw.+"})
	client := dial(t, addr)
	get := kmsg.NewPtrGetTelemetrySubscriptionsRequest()
	asked := client.request(get).(*kmsg.GetTelemetrySubscriptionsResponse)
	if asked.ErrorCode != 0 || asked.ClientInstanceID == ([16]byte{}) || asked.PushIntervalMillis != 100 || len(asked.RequestedMetrics) != 2 || !asked.DeltaTemporality {
		t.Fatalf("%+v", asked)
	}

	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	push := kmsg.NewPtrPushTelemetryRequest()
	push.ClientInstanceID, push.SubscriptionID, push.CompressionType, push.Metrics = asked.ClientInstanceID, asked.SubscriptionID, 4, encoder.EncodeAll(otlp(), nil)
	code := func() error { return kerr.ErrorForCode(client.request(push).(*kmsg.PushTelemetryResponse).ErrorCode) }
	if err := code(); err != nil {
		t.Fatal(err)
	}
	if len(sink.points) != 3 || sink.client.ClientID != "raw" {
		t.Fatalf("%+v", sink)
	}
	want := []TelemetryPoint{{Name: "gauge", Value: 1.5}, {Name: "sum", Kind: TelemetrySum, Delta: true, Value: 7}, {Name: "histogram", Kind: TelemetryHistogram, Value: 9, Count: 3}}
	for i := range want {
		if sink.points[i] != want[i] {
			t.Errorf("got %+v, want %+v", sink.points[i], want[i])
		}
	}
	if err := code(); err != kerr.ThrottlingQuotaExceeded {
		t.Errorf("a push before its time: %v", err)
	}
	push.Terminating = true
	if err := code(); err != nil || !sink.ended {
		t.Errorf("the last push may come before its time: %v", err)
	}
	if err := code(); err != kerr.InvalidRequest {
		t.Errorf("a push after the last: %v", err)
	}
}

func TestPushesThatCannotBeTaken(t *testing.T) {
	c := newCluster(t)
	telemetry := newTelemetry(c)
	now := time.Unix(1000, 0)
	id := [16]byte{1}
	instance, refused := telemetry.subscribe(id, nil, now)
	if refused != nil {
		t.Fatal(refused)
	}
	push := kmsg.NewPtrPushTelemetryRequest()
	for _, test := range []struct {
		name   string
		change func()
		want   *kerr.Error
	}{
		{"another subscription", func() { push.SubscriptionID++ }, kerr.UnknownSubscriptionID},
		{"an unknown codec", func() { push.CompressionType = 9 }, kerr.UnsupportedCompressionType},
		{"too large", func() { push.Metrics = make([]byte, telemetryMaxBytes+1) }, kerr.TelemetryTooLarge},
		{"as large as may be", func() { push.Metrics = make([]byte, telemetryMaxBytes) }, nil},
	} {
		now = now.Add(defaultPushInterval)
		push.ClientInstanceID, push.SubscriptionID, push.CompressionType, push.Metrics = id, instance.subscriptionID, 0, nil
		test.change()
		if got := telemetry.admit(push, nil, now); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func FuzzDecodeTelemetry(f *testing.F) {
	f.Add(otlp())
	f.Fuzz(func(t *testing.T, b []byte) {
		points, err := decodeTelemetry(b)
		if err == nil && len(points) > maxTelemetryPoints {
			t.Errorf("%d points", len(points))
		}
	})
}
