package recovery

import (
	"cmp"
	"math"
	"slices"
	"sort"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/tiering/segment"
)

// storedRuns are the bytes of chunks whose records are in segments, and so in the log by now, or were. The ranges of a source are in order, and apart.
type storedRuns map[source][]storedRange

// source is what a partition has in a chunk, or in a segment of a hot log.
type source struct {
	chunk     meta.ChunkID
	hot       segment.HotSegment // zero where it is an object
	partition meta.TopicPartition
	// log is that for which the chunks were written, where hot says no node: a recovery makes all chunks that it finds on a disk, copies too, those of whichever
	// node it makes the disk's. Of that log's own segments no more than the nodes' that they say is known: others' chunks lie between these.
	log uint64
}

// storedRange is what a segment has of a source: all that it has in [from, to).
type storedRange struct{ from, to uint32 }

func (p *Plan) storedRuns(objects []*storedObject) storedRuns {
	r := storedRuns{}
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
			of, stored := source{hot: s.Hot, partition: tp}, storedRange{s.From, s.To}
			if !s.IsHot() {
				of.chunk = meta.ChunkID{Node: meta.NodeID(s.Chunk.Node), Epoch: s.Chunk.Epoch, Lane: s.Chunk.Lane, Seq: s.Chunk.Seq}
			}
			if s.To == 0 {
				stored.to = math.MaxUint32 // the whole of it
			}
			r[of] = append(r[of], stored)
			if !s.IsHot() {
				continue
			}
			of.hot.Node = 0
			for of.log = range min(meta.LogOfEpoch(part.LeaderEpoch), meta.LogOfJob(o.id.Job)) { // no checksum covers the epoch
				r[of] = append(r[of], stored)
			}
		}
	}
	for of, ranges := range r {
		r[of] = united(ranges)
	}
	return r
}

// united puts ranges in order, and those together that overlap or touch. It changes ranges.
func united(ranges []storedRange) []storedRange {
	slices.SortFunc(ranges, func(x, y storedRange) int { return cmp.Compare(x.from, y.from) })
	out := ranges[:1]
	for _, s := range ranges[1:] {
		if last := &out[len(out)-1]; s.from <= last.to {
			last.to = max(last.to, s.to)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// have says whether what a partition has at a position is in a segment. Positions count from where the chunk's do: from its own first byte, or that of the
// hot segment in which it was found.
func (r storedRuns) have(c *foundChunk, tp meta.TopicPartition, position, length uint32) bool {
	of := source{partition: tp}
	if c.command.Segment == 0 {
		of.chunk = idOf(c.command)
		return r.has(of, position, length)
	}
	of.hot = segment.HotSegment{Disk: c.disk, ID: c.command.Segment, Node: c.command.NodeId}
	if r.has(of, position, length) {
		return true
	}
	of.hot.Node, of.log = 0, meta.LogOfNodeEpoch(c.command.NodeEpoch)
	return r.has(of, position, length)
}

func (r storedRuns) has(of source, position, length uint32) bool {
	ranges := r[of]
	behind := sort.Search(len(ranges), func(i int) bool { return ranges[i].from > position })
	return behind > 0 && uint64(position)+uint64(length) <= uint64(ranges[behind-1].to)
}
