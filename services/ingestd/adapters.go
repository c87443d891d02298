package ingestd

import (
	"context"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/kafka"
)

// fetcher makes a fetch.Reader a kafka.Fetcher.
type fetcher struct{ reader *fetch.Reader }

// Read implements kafka.Fetcher.
func (f fetcher) Read(ctx context.Context, request *fetch.Request) (kafka.FetchAnswer, error) {
	response := f.reader.Read(ctx, request)
	return kafka.FetchAnswer{Partitions: response.Partitions, Memory: response}, nil
}

// offsets makes a fetch.Reader a kafka.OffsetLookup.
type offsets struct{ reader *fetch.Reader }

// ByTime implements kafka.OffsetLookup.
func (o offsets) ByTime(ctx context.Context, tp meta.TopicPartition, millis int64) (kafka.TimedOffset, error) {
	return timedOffset(o.reader.OffsetForTimestamp(ctx, tp, millis))
}

// MaxTimestamp implements kafka.OffsetLookup.
func (o offsets) MaxTimestamp(ctx context.Context, tp meta.TopicPartition) (kafka.TimedOffset, error) {
	return timedOffset(o.reader.OffsetOfMaxTimestamp(ctx, tp))
}

// timedOffset answers with Kafka's -1 where no record was found.
func timedOffset(place fetch.TimedOffset, found bool, err error) (kafka.TimedOffset, error) {
	if err != nil || !found {
		return kafka.TimedOffset{Offset: -1, TimestampMillis: -1}, err
	}
	return kafka.TimedOffset{Offset: place.Offset, TimestampMillis: place.Timestamp}, nil
}
