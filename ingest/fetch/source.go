package fetch

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/coordinator/meta"
)

// hotSource is a segment of the node's own hot log.
type hotSource struct {
	log     HotLog
	segment uint64
}

func (s hotSource) readAt(_ context.Context, position uint64, buf []byte) error {
	return s.log.ReadAt(s.segment, uint32(position), buf)
}

// peerSource is a segment of another node's hot log.
type peerSource struct {
	peer    Peer
	address string
	diskID  [16]byte
	segment uint64
}

func (s peerSource) readAt(ctx context.Context, position uint64, buf []byte) error {
	if err := s.peer.ReadHot(ctx, s.address, s.diskID, s.segment, uint32(position), buf); err != nil {
		return fmt.Errorf("read segment %d of node at %s: %w", s.segment, s.address, err)
	}
	return nil
}

// objectSource is a chunk or a stored segment in the bucket.
type objectSource struct {
	objects   Objects
	key       string
	sizeBytes uint64
}

func (s objectSource) readAt(ctx context.Context, position uint64, buf []byte) error {
	n, err := s.objects.ReadAt(ctx, s.key, int64(s.sizeBytes), int64(position), buf)
	if n == len(buf) {
		return nil
	}
	return fmt.Errorf("read object %q: %d of %d bytes at %d: %w", s.key, n, len(buf), position, err)
}

// source is where the extent's bytes are.
func (r *Reader) source(e *extent) source {
	switch {
	case e.local:
		return hotSource{r.log, e.loc.Segment}
	case e.loc.Tier == meta.TierHot:
		return peerSource{r.peer, e.address, e.loc.DiskID, e.loc.Segment}
	default:
		return objectSource{r.objects, e.loc.Key(), e.loc.ObjectBytes}
	}
}

// noSource stands for a source that the node was not given.
type noSource struct{}

var errNoSource = errors.New("no such source here")

func (noSource) ReadHot(context.Context, string, [16]byte, uint64, uint32, []byte) error {
	return errNoSource
}

func (noSource) ReadAt(context.Context, string, int64, int64, []byte) (int, error) {
	return 0, errNoSource
}

func (noSource) Seek(context.Context, meta.Location, int64) (uint64, error) { return 0, errNoSource }

func (noSource) SeekTime(context.Context, meta.Location, int64) (uint64, error) {
	return 0, errNoSource
}
