package ingestd

import (
	"context"
	"errors"

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

type offsets struct{}

func (offsets) ByTime(context.Context, meta.TopicPartition, int64) (kafka.TimedOffset, error) {
	return kafka.TimedOffset{}, errors.New("pending")
}
func (offsets) MaxTimestamp(context.Context, meta.TopicPartition) (kafka.TimedOffset, error) {
	return kafka.TimedOffset{}, errors.New("pending")
}
