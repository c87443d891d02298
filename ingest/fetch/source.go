package fetch

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/coordinator/meta"
)

// readAt fills buf from position of the segment or object that holds the extent. Fewer bytes come with an error.
func (r *Reader) readAt(ctx context.Context, e *extent, position uint64, buf []byte) (n int, err error) {
	switch {
	case e.local:
		if err := r.log.ReadAt(e.loc.Segment, uint32(position), buf); err != nil {
			return 0, err
		}
		return len(buf), nil
	case e.loc.Tier == meta.TierHot:
		return r.readHot(ctx, e, position, buf)
	default:
		key := e.loc.Key()
		n, err := r.objects.ReadAt(ctx, key, int64(e.loc.ObjectBytes), int64(position), buf)
		if n == len(buf) {
			return n, nil
		}
		return n, fmt.Errorf("read object %q: %d of %d bytes at %d: %w", key, n, len(buf), position, err)
	}
}

// noSource stands for a source that the node was not given.
type noSource struct{}

var errNoSource = errors.New("no such source here")

func (noSource) ReadHot(context.Context, string, [16]byte, uint64, uint32, []byte) (int, error) {
	return 0, errNoSource
}

func (noSource) ReadAt(context.Context, string, int64, int64, []byte) (int, error) {
	return 0, errNoSource
}

func (noSource) Forget(string, int64, int64) {}

func (noSource) Seek(context.Context, meta.Location, int64) (uint64, int64, error) {
	return 0, 0, errNoSource
}

func (noSource) SeekTime(context.Context, meta.Location, int64) (uint64, error) {
	return 0, errNoSource
}
