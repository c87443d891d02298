package fetch

import (
	"sync"

	"github.com/varvelog/varve/coordinator/meta"
)

const (
	hintShards        = 16
	hintSlotsPerShard = 512
)

// hints remembers where within an extent a read stopped, so that the next one, which as a rule goes on there, need not look
// for its batch. A hint that was displaced costs a search, nothing else.
type hints struct {
	shards [hintShards]struct {
		sync.Mutex
		slots [hintSlotsPerShard]hint
	}
}

// hint says that the batch with baseOffset stands at position of the extent's segment or object.
type hint struct {
	partition  meta.TopicPartition
	baseOffset int64
	extent     extentID
	position   uint64
}

// extentID names what positions count in.
type extentID struct {
	container meta.ContainerID
	copied    bool // in the container's copy
	object    meta.SegmentID
}

func idOf(e *extent) extentID {
	if e.loc.Tier == meta.TierSegment {
		return extentID{object: e.loc.Object}
	}
	return extentID{container: e.loc.Container, copied: e.swapped}
}

func (h *hints) slot(tp meta.TopicPartition, offset int64) (shard, slot int) {
	x := uint64(offset)*0x9E3779B97F4A7C15 ^ uint64(uint32(tp.Partition))*0xC2B2AE3D27D4EB4F
	for i := 0; i < len(tp.Topic); i += 4 {
		x = (x ^ uint64(tp.Topic[i])) * 0x100000001B3
	}
	x ^= x >> 29
	return int(x % hintShards), int(x / hintShards % hintSlotsPerShard)
}

// put remembers where the batch with baseOffset stands.
func (h *hints) put(tp meta.TopicPartition, extent extentID, baseOffset int64, position uint64) {
	shard, slot := h.slot(tp, baseOffset)
	s := &h.shards[shard]
	s.Lock()
	s.slots[slot] = hint{partition: tp, baseOffset: baseOffset, extent: extent, position: position}
	s.Unlock()
}

// get returns where the batch with baseOffset stands, if it is known.
func (h *hints) get(tp meta.TopicPartition, extent extentID, baseOffset int64) (uint64, bool) {
	shard, slot := h.slot(tp, baseOffset)
	s := &h.shards[shard]
	s.Lock()
	defer s.Unlock()
	found := &s.slots[slot]
	if found.partition == tp && found.baseOffset == baseOffset && found.extent == extent {
		return found.position, true
	}
	return 0, false
}
