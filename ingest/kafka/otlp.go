package kafka

import (
	"errors"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// TelemetryPoint is one number of an OTLP message, or the count and sum of a histogram's point.
type TelemetryPoint struct {
	Name  string
	Kind  TelemetryKind
	Delta bool // of sums and histograms: what has come since the last push
	Value float64
	Count uint64 // of histograms
}

// TelemetryKind is a metric's.
type TelemetryKind uint8

// The kinds.
const (
	TelemetryGauge TelemetryKind = iota
	TelemetrySum
	TelemetryHistogram
)

// maxTelemetryPoints bounds the points of one push.
const maxTelemetryPoints = 10_000

var (
	errTelemetry       = errors.New("decode telemetry: not OTLP metrics")
	errTelemetryPoints = errors.New("decode telemetry: too many points")
)

// Field numbers of opentelemetry.proto.metrics.v1.
const (
	dataResourceMetrics  = 1
	resourceScopeMetrics = 2
	scopeMetrics         = 2
	metricName           = 1
	metricGauge          = 5
	metricSum            = 7
	metricHistogram      = 9
	metricPoints         = 1
	metricTemporality    = 2
	pointDouble          = 4
	pointInt             = 6
	histogramCount       = 4
	histogramSum         = 5
	temporalityDelta     = 1
)

// decodeTelemetry reads a MetricsData message.
func decodeTelemetry(b []byte) (points []TelemetryPoint, err error) {
	err = eachField(b, func(number protowire.Number, value []byte, _ uint64) error {
		if number != dataResourceMetrics {
			return nil
		}
		return eachField(value, func(number protowire.Number, value []byte, _ uint64) error {
			if number != resourceScopeMetrics {
				return nil
			}
			return eachField(value, func(number protowire.Number, value []byte, _ uint64) error {
				if number != scopeMetrics {
					return nil
				}
				points, err = appendMetric(points, value)
				return err
			})
		})
	})
	return points, err
}

// appendMetric appends the points of one Metric.
func appendMetric(points []TelemetryPoint, b []byte) ([]TelemetryPoint, error) {
	var name string
	first := len(points)
	err := eachField(b, func(number protowire.Number, value []byte, _ uint64) error {
		var err error
		switch number {
		case metricName:
			name = string(value)
		case metricGauge:
			points, err = appendPoints(points, value, TelemetryGauge)
		case metricSum:
			points, err = appendPoints(points, value, TelemetrySum)
		case metricHistogram:
			points, err = appendPoints(points, value, TelemetryHistogram)
		}
		return err
	})
	for i := first; i < len(points); i++ {
		points[i].Name = name
	}
	return points, err
}

func appendPoints(points []TelemetryPoint, b []byte, kind TelemetryKind) ([]TelemetryPoint, error) {
	first, delta := len(points), false
	err := eachField(b, func(number protowire.Number, value []byte, bits uint64) error {
		switch number {
		case metricTemporality:
			delta = bits == temporalityDelta
		case metricPoints:
			if len(points) == maxTelemetryPoints {
				return errTelemetryPoints
			}
			p := TelemetryPoint{Kind: kind}
			if err := p.read(value); err != nil {
				return err
			}
			points = append(points, p)
		}
		return nil
	})
	for i := first; i < len(points); i++ {
		points[i].Delta = delta && kind != TelemetryGauge
	}
	return points, err
}

func (p *TelemetryPoint) read(b []byte) error {
	return eachField(b, func(number protowire.Number, _ []byte, bits uint64) error {
		switch {
		case p.Kind == TelemetryHistogram && number == histogramCount:
			p.Count = bits
		case p.Kind == TelemetryHistogram && number == histogramSum, p.Kind != TelemetryHistogram && number == pointDouble:
			p.Value = math.Float64frombits(bits)
		case p.Kind != TelemetryHistogram && number == pointInt:
			p.Value = float64(int64(bits))
		}
		return nil
	})
}

// eachField calls f for every field of a message: bytes of those that have a length, bits of the others.
func eachField(b []byte, f func(number protowire.Number, value []byte, bits uint64) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errTelemetry
		}
		b = b[n:]
		var value []byte
		var bits uint64
		switch kind {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			bits, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			bits, n = protowire.ConsumeFixed64(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return errTelemetry
		}
		b = b[n:]
		if err := f(number, value, bits); err != nil {
			return err
		}
	}
	return nil
}
