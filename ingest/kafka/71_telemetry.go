package kafka

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/ingest/recordbatch"
)

// GetTelemetrySubscriptions (key 71) and PushTelemetry (key 72), version 0 (KIP-714).
//
// A client asks what is wanted of it, and pushes that in OTLP. What is wanted are the client-metrics resources that match it.

const (
	// telemetryMaxBytes bounds a push (telemetry.max.bytes), and what it is once inflated.
	telemetryMaxBytes         = 1 << 20
	telemetryMaxInflatedBytes = 8 << 20
)

// acceptedTelemetryCodecs are in order of preference.
var acceptedTelemetryCodecs = []int8{int8(recordbatch.Zstd), int8(recordbatch.LZ4), int8(recordbatch.Gzip), int8(recordbatch.Snappy)}

func handleGetTelemetrySubscriptions(_ context.Context, call *call, r *kmsg.GetTelemetrySubscriptionsRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrGetTelemetrySubscriptionsResponse()
	id := r.ClientInstanceID
	if id == ([16]byte{}) {
		id = uuid.New()
	}
	instance, refused := call.server().telemetry.subscribe(id, call.telemetrySource(id), time.Now())
	if refused != nil {
		response.ErrorCode = refused.Code
		return response, nil
	}
	response.ClientInstanceID, response.SubscriptionID = id, instance.subscriptionID
	response.RequestedMetrics, response.PushIntervalMillis = instance.metrics, int32(instance.interval/time.Millisecond)
	response.AcceptedCompressionTypes, response.TelemetryMaxBytes, response.DeltaTemporality = acceptedTelemetryCodecs, telemetryMaxBytes, true
	return response, nil
}

func handlePushTelemetry(_ context.Context, call *call, r *kmsg.PushTelemetryRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrPushTelemetryResponse()
	if refused := pushTelemetry(call, r); refused != nil {
		response.ErrorCode = refused.Code
	}
	return response, nil
}

func pushTelemetry(call *call, r *kmsg.PushTelemetryRequest) *kerr.Error {
	if r.ClientInstanceID == ([16]byte{}) {
		return kerr.InvalidRequest
	}
	telemetry, source := call.server().telemetry, call.telemetrySource(r.ClientInstanceID)
	if refused := telemetry.admit(r, source, time.Now()); refused != nil {
		return refused
	}
	sink := call.server().config.ClientMetrics
	if sink == nil {
		return nil
	}
	client := TelemetryClient{InstanceID: uuid.UUID(r.ClientInstanceID).String(), ClientID: call.clientID(), SoftwareName: source["client_software_name"]}
	if len(r.Metrics) > 0 {
		plain, err := recordbatch.Inflate(nil, recordbatch.Codec(r.CompressionType), r.Metrics, telemetryMaxInflatedBytes)
		if err != nil {
			return kerr.InvalidRecord
		}
		points, err := decodeTelemetry(plain)
		if err != nil {
			return kerr.InvalidRecord
		}
		sink.Pushed(client, points)
	}
	if r.Terminating {
		sink.Ended(client)
	}
	return nil
}
