package tieringd

import (
	"context"
	"errors"
	"fmt"
	"io"

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
	var end uint64
	for _, r := range c.Runs {
		end = max(end, uint64(r.Position)+uint64(r.Length))
	}
	place := fmt.Sprintf("/hot/%x/%d?position=0&length=%d", c.DiskId, c.Segment, end)
	body, _, err := h.Client.Get(ctx, c.NodeAddress, place)
	if err != nil {
		return nil, err
	}
	segment := make(fetchedSegment, end)
	_, err = io.ReadFull(body, segment)
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

type fetchedSegment []byte

// ReadAt implements ship.Container.
func (s fetchedSegment) ReadAt(_ context.Context, p []byte, position int64) error {
	if position < 0 || position+int64(len(p)) > int64(len(s)) {
		return fmt.Errorf("read [%d, +%d) of %d bytes: %w", position, len(p), len(s), objstore.ErrRange)
	}
	copy(p, s[position:])
	return nil
}

// Close implements ship.Container.
func (fetchedSegment) Close() error { return nil }
