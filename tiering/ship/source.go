package ship

import (
	"context"
	"fmt"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
)

// maxChunkObjectBytes bounds what is read of one object chunk.
const maxChunkObjectBytes = 1 << 30

// HotSource opens sealed hot segments: those of this process's own hot log, and over the internal listener those of others.
type HotSource interface {
	// OpenHot opens the container, which is a hot segment, or a pair of them with the same chunks. The error says whether its node cannot
	// be reached or does not have it; of a pair, reading tells.
	OpenHot(ctx context.Context, c *metapb.JobContainer) (Container, error)
}

// Container is a sealed container open for reading.
type Container interface {
	// ReadRun fills p with the run's bytes, or fails. Where the container has them in several places, those of the first are taken that can be
	// had and that accept has nothing against; the error is nil with one such place. accept is told of the place as well, to name it.
	ReadRun(ctx context.Context, p []byte, r *metapb.JobRun, accept func(place Place, p []byte) error) error
	Close() error
}

// Place is where the bytes of a run stand: in a hot segment, or in an object.
type Place struct {
	Address   string // of the node
	Disk      []byte
	Segment   uint64
	ObjectKey string
	Position  int64
}

func (p Place) String() string {
	if p.ObjectKey != "" {
		return fmt.Sprintf("%s at %d", p.ObjectKey, p.Position)
	}
	return fmt.Sprintf("hot segment %d of disk %x at %s, position %d", p.Segment, p.Disk, p.Address, p.Position)
}

// chunkObject is an object chunk read whole.
type chunkObject struct {
	key  string
	body []byte
}

func (c chunkObject) ReadRun(_ context.Context, p []byte, r *metapb.JobRun, accept func(Place, []byte) error) error {
	if int64(r.Position)+int64(len(p)) > int64(len(c.body)) {
		return fmt.Errorf("read [%d, +%d) of %d bytes: %w", r.Position, len(p), len(c.body), objstore.ErrRange)
	}
	copy(p, c.body[r.Position:])
	return accept(Place{ObjectKey: c.key, Position: int64(r.Position)}, p)
}

func (chunkObject) Close() error { return nil }

// missingContainer is one that could not be opened.
type missingContainer struct{ err error }

func (m missingContainer) ReadRun(context.Context, []byte, *metapb.JobRun, func(Place, []byte) error) error {
	return m.err
}

func (missingContainer) Close() error { return nil }

// openAll opens the job's containers; reading from one that cannot be opened tells why. The caller closes those returned, even
// with an error, which means that ctx has ended.
func (w *Worker) openAll(ctx context.Context, held *lease, job *metapb.Job) ([]Container, error) {
	opened := make([]Container, 0, len(job.Containers))
	for _, c := range job.Containers {
		held.progress()
		container, err := w.open(ctx, c)
		if err != nil {
			if ctx.Err() != nil {
				return opened, err
			}
			container = missingContainer{err}
		}
		opened = append(opened, container)
	}
	return opened, nil
}

func (w *Worker) open(ctx context.Context, c *metapb.JobContainer) (container Container, err error) {
	if c.ObjectKey != "" {
		var body []byte
		body, _, err = objstore.ReadAll(ctx, w.store, c.ObjectKey, maxChunkObjectBytes)
		container = chunkObject{c.ObjectKey, body}
	} else {
		container, err = w.hot.OpenHot(ctx, c)
	}
	if err != nil {
		return nil, fmt.Errorf("open container %d (%s): %w", c.Container, describe(c), err)
	}
	return container, nil
}

func describe(c *metapb.JobContainer) string {
	if c.ObjectKey != "" {
		return c.ObjectKey
	}
	if c.CopySegment != 0 {
		return fmt.Sprintf("hot segment %d of disk %x at %s, or %d of disk %x at %s", c.Segment, c.DiskId, c.NodeAddress, c.CopySegment, c.CopyDiskId, c.CopyAddress)
	}
	return fmt.Sprintf("hot segment %d of disk %x at %s", c.Segment, c.DiskId, c.NodeAddress)
}
