package meta

import (
	"math"
	"slices"
	"sort"
)

// Partition is one partition: its offsets and the index of where they are.
//
// Extents are of four kinds. A run is in a container and not yet shipped; a marker is the end of a transaction, not yet shipped and
// nowhere but here; a part is in a stored object; a gap was declared lost with the disk that had it. The lists are in order of offsets, and together they tile [logStart, next),
// interleaved where containers were shipped out of order. The
// first extent may begin below logStart. local holds copies of shipped runs that local retention still keeps: parts cover
// the same offsets.
type Partition struct {
	topic       *Topic
	index       int32
	slot        uint32
	leaderEpoch int32
	epochs      []epochStart // of the leader epochs above the first, ascending
	logStart    int64
	next        int64

	runs    []run
	parts   []part
	local   []run
	markers []TransactionMarker
	gaps    []gap
	open    []openTransaction    // in order of first offset
	aborted []AbortedTransaction // in order of last offset; kept until the log start or compaction has passed it

	runBytes, partBytes, localBytes uint64

	lastContainer ContainerID // the last one that has this partition in its list
	producers     producers
	cleaning      *cleaning // nil where it was never compacted
}

// run is kept at 32 bytes: there is one per partition in every chunk that is not shipped yet.
type run struct {
	base         int64
	maxTimestamp int64
	container    uint32 // slot in State.containerSlots
	position     uint32 // in the container
	length       uint32
	records      uint32
}

func (r *run) next() int64 { return r.base + int64(r.records) }

// part is a range of one partition in a stored object.
type part struct {
	base, next         int64
	maxTimestamp       int64
	maxTimestampOffset int64
	minTimestamp       int64
	position           uint64
	length             uint64
	indexPosition      uint64
	indexLength        uint64
	records            uint64
	object             *object
}

// Topic is the topic the partition belongs to.
func (p *Partition) Topic() *Topic { return p.topic }

// Index is the partition's number in its topic.
func (p *Partition) Index() int32 { return p.index }

// LeaderEpoch is Kafka's leader epoch, the same on all nodes.
func (p *Partition) LeaderEpoch() int32 { return p.leaderEpoch }

// LogStartOffset is the first offset that can be read. It never decreases.
func (p *Partition) LogStartOffset() int64 { return p.logStart }

// NextOffset is the offset after the last committed one, and so the high watermark.
func (p *Partition) NextOffset() int64 { return p.next }

// HighWatermark is NextOffset: what is committed can be read.
func (p *Partition) HighWatermark() int64 { return p.next }

// HotBytes is the size of what is not shipped yet, StoredBytes that of the parts in stored objects, LocalBytes that of
// copies of shipped runs which local retention keeps.
func (p *Partition) HotBytes() uint64    { return p.runBytes }
func (p *Partition) StoredBytes() uint64 { return p.partBytes }
func (p *Partition) LocalBytes() uint64  { return p.localBytes }

// HotRuns and StoredParts count extents.
func (p *Partition) HotRuns() int     { return len(p.runs) }
func (p *Partition) StoredParts() int { return len(p.parts) }

// EarliestLocalOffset is the first offset that is still in a container (ListOffsets' earliest local).
func (p *Partition) EarliestLocalOffset() int64 {
	first := min(p.next, p.firstHot())
	if len(p.local) > 0 {
		first = min(first, p.local[0].base)
	}
	return max(first, p.logStart)
}

// LatestTieredOffset is the highest offset below which all is stored in the bucket, minus one; -1 where nothing is
// (ListOffsets' latest tiered).
func (p *Partition) LatestTieredOffset() int64 {
	if len(p.parts) == 0 {
		return -1
	}
	switch first := p.firstHot(); {
	case first <= p.parts[0].base:
		return -1
	case first < p.next:
		return first - 1
	}
	return p.parts[len(p.parts)-1].next - 1
}

// firstRun is the index of the first run whose end is above offset.
func firstRun(runs []run, offset int64) int {
	return sort.Search(len(runs), func(i int) bool { return runs[i].next() > offset })
}

// firstPart is the index of the first part whose end is above offset.
func firstPart(parts []part, offset int64) int {
	return sort.Search(len(parts), func(i int) bool { return parts[i].next > offset })
}

func sumLengths(runs []run) (bytes uint64) {
	for i := range runs {
		bytes += uint64(runs[i].length)
	}
	return bytes
}

// appendRun is append, but grows by a quarter: there are very many short lists, and doubling would waste a third of them.
func appendRun(runs []run, r run) []run {
	if len(runs) == cap(runs) {
		grown := make([]run, len(runs), len(runs)+len(runs)/4+2)
		copy(grown, runs)
		runs = grown
	}
	return append(runs, r)
}

// cutRuns removes runs[from:to] and gives memory back once most of it is unused.
func cutRuns(runs []run, from, to int) []run {
	left := len(runs) - (to - from)
	switch {
	case left == 0:
		return nil
	case left <= to-from:
		return append(append(make([]run, 0, left), runs[:from]...), runs[to:]...)
	case from == 0:
		return runs[to:]
	}
	return slices.Delete(runs, from, to)
}

// Which of a partition's lists begins first.
const (
	earliestRun = iota
	earliestPart
	earliestMarker
	earliestGap
)

// earliest says which of the lists, not all of them empty, begins first.
func earliest(runs []run, parts []part, markers []TransactionMarker, gaps []gap) (list int) {
	at := int64(math.MaxInt64)
	if len(parts) > 0 {
		list, at = earliestPart, parts[0].base
	}
	if len(runs) > 0 && runs[0].base < at {
		list, at = earliestRun, runs[0].base
	}
	if len(markers) > 0 && markers[0].Offset < at {
		list, at = earliestMarker, markers[0].Offset
	}
	if len(gaps) > 0 && gaps[0].base < at {
		list = earliestGap
	}
	return list
}
