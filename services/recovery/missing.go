package recovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/ingest/chunk"
)

var errGone = errors.New("the metadata refers to it")

// dropMissing gives up what the state has in objects that are not there, or not whole, unless a hedge of a chunk is.
func (p *Plan) dropMissing(ctx context.Context, l *listing) error {
	objects := map[meta.SegmentID]uint64{} // their sizes
	chunks := map[meta.ChunkID]int64{}     // where the last of their runs ends
	s := p.recovery.State()
	for _, t := range s.Topics() {
		for i := range t.Partitions() {
			s.Extents(t.Partition(int32(i)), func(e meta.Location) bool {
				switch e.Tier {
				case meta.TierSegment:
					objects[e.Object] = e.ObjectBytes
				case meta.TierChunk:
					chunks[e.Chunk] = max(chunks[e.Chunk], int64(e.Position+e.Length))
				}
				return true
			})
		}
	}
	gone := map[meta.SegmentID]bool{}
	for id, size := range objects {
		gone[id] = uint64(l.sizes[id]) != size
	}
	maps.DeleteFunc(gone, func(_ meta.SegmentID, isGone bool) bool { return !isGone })
	dropped := p.recovery.DropObjects(gone)
	for _, id := range sortedIDs(gone) {
		p.gone = append(p.gone, goneObject{id.Key(), fmt.Errorf("it is to have %d bytes and has %d: %w", objects[id], l.sizes[id], errGone), dropped[id]})
	}
	cut := map[meta.ChunkID]int64{}
	for _, id := range slices.SortedFunc(maps.Keys(chunks), compareChunks) {
		left := l.chunkSizes[id]
		if left >= chunks[id] {
			continue
		}
		hedged, err := p.takeHedge(ctx, l, id, chunks[id])
		if err != nil {
			return err
		}
		if !hedged {
			cut[id] = left
		}
	}
	droppedRuns := p.recovery.DropChunks(cut)
	for _, id := range slices.SortedFunc(maps.Keys(cut), compareChunks) {
		p.gone = append(p.gone, goneObject{id.Key(), fmt.Errorf("it is to have at least %d bytes and has %d: %w", chunks[id], cut[id], errGone), droppedRuns[id]})
	}
	return nil
}

// takeHedge looks whether a chunk, of which the state has runs up to an end, is whole under another of its keys, and has the state refer to that.
func (p *Plan) takeHedge(ctx context.Context, l *listing, id meta.ChunkID, end int64) (taken bool, err error) {
	for hedge := range uint32(meta.MaxHedges + 1) {
		other := id
		other.Hedge = hedge
		if size := l.chunkSizes[other]; hedge == id.Hedge || size < end {
			continue
		}
		_, err := readObjectChunk(ctx, p.cfg.Store, other, objstore.Info{Key: other.Key(), SizeBytes: l.chunkSizes[other]})
		p.cfg.Progress(l.chunkSizes[other])
		switch {
		case ctx.Err() != nil:
			return false, ctx.Err()
		case err != nil && (errors.Is(err, chunk.ErrVersion) || chunkTransient(err)):
			return false, fmt.Errorf("read %s: %w", other.Key(), err)
		case err == nil && p.recovery.TakeHedge(id, hedge):
			delete(l.chunks, other)
			p.damaged(id.Key(), fmt.Errorf("it has %d bytes, and %s is taken in its place: %w", l.chunkSizes[id], other.Key(), errGone))
			return true, nil
		}
	}
	return false, nil
}

// goneObject is an object that is not there, or not whole.
type goneObject struct {
	key  string
	err  error
	held []meta.PartitionRange // what the state had in it
}

// judgeGone names those of the objects that are not there of which something is missing: others were deleted when they had been made into new ones.
func (p *Plan) judgeGone() {
	for _, g := range p.gone {
		missing := func(r meta.PartitionRange) bool {
			return p.recovery.State().Topic(r.Partition.Topic) != nil && !p.recovery.HasStored(r.Partition, r.BaseOffset, r.NextOffset)
		}
		if slices.ContainsFunc(g.held, missing) {
			p.damaged(g.key, g.err)
		}
	}
}
