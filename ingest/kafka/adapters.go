package kafka

import (
	"context"

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
