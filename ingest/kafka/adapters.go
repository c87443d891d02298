package kafka

import (
	"context"
	"time"

	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/lane"
)

// LaneAppender makes a lane.Set an Appender.
type LaneAppender struct{ Set *lane.Set }

// Append implements Appender.
func (a LaneAppender) Append(ctx context.Context, request lane.Request) (Pending, error) {
	pending, err := a.Set.Append(ctx, request)
	if err != nil {
		return nil, err
	}
	return pending, nil
}

// Delay implements Appender.
func (a LaneAppender) Delay(batches []lane.Batch) time.Duration { return a.Set.Delay(batches) }

// FetchReader makes a fetch.Reader a Fetcher.
type FetchReader struct{ Reader *fetch.Reader }

// Read implements Fetcher.
func (f FetchReader) Read(ctx context.Context, request *fetch.Request) FetchAnswer {
	response := f.Reader.Read(ctx, request)
	return FetchAnswer{Partitions: response.Partitions, Memory: response}
}
