package tieringd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/rpc"
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/tiering/ship"
)

// HotReader opens sealed hot segments: the process's own with preads, others over the internal listener, whole, since their
// runs are read by partition and so out of order.
type HotReader struct {
	Client *rpc.Client
	// Own is this process's hot log, nil where it has none.
	Own *hotlog.Log
}

// OpenHot implements ship.HotSource.
func (h *HotReader) OpenHot(ctx context.Context, c *metapb.JobContainer) (ship.Container, error) {
	if h.Own != nil {
		if disk := h.Own.DiskUUID(); string(disk[:]) == string(c.DiskId) {
			return ownSegment{h.Own, c.Segment}, nil
		}
	}
	if len(c.Runs) == 0 {
		return fetchedSegment{}, nil
	}
	begin, end := uint64(math.MaxUint64), uint64(0)
	for _, r := range c.Runs {
		begin, end = min(begin, uint64(r.Position)), max(end, uint64(r.Position)+uint64(r.Length))
	}
	place := fmt.Sprintf("/hot/%x/%d?position=%d&length=%d", c.DiskId, c.Segment, begin, end-begin)
	body, _, err := h.Client.Get(ctx, c.NodeAddress, place)
	if err != nil {
		return nil, err
	}
	segment := fetchedSegment{begin: int64(begin), bytes: make([]byte, end-begin)}
	_, err = io.ReadFull(body, segment.bytes)
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, fmt.Errorf("get %s%s: %w", c.NodeAddress, place, err)
	}
	return segment, nil
}

type ownSegment struct {
	log *hotlog.Log
	id  uint64
}

// ReadAt implements ship.Container.
func (s ownSegment) ReadAt(_ context.Context, p []byte, position int64) error {
	return s.log.ReadAt(s.id, uint32(position), p)
}

// Close implements ship.Container.
func (ownSegment) Close() error { return nil }

// fetchedSegment is the range of a segment that holds its live runs.
type fetchedSegment struct {
	begin int64 // where in the segment bytes begin
	bytes []byte
}

// ReadAt implements ship.Container.
func (s fetchedSegment) ReadAt(_ context.Context, p []byte, position int64) error {
	at := position - s.begin
	if at < 0 || at+int64(len(p)) > int64(len(s.bytes)) {
		return fmt.Errorf("read [%d, +%d) of [%d, +%d): %w", position, len(p), s.begin, len(s.bytes), objstore.ErrRange)
	}
	copy(p, s.bytes[at:])
	return nil
}

// Close implements ship.Container.
func (fetchedSegment) Close() error { return nil }
