package recovery

import (
	"slices"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/tiering/segment"
)

// storedRuns are the bytes of chunks whose records are in segments, and so in the log by now, or were.
type storedRuns struct {
	chunks map[meta.ChunkID][]storedRange
	hot    map[segment.HotSegment][]storedRange
}

// storedRange is what a segment has of a chunk, or of a segment of a hot log: all that a partition has in [from, to).
type storedRange struct {
	partition meta.TopicPartition
	from, to  uint32 // both 0 for the whole
}

func (p *Plan) storedRuns(objects []*storedObject) *storedRuns {
	r := &storedRuns{map[meta.ChunkID][]storedRange{}, map[segment.HotSegment][]storedRange{}}
	for _, o := range objects {
		for i := range o.sources {
			s := &o.sources[i]
			if o.parts[s.Part].late {
				continue // others have its offsets
			}
			part := &o.parts[s.Part].part
			tp := meta.TopicPartition{Topic: part.TopicID, Partition: part.Partition}
			if !p.recovery.HasStored(tp, part.BaseOffset, part.NextOffset) {
				continue // it did not fit
			}
			of := storedRange{tp, s.From, s.To}
			if s.IsHot() {
				r.hot[s.Hot] = append(r.hot[s.Hot], of)
				continue
			}
			id := meta.ChunkID{Node: meta.NodeID(s.Chunk.Node), Epoch: s.Chunk.Epoch, Lane: s.Chunk.Lane, Seq: s.Chunk.Seq}
			r.chunks[id] = append(r.chunks[id], of)
		}
	}
	return r
}

// have says whether what a partition has at a position is in a segment. Positions count from where the chunk's do: from its own first byte, or that of the
// hot segment in which it was found.
func (r *storedRuns) have(c *foundChunk, tp meta.TopicPartition, position, length uint32) bool {
	ranges := r.chunks[idOf(c.command)]
	if c.command.Segment != 0 {
		ranges = r.hot[segment.HotSegment{Disk: c.disk, ID: c.command.Segment, Node: c.command.NodeId}]
	}
	return slices.ContainsFunc(ranges, func(s storedRange) bool {
		return s.partition == tp && (s.to == 0 || s.from <= position && position+length <= s.to)
	})
}
